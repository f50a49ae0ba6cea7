"""The Python bindings held against real llama.cpp trees, their own and others, and one of another
tree built under them. It fetches four more sources and compiles, so it is done when asked for:
``make e2e-abi``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import abi, fetch, pins
from llamabuild.abi import bindings, compare, headers
from llamabuild.abi.declarations import Declarations, Scalar
from llamabuild.errors import FetchError
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Pin, Source
from tests.e2e.conftest import Run

pytestmark = pytest.mark.llama
asked_for = pytest.mark.skipif(
    os.environ.get("LLAMABUILD_E2E") != "abi",
    reason="fetches 280 MB and compiles; LLAMABUILD_E2E=abi (make e2e-abi) asks for it",
)
MORE = {
    "0.3.32": (70308017, "b06502361770f82eb08b7f1a192eb084b9ead2b88fe32cda8c397a2782eabde6"),
    "0.3.33": (70533021, "369ba03d02caaef42c1ed07bbdc454f7436e47c7675b8b9757fa13fbac6acd92"),
    "0.3.35": (74868054, "1139dbb54509074b70893fab8554e3b079aa9f4d312058ce4018ef0019e3de12"),
}
"""Size and SHA-256 of sources that are no pins."""
KNOWN = "llama_opt_params: field 6 is optimizer_type (enum) in the header, the bindings end before"
"""What the bindings get wrong about their own header, in all of these versions."""
ODD = Scalar(kind="int", size=3, signed=True)
"""A type that nothing has."""
OVER = {
    "0.3.28": (
        "llama_model_params: field 5 is load_mode (int32) in the bindings and main_gpu (int32)",
        "llama_context_params: field 7 is n_outputs_max_per_seq (uint32) in the bindings and",
        "llama_sampler_init_penalties takes 5 arguments in the bindings and 4 in the header",
        "mtmd_batch_init is declared by the bindings and not in the header",
    ),
    "0.3.32": (
        "llama_model_params: field 5 is load_mode (int32) in the bindings and main_gpu (int32)",
        "llama_model_quantize_params: field 15 is max_buf_size (uint64) in the bindings, the",
        "llama_version is declared by the bindings and not in the header",
    ),
    "0.3.35": (
        "llama_model_params: field 6 is lazy_mode (int32) in the bindings and main_gpu (int32)",
        "mtmd_context_params: field 2 is device (pointer) in the bindings and print_timings (bool)",
        "mtmd_helper_bitmap_init_from_file takes 4 arguments in the bindings and 3 in the header",
    ),
}
"""Some of what differs between the default pin's bindings and another version's llama.cpp."""
DOCTORED = {
    "uint32_t n_ctx; ": ("uint64_t n_ctx; ", "llama_context_params: field 1 is n_ctx (uint32)"),
    "bool embeddings; ": ("bool logits_all; ", "embeddings (bool) in the bindings and logits_all"),
    "LLAMA_POOLING_TYPE_MEAN = 1": ("LLAMA_POOLING_TYPE_MEAN = 7", "LLAMA_POOLING_TYPE_MEAN is 1"),
    "LLAMA_API void llama_free(struct": (
        "LLAMA_API void llama_context_free(struct",
        "llama_free is declared by the bindings and not in the header",
    ),
}


def version(number: str, cache: Path) -> Source:
    known = pins.load_pins()
    pin = next((one for one in known.values() if one.version == number), None)
    if not pin:
        size, sha256 = MORE[number]
        url = f"pypi:llama-cpp-python/llama_cpp_python-{number}.tar.gz"
        pin = Pin(
            name=f"llama-cpp-python-{number}",
            version=number,
            urls=(url,),
            size=size,
            sha256=sha256,
            licence="MIT",
            commit="0000000",
            build_number=0,
        )
    try:
        return fetch.fetch(pin, cache=cache, host=LocalHost(), emit=silent)
    except FetchError as error:
        pytest.skip(f"{number} cannot be had here: {error.message}")


def found(python: Source, tree: Path, carried: Source | None = None) -> tuple[str, ...]:
    own = carried.tree if carried else None
    return abi.mismatches(python.root / "llama_cpp", tree, cc="cc", host=LocalHost(), carried=own)


def test_the_default_bindings_and_their_own_tree(source: Source) -> None:
    assert found(source, source.tree) == (KNOWN,)
    assert found(source, source.tree, source) == ()


@asked_for
@pytest.mark.parametrize("number", OVER)
def test_other_bindings_and_their_own_tree(number: str, cache: Path) -> None:
    own = version(number, cache)
    assert found(own, own.tree) == (KNOWN,)


@asked_for
@pytest.mark.parametrize("number", OVER)
def test_an_older_tree_is_refused_by_name(number: str, cache: Path, source: Source) -> None:
    said = found(source, version(number, cache).tree, source)
    print(f"\n0.3.36 over {number}:", *said, sep="\n")
    assert KNOWN not in said
    for one in OVER[number]:
        assert any(sentence.startswith(one) for sentence in said), one


@asked_for
def test_a_newer_tree_that_fits_is_accepted(cache: Path) -> None:
    older, newer = version("0.3.32", cache), version("0.3.33", cache)
    header = (older.tree / "include/llama.h").read_bytes()
    assert header != (newer.tree / "include/llama.h").read_bytes()
    assert found(older, newer.tree, older) == ()
    assert len(found(newer, older.tree, newer)) == 2  # the other way round it does not


@asked_for
@pytest.mark.parametrize("number", OVER)
def test_a_newer_tree_is_refused_by_name(number: str, cache: Path, source: Source) -> None:
    older = version(number, cache)
    said = found(older, source.tree, older)
    print(f"\n{number} over 0.3.36:", *said, sep="\n")
    assert any(sentence.startswith("llama_model_params: field ") for sentence in said)


def test_no_field_function_or_argument_is_passed_over(source: Source) -> None:
    """Each thing that the bindings restate, changed alone in what was read of the header."""
    texts = {one: (source.root / "llama_cpp" / f"{one}.py") for one in ("llama_cpp", "mtmd_cpp")}
    ours = bindings.read((name, path.read_text()) for name, path in texts.items())
    names = ["llama.h", "mtmd.h", "mtmd-helper.h"]
    header = headers.read(source.tree, names, cc="cc", host=LocalHost())
    known = compare.mismatches(ours, header)
    changed = [*records(ours, header), *signatures(ours, header), *numbers(ours, header)]
    for what, one in changed:
        said = set(compare.mismatches(ours, one)) - set(known)
        assert any(sentence.startswith((f"{what}:", f"{what} ")) for sentence in said), what
    print(f"\n{len(changed)} changes of the header, each refused by name")
    assert len(changed) > 2500


def records(ours: Declarations, header: Declarations) -> Iterator[tuple[str, Declarations]]:
    for name in ours.records.keys() & header.records.keys() - {KNOWN.partition(":")[0]}:
        members = header.records[name].members or ()
        assert members
        for at, one in enumerate(members):
            for new in (
                (),
                (replace(one, name=f"{one.name}_2"),),
                (replace(one, type=ODD),),
                (replace(one, name="new"), one),
            ):
                record = replace(
                    header.records[name], members=(*members[:at], *new, *members[at + 1 :])
                )
                yield name, replace(header, records={**header.records, name: record})


def signatures(ours: Declarations, header: Declarations) -> Iterator[tuple[str, Declarations]]:
    for name in ours.functions:
        left = {key: value for key, value in header.functions.items() if key != name}
        yield name, replace(header, functions=left)
        said = header.functions[name]
        longer = replace(said, arguments=(*said.arguments, ODD))
        others = [replace(said, result=ODD), longer]
        for at in range(len(said.arguments)):
            before, after = said.arguments[:at], said.arguments[at + 1 :]
            others.append(replace(said, arguments=(*before, ODD, *after)))
        for other in others:
            yield name, replace(header, functions={**left, name: other})


def numbers(ours: Declarations, header: Declarations) -> Iterator[tuple[str, Declarations]]:
    for name in ours.constants.keys() & header.constants.keys():
        smaller = {**header.constants, name: header.constants[name] - 1}
        yield name, replace(header, constants=smaller)


@pytest.fixture
def moved(source: Source, tmp_path: Path) -> Path:
    """The pinned llama.cpp with one function more: a tree that moved on and still fits."""
    folder = tmp_path / "llama.cpp"
    subprocess.run(["cp", "-r", str(source.tree), str(folder)], check=True)
    header = folder / "include" / "llama.h"
    text = header.read_text()
    more = "    LLAMA_API const char * llama_more_than_before(void);\n"
    before = "    LLAMA_API const char * llama_print_system_info(void);\n"
    assert text.count(before) == 1
    header.write_text(text.replace(before, before + more))
    return folder


@pytest.mark.parametrize("old", DOCTORED)
def test_a_doctored_header_is_refused_by_name(old: str, source: Source, moved: Path) -> None:
    header = moved / "include" / "llama.h"
    text = header.read_text()
    new, said = DOCTORED[old]
    assert old in text
    assert found(source, moved, source) == ()
    header.write_text(text.replace(old, new))
    sentences = found(source, moved, source)
    assert any(said in sentence for sentence in sentences), sentences


@asked_for
def test_the_command_line_refuses_before_compiling(run: Run, cache: Path, source: Source) -> None:
    older = version("0.3.35", cache)
    ended = run(
        "setup", "--llama-cpp", str(older.tree), "--progress", "json", "--json", check=False
    )
    assert ended.returncode == 11
    error = json.loads(ended.stdout)["error"]
    assert error["class"] == "AbiMismatch"
    assert "llama_model_params: field 6 is lazy_mode" in error["message"]
    assert len(error["mismatches"]) == len(found(source, older.tree, source))
    assert '"configure"' not in ended.stderr


@asked_for
def test_one_that_fits_is_built_and_generates_text(
    run: Run, source: Source, moved: Path, smollm: Path, tmp_path: Path
) -> None:
    answer = json.loads(run("setup", "--llama-cpp", str(moved), "--json").stdout)
    manifest = answer["artifact"]["manifest"]
    assert len(manifest["plan"]["pin"]["replaced"]) == 64
    assert replace(source.pin, replaced="x").commit != manifest["plan"]["pin"]["commit"]
    checks = {check["name"]: check for check in manifest["proof"]["checks"]}
    assert "17 tokens over HTTP" in checks["llama-server on the CPU"]["detail"]
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    run("setup", "--llama-cpp", str(moved), "--into", str(folder))
    script = (
        "import sys, llama_cpp; llama = llama_cpp.Llama(sys.argv[1], verbose=False, n_ctx=256);"
        "answer = llama('The capital of France is', max_tokens=8, temperature=0);"
        "print(llama_cpp.__version__, answer['choices'][0]['text'])"
    )
    argv = [str(folder / "bin" / "python"), "-c", script, str(smollm)]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert f"+lb{answer['artifact']['key'][:8]}" in said
    assert "Paris" in said
