"""Logs in every shape in which they reach people: the same failure is found in all of them."""

from __future__ import annotations

import io
import json
import re

import pytest

from llamabuild import diagnose
from llamabuild.diagnose import errors, scanning, text, words

NVCC = "nvcc fatal   : Unsupported gpu architecture 'compute_120'"
ID = "cuda-arch-too-new-for-nvcc"
BEFORE = ["-- Configuring done", "[1/9] Building CXX object a.o", "[2/9] Building CUDA object b.o"]
AFTER = ["ninja: build stopped: subcommand failed."]
LINES = [*BEFORE, NVCC, *AFTER]
FORMS = {
    "colour": "\x1b[01;31m\x1b[K{}\x1b[m\x1b[K",
    "colour inside": "{0:.12}\x1b[0m{0:.0}",
    "caret": "^[[31m{}^[[0m",
    "arrow": "\u2190[31m{}\u2190[0m",
    "escaped": "\\u001b[31m{}\\u001b[0m",
    "octal": "\\033[31m{}\\033[0m",
    "lost": "[01m[K{}[0m",
    "link": "\x1b]8;;https://gcc.gnu.org\x07{}\x1b]8;;\x07",
    "docker build": "#12 34.567 {}",
    "docker compose": "builder-1  | {}",
    "docker service": "web.1.x7f9@node-2    | {}",
    "docker timestamps": "2026-01-02T03:04:05.123456789Z {}",
    "GitHub": "\ufeff2026-01-02T03:04:05.1234567Z {}",
    "gh run view": "build\tRun cmake\t2026-01-02T03:04:05.1234567Z {}",
    "GitLab": "2026-01-02T03:04:05.123456Z 01O {}",
    "Jenkins": "[2026-01-02T03:04:05.123Z] {}",
    "clock": "03:04:05 {}",
    "journald": "Jan 02 03:04:05 box ollama[4711]: {}",
    "journald iso": "2026-01-02T03:04:05+0100 box ollama[4711]: {}",
    "kubectl": "[pod/llama-0/main] 2026-01-02T03:04:05.1Z {}",
    "cargo": "[llama-cpp-sys-2 0.1.83] {}",
    "MSBuild": " 12>{}",
    "mail": "> {}",
    "pip": "  │ {}",
    "nix": "llama-cpp> {}",
    "llama.cpp": "0.00.012.845 E {}",
}


def first(data: str | bytes) -> str:
    found = diagnose.diagnose_text(data).first
    return found.entry.id if found else "none"


@pytest.mark.parametrize("name", FORMS)
def test_what_others_put_around_lines_goes(name: str) -> None:
    form = FORMS[name]
    if name == "colour inside":
        lines = [*BEFORE, f"{NVCC[:5]}\x1b[31m{NVCC[5:]}\x1b[0m"]
    else:
        lines = [form.format(line) for line in LINES]
    found = diagnose.diagnose_text("\n".join(lines)).first
    assert found is not None
    assert (found.entry.id, found.line) == (ID, 4)
    assert "nvcc fatal   : Unsupported" in found.evidence
    assert "\x1b" not in found.evidence


def test_prefixes_that_only_some_logs_have_are_taken_from_those_alone() -> None:
    assert text.clean(b"| a table |\nno table\nplain") == b"| a table |\nno table\nplain"
    assert text.prefixes(b"| a\n| b\n| c\nd") != ()
    assert text.prefixes(b"a\nb\n| c\nd") == ()


@pytest.mark.parametrize(
    "quotes",
    [
        "‘’",
        "´´",
        "`'",
        "“”",
        "»«",
        "„“",
        "「」",
        "��",
        "â€˜â€™",
        "ΓÇÿΓÇÖ",
        "ÔÇÿÔÇÖ",
        "вЂ™вЂ™",
        "鈥?鈥?",
    ],
)
def test_quotes_of_all_kinds_and_of_wrong_encodings(quotes: str) -> None:
    half = len(quotes) // 2
    assert first(NVCC.replace("'", quotes[:half], 1).replace("'", quotes[half:], 1)) == ID


def test_a_quote_that_chinese_windows_merged_with_a_letter() -> None:
    merged = NVCC.replace("'", "‘", 1).replace("'", "’").encode()
    assert first(merged.decode("gbk", "replace")) == ID


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_line_ends(end: str) -> None:
    found = diagnose.diagnose_text(end.join(LINES)).first
    assert found is not None
    assert (found.entry.id, found.line, found.evidence) == (ID, 4, NVCC)


