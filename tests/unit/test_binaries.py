"""What a path is: told by names and contents alone, and what cannot be proved is said clearly."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from llamabuild import binaries
from llamabuild.binaries import Found
from llamabuild.errors import ConfigError, IntegrityError, LlamabuildError
from llamabuild.fetch import wheel as opened
from llamabuild.host import LocalHost

EXPORT, OTHER = "llama_decode", "llama_log_set"


def library(*names: str) -> bytes:
    """A shared library of x86-64 that has nothing but dynamic symbols (gABI: Elf64_Ehdr, _Shdr,
    _Sym)."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    places = [strings.index(name.encode() + b"\0") for name in names]
    symbols = b"\0" * 24 + b"".join(struct.pack("<IBBHQQ", at, 0x12, 0, 1, 0, 0) for at in places)
    titles = b"\0.dynsym\0.dynstr\0.shstrtab\0"
    starts = [64, 64 + len(symbols), 64 + len(symbols) + len(strings)]
    end = starts[2] + len(titles)
    rows = [
        (0, 0, 0, 0, 0, 0),
        (titles.index(b".dynsym"), 11, starts[0], len(symbols), 2, 24),
        (titles.index(b".dynstr"), 3, starts[1], len(strings), 0, 0),
        (titles.index(b".shstrtab"), 3, starts[2], len(titles), 0, 0),
    ]
    headers = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, link, 1, 1, each)
        for name, kind, offset, size, link, each in rows
    )
    ident = b"\x7fELF\2\1\1" + b"\0" * 9
    head = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, end, 0, 64, 0, 0, 64, 4, 3)
    return ident + head + symbols + strings + titles + headers


@pytest.fixture
def host() -> LocalHost:
    return LocalHost()


def find(path: Path, host: LocalHost) -> Found:
    return binaries.find(path, host=host, work=path.parent / "work", house=path.parent / "house")


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("libllama.so", "libllama.so.0", "lib/libllama.so.0.0.7146", "bin/libllama.so"),
        *("build/bin/libllama.so", "libllama.v0.5.0.so", "llama_cpp/lib/libllama.so"),
        *("lib/some-addon.node", "engine.abi3.so"),
    ],
)
def test_a_folder_with_a_library(name: str, tmp_path: Path, host: LocalHost) -> None:
    put(tmp_path / "x" / name, library(EXPORT))
    found = find(tmp_path / "x", host)
    assert (found.kind, found.library, found.server) == ("folder", tmp_path / "x" / name, None)


def test_a_folder_as_a_build_makes_it(tmp_path: Path, host: LocalHost) -> None:
    """Libraries whose names only look like libllama's are not taken for it; links count once."""
    folder = tmp_path / "build" / "bin"
    for name in ("libllama-common.so", "libggml-base.so", "libggml-cpu.so"):
        put(folder / name, library(OTHER))
    put(folder / "libllama.so.0.0.1", library(OTHER, EXPORT))
    (folder / "libllama.so").symlink_to("libllama.so.0.0.1")
    put(folder / "llama-server", library())
    put(folder / "unrelated.so", library())
    found = find(tmp_path, host)
    assert found.library == folder / "libllama.so"
    assert found.server == folder / "llama-server"
    assert {file.name for file in found.files} == {
        *("libllama.so", "libllama-common.so", "libggml-base.so", "libggml-cpu.so"),
        "llama-server",
    }


def test_only_a_server(tmp_path: Path, host: LocalHost) -> None:
    server = put(tmp_path / "bin" / "llama-server", library())
    for path in (tmp_path, server):
        found = find(path, host)
        assert (found.library, found.server) == (None, server)


@pytest.mark.parametrize(
    ("name", "data", "error", "said"),
    [
        ("libggml.so", library(OTHER), ConfigError, "does not export llama_decode"),
        ("llama-cli", library(), ConfigError, "llama-server can be asked"),
        ("notes.txt", b"hello", ConfigError, "neither a library nor a program"),
        ("libllama.so", b"", ConfigError, "neither a library nor a program"),
        ("libllama.so", library(EXPORT)[:-70], IntegrityError, "not a sound ELF file"),
        ("a.whl", b"PK\3\4 and no more", IntegrityError, "not a sound wheel"),
        ("llama.foreign", b"MZ", ConfigError, "neither a library"),
    ],
)
def test_a_file_that_cannot_be_proved(
    name: str,
    data: bytes,
    error: type[LlamabuildError],
    said: str,
    tmp_path: Path,
    host: LocalHost,
) -> None:
    with pytest.raises(error, match=said) as caught:
        find(put(tmp_path / name, data), host)
    assert caught.value.hint


