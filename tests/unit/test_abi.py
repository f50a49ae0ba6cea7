"""Bindings and headers, small and doctored: what is read of them, and what does not fit."""

from __future__ import annotations

import pytest

from llamabuild.abi import bindings, compare, expressions, headers
from llamabuild.abi.declarations import Declarations, words

PYTHON = """
from __future__ import annotations
import ctypes
from typing import TYPE_CHECKING, NewType
from package._extensions import load_shared_library, ctypes_function_for_shared_library
if TYPE_CHECKING:
    from package._extensions import CtypesPointer
_lib = load_shared_library("llama", None)
ctypes_function = ctypes_function_for_shared_library(_lib)
KIND_A = 0
KIND_B = KIND_OTHER = 1
KIND_COUNT = 2
FLAG = 1 << 3
MAGIC = 0x67
llama_model_p = NewType("llama_model_p", int)
llama_model_p_ctypes = ctypes.c_void_p
llama_token = ctypes.c_int32
callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_float, ctypes.c_void_p)
class value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int64), ("text", ctypes.c_char * 128)]
class params(ctypes.Structure):
    "Words."
    if TYPE_CHECKING:
        n_ctx: int
    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("kind", ctypes.c_int),
        ("embeddings", ctypes.c_bool),
        ("scale", ctypes.c_float),
        ("value", value),
        ("progress", callback),
        ("tokens", ctypes.POINTER(llama_token)),
    ]
class node(ctypes.Structure): ...
node._fields_ = [("next", ctypes.POINTER(node)), ("model", llama_model_p_ctypes)]
@ctypes_function("llama_load", [ctypes.c_char_p, params], llama_model_p_ctypes)
def llama_load(path: bytes, params: params, /): ...
@ctypes_function("llama_free", [llama_model_p_ctypes], None)
def llama_free(model, /): ...
@ctypes_function(
    "llama_tokens",
    [llama_model_p_ctypes, ctypes.POINTER(llama_token), ctypes.c_size_t],
    ctypes.c_int32,
)
def llama_tokens(model, tokens, size, /): ...
_lib.llama_devices.argtypes = []
_lib.llama_devices.restype = ctypes.c_size_t
DEVICES = _lib.llama_devices()
def helper(x): return x
"""
C = """\
typedef unsigned int uint32_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned long long size_t;
#define MAGIC 0x67u // words
#define OTHER_MAGIC MAGIC
#define NAME "name"
#define CALL(x) (x)
enum kind { KIND_A, KIND_B = 1, KIND_COUNT };
enum { FLAG = 1 << 3 };
struct llama_model;
typedef int32_t llama_token;
typedef _Bool (*callback)(float progress, void * user);
struct params {
    uint32_t n_ctx;
    enum kind kind;
    _Bool embeddings;
    float scale;
    union { int64_t i; char text[128]; } value;
    callback progress;
    const llama_token * tokens;
};
typedef struct node { struct node * next; struct llama_model * model; } node;
extern struct llama_model * llama_load(const char * path, struct params params);
void llama_free(struct llama_model * model);
int32_t llama_tokens(const struct llama_model * model, llama_token tokens[], size_t size);
size_t llama_devices(void);
int more(const char * format, ...);
static inline int llama_hidden(int x) { return x; }
"""


def ours(text: str = PYTHON) -> Declarations:
    return bindings.read([("llama_cpp", text)])


def found(python: str = PYTHON, c: str = C) -> tuple[str, ...]:
    return compare.mismatches(ours(python), headers.parse(c))


def test_what_fits_fits() -> None:
    assert found() == ()