def test_a_progress_bar_ends_no_line_but_parts_of_one() -> None:
    bar = "\r".join(f"{n} %" for n in range(0, 101, 10))
    found = diagnose.diagnose_text(f"start\n{bar}\r{NVCC}\nend").first
    assert found is not None
    assert (found.entry.id, found.line, found.evidence) == (ID, 2, NVCC)


def test_lines_of_gives_each_line_once_with_its_number() -> None:
    log = "".join(f"line {n}\n" for n in range(1, 60_000)) + "a\rb\rc\nlast"
    told = list(scanning.lines_of(io.BytesIO(log.encode())))
    assert told[:2] == [(1, "line 1"), (2, "line 2")]
    assert told[-4:] == [(60_000, "a"), (60_000, "b"), (60_000, "c"), (60_001, "last")]
    assert len(told) == 60_003


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252"])
def test_encodings(encoding: str) -> None:
    found = diagnose.diagnose_text("\r\n".join(LINES).encode(encoding)).first
    assert found is not None
    assert (found.entry.id, found.line) == (ID, 4)


def test_utf_16_appended_to_utf_8() -> None:
    assert first("\n".join(BEFORE).encode() + b"\n" + f"{NVCC}\r\n".encode("utf-16-le")) == ID


def test_utf_16_that_was_cut_in_the_middle_of_a_letter() -> None:
    data = "\r\n".join(LINES * 50).encode("utf-16")
    assert first(data[:-1]) == ID


@pytest.mark.parametrize("dump", [json.dumps, repr])
def test_a_log_inside_of_json_or_of_python(dump: object) -> None:
    log = "\n".join([*BEFORE, 'say "no"', *LINES, *BEFORE])
    assert callable(dump)
    assert first('{"stderr": ' + dump(log) + "}") == ID


def test_what_docker_keeps_in_its_files() -> None:
    rows = [json.dumps({"log": f"\x1b[31m{line}\x1b[0m\n", "stream": "stderr"}) for line in LINES]
    assert first("\n".join(rows)) == ID


@pytest.mark.parametrize("width", [40, 53, 80, 100])
def test_lines_that_a_terminal_broke_in_the_middle_of_words(width: int) -> None:
    noise = [
        f"[{n}/90] Building CXX object ggml/src/CMakeFiles/ggml.dir/file-number-{n}.cpp.o"
        for n in range(9)
    ]
    wrapped: list[str] = []
    for line in [*noise, "/usr/local/cuda/bin/" + NVCC, *noise]:
        wrapped += [line[n : n + width] for n in range(0, len(line), width)]
    assert first("\n".join(wrapped)) == ID


def test_words_that_a_program_wrapped_itself() -> None:
    log = (
        "CMake Error at CMakeLists.txt:3 (find_package):\n  Could not find a package\n"
        '  configuration file provided by\n  "Foo" with any of'
    )
    assert first(log) == "generic-cmake-package-missing"


def test_output_of_several_compilers_at_once() -> None:
    mixed = [
        line
        for pair in zip(
            BEFORE * 30,
            [f"x{n}.c:{n}:1: warning: unused [-Wunused]" for n in range(90)],
            strict=True,
        )
        for line in pair
    ]
    assert first("\n".join([*mixed[:70], NVCC, *mixed[70:]])) == ID


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_log_that_was_cut_at_both_ends(cut: int) -> None:
    data = ("é" * 40 + "\n" + "\n".join(LINES) + "\n" + "\x1b[31m" + "é" * 40).encode()
    assert first(data[cut:-cut]) == ID