@pytest.mark.skipif(LocalHost().system()[0] != "linux", reason="foreign is another system's")
@pytest.mark.parametrize(
    ("name", "system"), [("llama.dll", "windows"), ("libllama.dylib", "macos")]
)
def test_a_library_of_another_system(
    name: str, system: str, tmp_path: Path, host: LocalHost
) -> None:
    with pytest.raises(ConfigError, match=f"a library for {system}"):
        find(put(tmp_path / name, b"MZ"), host)


def test_a_folder_with_nothing_says_where_it_looked_and_what_is_near(
    tmp_path: Path, host: LocalHost
) -> None:
    put(tmp_path / "x" / "lib" / "libggml.so", library(OTHER))
    with pytest.raises(ConfigError, match="no libllama and no llama-server") as caught:
        find(tmp_path / "x", host)
    assert "build/bin" in caught.value.hint
    assert "there is libggml.so" in caught.value.hint


def test_a_damaged_libllama_is_not_passed_over(tmp_path: Path, host: LocalHost) -> None:
    put(tmp_path / "x" / "libllama.so", library(EXPORT)[:-70])
    put(tmp_path / "x" / "other.so", library(EXPORT))
    with pytest.raises(IntegrityError, match=r"libllama\.so: not a sound ELF file"):
        find(tmp_path / "x", host)


def test_nothing_at_the_path(tmp_path: Path, host: LocalHost) -> None:
    with pytest.raises(ConfigError, match="no file or folder"):
        find(tmp_path / "absent", host)


def wheel(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_wheel_of_somebody_elses(tmp_path: Path, host: LocalHost) -> None:
    """Its own libraries are found wherever they are, and everything that it has is looked at."""
    path = wheel(
        tmp_path / "engine-1.2-py3-none-any.whl",
        **{"engine/native/core.so": library(EXPORT), "engine.libs/libgomp-1.so": library()},
    )
    found = find(path, host)
    assert (found.kind, found.label) == ("wheel", "engine 1.2")
    assert found.library == tmp_path / "work" / "wheel" / "engine" / "native" / "core.so"
    assert {file.name for file in found.files} == {"core.so", "libgomp-1.so"}


def test_a_wheel_without_llama(tmp_path: Path, host: LocalHost) -> None:
    path = wheel(tmp_path / "x-1-py3-none-any.whl", **{"x/x.so": library(OTHER), "x/y.py": b""})
    with pytest.raises(ConfigError, match=r"no library in .* exports llama_decode: x\.so"):
        find(path, host)


@pytest.mark.parametrize("name", ["../evil.so", "/evil.so", "a/../../evil.so", "c:\\evil.so"])
def test_a_wheel_that_leaves_its_folder(name: str, tmp_path: Path) -> None:
    path = wheel(tmp_path / "x-1-py3-none-any.whl", **{name: library(EXPORT)})
    with pytest.raises(IntegrityError, match="not a sound wheel"):
        opened.unpack(path, tmp_path / "a" / "b")
    assert not list(tmp_path.rglob("evil.so"))


def test_a_wheel_that_is_a_bomb(tmp_path: Path) -> None:
    path = wheel(tmp_path / "x-1-py3-none-any.whl", **{"x/a.so": bytes(3 << 20), "x/b.so": b"x"})
    opened.unpack(path, tmp_path / "whole", limit=(3 << 20) + 1)
    assert {file.name for file in (tmp_path / "whole" / "x").iterdir()} == {"a.so", "b.so"}
    with pytest.raises(IntegrityError, match="too large"):
        opened.unpack(path, tmp_path / "half", limit=3 << 20)


def test_a_wheel_with_the_same_file_twice(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("./a", b"2")
    with pytest.raises(IntegrityError, match="appears twice"):
        opened.unpack(path, tmp_path / "out")