def test_everything_was_read_on_both_sides() -> None:
    python, c = ours(), headers.parse(C)
    assert python.records.keys() == {"value", "params", "node"}
    assert python.functions.keys() == {"llama_load", "llama_free", "llama_tokens", "llama_devices"}
    assert c.functions.keys() == python.functions.keys() | {"more"}
    assert c.constants == {
        "KIND_A": 0,
        "KIND_B": 1,
        "KIND_COUNT": 2,
        "FLAG": 8,
        "MAGIC": 0x67,
        "OTHER_MAGIC": 0x67,
    }
    assert python.constants == {
        "KIND_A": 0,
        "KIND_B": 1,
        "KIND_OTHER": 1,
        "KIND_COUNT": 2,
        "FLAG": 8,
        "MAGIC": 0x67,
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "uint32_t n_ctx;",
            "uint32_t n_ctx; uint32_t n_seq;",
            "params: field 2 is kind (int32) in the bindings and n_seq (uint32) in the header",
        ),
        (
            "enum kind kind;",
            "unsigned int kind;",
            "params: field 2 is kind (int32) in the bindings",
        ),
        (
            "_Bool embeddings;",
            "_Bool logits_all;",
            "params: field 3 is embeddings (bool) in the bindings and logits_all (bool) in the",
        ),
        (
            "float scale;",
            "double scale;",
            "params: field 4 is scale (float) in the bindings and scale (double) in the header",
        ),
        ("text[128]", "text[64]", "params: field 5 is value (struct value) in the bindings and"),
        ("union { int64_t i;", "struct { int64_t i;", "params: field 5 is value (struct value)"),
        (
            "(float progress",
            "(double progress",
            "params: field 6 is progress (callback bool(float,",
        ),
        (
            "tokens;\n};",
            "tokens; int last;\n};",
            "params: field 8 is last (int32) in the header, the bindings end before",
        ),
        (
            "    const llama_token * tokens;\n",
            "",
            "params: field 7 is tokens (pointer to int32) in the bindings, the header ends before",
        ),
        (
            "struct node * next; struct llama_model * model;",
            "struct llama_model * model; struct node * next;",
            "node: field 1 is next (pointer to struct node) in the bindings and model (pointer to",
        ),
        (
            "void llama_free(",
            "void llama_model_free(",
            "llama_free is declared by the bindings and",
        ),
        (
            "struct params params);",
            "struct params params, int flags);",
            "llama_load takes 2 arguments in the bindings and 3 in the header",
        ),
        (
            "struct params params);",
            "struct params * params);",
            (
                "llama_load takes struct params in the bindings and pointer to struct params in the"
                " header as argument 2"
            ),
        ),
        (
            "tokens[], size_t size",
            "tokens[], int32_t size",
            "llama_tokens takes uint64 in the bindings and int32 in the header as argument 3",
        ),
        (
            "llama_token tokens[]",
            "float tokens[]",
            "llama_tokens takes pointer to int32 in the bindings and pointer to float in the",
        ),
        (
            "size_t llama_devices",
            "int32_t llama_devices",
            "llama_devices gives uint64 in the bindings and int32 in the header",
        ),
        (
            "KIND_B = 1,",
            "KIND_NEW, KIND_B,",
            "KIND_B is 1 in the bindings and 2 in the header",
        ),
        ("MAGIC 0x67u", "MAGIC 0x68u", "MAGIC is 103 in the bindings and 104 in the header"),
        (
            "typedef struct node { struct node * next; struct llama_model * model; } node;",
            "struct node;",
            "node has members in the bindings and is opaque in the header",
        ),
        (
            "void llama_free(",
            "static void llama_free(",
            "llama_free is declared by the bindings and",
        ),
    ],
)
def test_a_doctored_header_is_refused_by_name(old: str, new: str, said: str) -> None:
    assert C.count(old) == 1
    sentences = found(c=C.replace(old, new))
    assert any(one.startswith(said) for one in sentences), sentences


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int more(", "int even_more(void);\nint more("),
        ("KIND_COUNT }", "KIND_C, KIND_COUNT }"),
        ("struct llama_model;", "struct llama_model { int known; };"),
        ("const struct llama_model * model", "struct llama_model * restrict model"),
        ("enum kind kind;", "int kind;"),
        ("union { int64_t i; char text[128]; } value;", "union { int64_t i; char text[128]; };"),
        ("(float progress, void * user)", "(float, const struct llama_model *)"),
    ],
)
def test_what_does_no_harm_is_accepted(old: str, new: str) -> None:
    assert C.count(old) == 1
    assert found(c=C.replace(old, new)) == ()