def test_a_failure_across_two_pieces_of_a_long_log() -> None:
    for shift in range(0, 200, 17):
        before = "x" * 99 + "\n"
        log = before * ((text.CHUNK - shift) // 100) + "\n" + NVCC + "\n" + before * 5
        found = diagnose.diagnose_text(log).first
        assert found is not None
        assert found.entry.id == ID
        assert found.line == log[: log.index("nvcc")].count("\n") + 1


def test_one_line_of_megabytes() -> None:
    assert first("x " * (2 << 20) + NVCC + " y" * (1 << 20)) == ID


ABROAD = {
    "fatal error: foo.h: No such file or directory": (
        "schwerwiegender Fehler: foo.h: Datei oder Verzeichnis nicht gefunden",
        "erreur fatale : foo.h : Aucun fichier ou dossier de ce type",
        "error fatal: foo.h: No existe el fichero o el directorio",
        "error fatal: foo.h: No existe el archivo o el directorio",
        "errore irreversibile: foo.h: File o directory non esistente",
        "erro fatal: foo.h: Arquivo ou diretório inexistente",
        "фатальная ошибка: foo.h: Нет такого файла или каталога",
        "致命错误：foo.h：没有那个文件或目录",
        "致命的エラー: foo.h: そのようなファイルやディレクトリはありません",
        "치명적 오류: foo.h: 그런 파일이나 디렉터리가 없습니다",
    ),
    "undefined reference to 'foo'": (
        "Nicht definierter Verweis auf »foo«",
        "référence indéfinie vers « foo »",
        "referencia a `foo' sin definir",
        'riferimento non definito a "foo"',
        "referência não definida para 'foo'",
        "неопределённая ссылка на «foo»",
        "对‘foo’未定义的引用",
        "`foo' に対する定義されていない参照です",
        "`foo'에 대한 정의되지 않은 참조",
    ),
    "fatal error C1083:": (
        "schwerwiegender Fehler C1083:",
        "erreur irrécupérable C1083:",
        "error irrecuperable C1083:",
        "errore irreversibile C1083:",
        "неустранимая ошибка C1083:",
        "致命错误 C1083:",
        "致命的なエラー C1083:",
        "심각한 오류 C1083:",
    ),
    "error C2065:": (
        "Fehler C2065:",
        "erreur C2065:",
        "errore C2065:",
        "ошибка C2065:",
        "错误 C2065:",
        "エラー C2065:",
    ),
    "cannot find -lfoo": (
        "-lfoo kann nicht gefunden werden",
        "ne peut trouver -lfoo",
        "no se puede encontrar -lfoo",
        "impossibile trovare -lfoo",
        "невозможно найти -lfoo",
        "找不到 -lfoo",
        "-lfoo が見つかりません",
    ),
    "Segmentation fault": (
        "Speicherzugriffsfehler",
        "Erreur de segmentation",
        "Violación de segmento",
        "段错误",
        "세그멘테이션 오류",
    ),
    "] Error 1": ("] Fehler 1", "] Erreur 1", "] Ошибка 1", "] 错误 1", "] エラー 1"),
}


@pytest.mark.parametrize(
    ("english", "said"), [(one, said) for one, all_ in ABROAD.items() for said in all_]
)
def test_compilers_that_speak_other_languages(english: str, said: str) -> None:
    shown = text.clean(said.encode()).decode()
    assert _close(shown) == _close(english)


def _close(line: str) -> str:
    """A line without what languages differ in: blanks at quotes, and which quotes."""
    return re.sub(r"\s*['\"]\s*", "'", line)


def test_english_stays_as_it_is() -> None:
    for line in (NVCC, "a.c:1:2: error: expected ';' before 'x'", "0 Fehler gefunden", "erro"):
        assert words.english(line.encode()).decode() == line


def look(log: str) -> errors.FirstError | None:
    return diagnose.diagnose_text(log).error


def test_the_first_real_error_of_a_log_that_nobody_knows() -> None:
    lines = (
        "-- Could NOT find Foo (missing: FOO)",
        "a.c:1:2: warning: the word error: does not count here",
        "FAILED: quux",
        "frobnicator: error: quibble 7",
        "more",
        "make: *** [all] Error 2",
    )
    found = look("\n".join(lines))
    assert found is not None
    assert (found.line, found.text, found.first) == (4, "frobnicator: error: quibble 7", 2)
    assert found.around[2:] == ("frobnicator: error: quibble 7", "more", "make: *** [all] Error 2")


def test_where_nothing_tells_why_the_first_line_that_says_that_it_failed() -> None:
    found = look("one\ntwo\nFAILED: quux\nthree")
    assert found is not None
    assert (found.line, found.text) == (3, "FAILED: quux")


@pytest.mark.parametrize(
    "said", ["E frob      init: oops", "Fehler: kaputt", "frob couldn't bind to 1", "QuuxError: 7"]
)
def test_ways_to_say_error(said: str) -> None:
    found = look(f"fine\n{said}\nfine")
    assert found is not None
    assert found.line == 2


@pytest.mark.parametrize(
    "said",
    [
        "0 errors, 0 failed",
        "-- Looking for x - not found",
        "compiling error.cpp",
        "[7/9] Building CXX object error.o",
        "  --no-error, do not fail",
    ],
)
def test_words_that_mean_nothing(said: str) -> None:
    assert diagnose.diagnose_text(f"fine\n{said}\nfine").clean