def test_a_count_may_grow_and_not_shrink() -> None:
    assert found(python=PYTHON.replace("KIND_COUNT = 2", "KIND_COUNT = 3")) == (
        "KIND_COUNT is 3 in the bindings and 2 in the header",
    )


@pytest.mark.parametrize(
    "guarded",
    [
        "if hasattr(_lib, 'new'):\n    {}",
        "try:\n    {}\nexcept AttributeError:\n    pass",
    ],
)
def test_a_function_that_is_asked_for_first_may_be_missing(guarded: str) -> None:
    declared = "@ctypes_function('new', [], None)\n    def new(): ..."
    assert found(PYTHON + guarded.format(declared)) == ()
    assert found(PYTHON + declared.replace("\n    ", "\n")) == (
        "new is declared by the bindings and not in the header",
    )
    wrong = C + "int new(void);"
    assert found(PYTHON + guarded.format(declared), wrong) == (
        "new gives void in the bindings and int32 in the header",
    )


def test_enabled_decides_as_it_does_for_python() -> None:
    asked = "@ctypes_function('new', [], None, {})\ndef new(): ...\n"
    assert found(PYTHON + asked.format("enabled=hasattr(_lib, 'new')")) == ()
    assert found(PYTHON + asked.format("enabled=False")) == ()
    assert len(found(PYTHON + asked.format("True"))) == 1
    with pytest.raises(expressions.Unreadable, match="is not understood"):
        ours(PYTHON + asked.format("enabled=_version > 3"))


def test_what_only_a_type_checker_sees_is_not_there() -> None:
    hidden = "if TYPE_CHECKING:\n    class params(ctypes.Structure):\n        _fields_ = []\n"
    assert found(PYTHON + hidden) == ()
    shown = hidden.replace("if TYPE_CHECKING:\n", "if TYPE_CHECKING:\n    pass\nelse:\n")
    assert found(PYTHON + shown)[0].startswith("params: field 1 is n_ctx (uint32) in the header")


def test_a_module_knows_the_types_of_the_one_that_it_imports() -> None:
    second = (
        "from ctypes import POINTER, Structure, c_bool\n"
        "import llama_cpp.llama_cpp as llama_cpp\n"
        "class image(Structure):\n"
        "    _fields_ = [('pos', POINTER(llama_cpp.llama_token)), ('ok', c_bool)]\n"
    )
    read = bindings.read([("llama_cpp", PYTHON), ("mtmd_cpp", second)])
    header = headers.parse(C + "struct image { float * pos; _Bool ok; };")
    assert compare.mismatches(read, header) == (
        (
            "image: field 1 is pos (pointer to int32) in the bindings and pos (pointer to float) "
            "in the header"
        ),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class s(ctypes.Structure):\n    _fields_ = make()\n", "'make()' is not understood"),
        ("class s(ctypes.Structure):\n    _fields_ = [('a', ctypes.c_int, 3)]\n", "c_int, 3)"),
        ("class s(ctypes.Structure):\n    _pack_ = 1\n    _fields_ = []\n", "'_pack_ = 1'"),
        ("class s(params):\n    _fields_ = []\n", "'class s(params)"),
        ("class s(ctypes.Structure):\n    _fields_ = [('a', ctypes.c_int * size)]\n", "size"),
        ("@ctypes_function('f', [ctypes.c_wchar_p], None)\ndef f(): ...\n", "c_wchar_p"),
        ("@ctypes_function(name, [], None)\ndef f(): ...\n", "ctypes_function(name"),
        ("@ctypes_function('f', arguments, None)\ndef f(): ...\n", "'arguments'"),
        ("for i in x:\n    @ctypes_function(i, [], None)\n    def f(): ...\n", "line"),
        ("if os.name == 'nt':\n    class s(ctypes.Structure):\n        _fields_ = []\n", "class s"),
        ("nothing._fields_ = []\n", "nothing._fields_"),
        ("def broken(:\n", "is no Python text"),
    ],
)
def test_bindings_that_are_not_understood_are_said_with_their_line(text: str, said: str) -> None:
    with pytest.raises(expressions.Unreadable) as caught:
        ours(PYTHON + text)
    assert str(caught.value).startswith("llama_cpp.py")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_of_the_bindings_is_run() -> None:
    ours(PYTHON + "raise SystemExit(print(open('/etc/passwd').read()))\n")


@pytest.mark.parametrize(
    "text",
    [
        "struct params { int a : 3; };",
        "int f(",
        "int a[sizeof(struct unknown)];",
        "class x { public: int a; };",
        "enum e { A = f(3) };",
        "__int128 f(void);",
        "enum e { A = 08 };",
        "int a[" + "9" * 5000 + "];",
        "typedef struct { int a; } t; int f(struct { int a; } x);",
    ],
)
def test_headers_that_are_not_understood_are_an_error(text: str) -> None:
    with pytest.raises(headers.Unreadable, match="they are not understood"):
        headers.parse(C + text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("enum { X = -1 };", -1),
        ("enum { X = 'a' };", 97),
        ("enum { X = (1 << 4) | 0x2u };", 18),
        ("enum { X = 7 / 2 - 010 };", -5),
        ("enum { X = ~0 };", -1),
        ("enum { X = sizeof(int32_t) * 2 };", 8),
        ("#define X (-FLAG)\n", -8),
        ("#define Y 3\n#define X (Y + Y)\n", 6),
        ("#define X X\n", None),
        ("#define X 3\n#undef X\n", None),
        ("#define X 3\n#undef X\n#define X 4\n", 4),
        ("#define X 1.5f\n", None),
        ('#define X "text"\n', None),
    ],
)
def test_numbers_are_calculated_as_c_does(text: str, value: int | None) -> None:
    assert headers.parse(C + text).constants.get("X") == value


def test_typedefs_of_functions_and_pointers_to_pointers() -> None:
    read = headers.parse(
        C + "typedef void f(int); typedef f * g; int h(f, f *, g, g *, char **, struct node **);"
    )
    assert [words(one) for one in read.functions["h"].arguments] == [
        *["callback void(int32)"] * 3,
        "pointer to callback void(int32)",
        "pointer to pointer to char",
        "pointer to pointer to struct node",
    ]


def test_structures_of_two_names_are_compared_by_what_is_in_them() -> None:
    python = PYTHON + "@ctypes_function('walk', [ctypes.POINTER(node)], None)\ndef walk(n): ...\n"
    loop = (
        "struct ring {{ struct ring * next; struct llama_model * {}; }}; void walk(struct ring *);"
    )
    assert found(python, C + loop.format("model")) == ()
    (said,) = found(python, C + loop.format("other"))
    assert said.startswith("walk takes pointer to struct node in the bindings and pointer to")


def test_an_error_that_was_there_before_is_not_the_other_trees() -> None:
    carried = C.replace("tokens;\n};", "tokens; int last;\n};")
    python, own = ours(), headers.parse(carried)
    assert len(compare.mismatches(python, own)) == 1
    assert compare.mismatches(python, own, own) == ()
    moved = headers.parse(carried.replace("int last;", "int last; int more;"))
    assert compare.mismatches(python, moved, own) == (
        "params: field 8 is last (int32) in the header, the bindings end before",
    )
    other = headers.parse(carried.replace("float scale", "double scale"))
    assert compare.mismatches(python, other, own)[0].startswith("params: field 4 is scale")
    assert compare.mismatches(python, headers.parse(C), own) == ()
