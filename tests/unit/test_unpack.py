"""Unpacking: what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.errors import IntegrityError
from llamabuild.events import Event, Progress, silent
from llamabuild.fetch import names, unpack
from llamabuild.model import Pin

PIN = Pin(
    name="mine",
    version="1",
    urls=("a.tar.gz",),
    size=1,
    sha256="a" * 64,
    licence="MIT",
    commit="0c1e570",
    build_number=0,
    tree="vendor/tree",
)
GOOD = (("top/vendor/tree/CMakeLists.txt", b"project(x)"), ("top/a.txt", b"a"))


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    info.mode = 0o644
    return info


def archive(folder: Path, *extra: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A good archive with some more members at its end."""
    path = folder / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in GOOD:
            tar.addfile(member(name, content), io.BytesIO(content))
        for info, content in extra:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = member(name, kind=kind)
    info.linkname = target
    return info


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_a_good_archive(tmp_path: Path) -> None:
    program = member("top/run.sh", b"#!")
    program.mode = 0o6755
    program.mtime = 1_500_000_000
    shut = member("top/shut", b"")
    shut.mode = 0
    path = archive(
        tmp_path,
        (program, b"#!"),
        (shut, b""),
        (member("./top//empty/", kind=tarfile.DIRTYPE), b""),
        (member("top/empty", kind=tarfile.DIRTYPE), b""),
        (member("top/.git/config", b"x"), b"x"),
        (member("top/vendor/tree/.git", b"x"), b"x"),
        (member("top/.gitignore", b"x"), b"x"),
    )
    unpack.unpack(path, tmp_path / "out", PIN, silent)
    root = unpack.root(tmp_path / "out")
    assert root == tmp_path / "out" / "top"
    assert listing(root) == {
        "vendor/tree/CMakeLists.txt", "a.txt", "run.sh", "shut", ".gitignore",
    }  # fmt: skip
    assert (root / "empty").is_dir()
    assert (root / "vendor/tree/CMakeLists.txt").read_bytes() == b"project(x)"
    assert (root / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert (root / "run.sh").stat().st_mtime == 1_500_000_000
    assert (root / "shut").stat().st_mode & 0o7777 == 0o644
    assert os.listdir(tmp_path / "out") == ["top"]
    assert not (tmp_path / "out.part").exists()


HOSTILE: dict[str, Callable[[], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "parent": lambda: [(member("top/../../evil"), b"x")],
    "parent alone": lambda: [(member("..", kind=tarfile.DIRTYPE), b"")],
    "parent inside .git": lambda: [(member("top/.git/../../../evil"), b"x")],
    "absolute": lambda: [(member("/tmp/evil"), b"x")],
    "drive": lambda: [(member("C:/evil"), b"x")],
    "stream": lambda: [(member("top/a.txt:evil"), b"x")],
    "backslash": lambda: [(member("top\\..\\..\\evil"), b"x")],
    "newline": lambda: [(member("top/evil\n"), b"x")],
    "symlink out": lambda: [(link("top/out", "../../.."), b""), (member("top/out/evil"), b"x")],
    "symlink absolute": lambda: [(link("top/out", "/tmp"), b""), (member("top/out/evil"), b"x")],
    "below a symlink": lambda: [(link("top/b", "vendor"), b""), (member("top/b/evil"), b"x")],
    "symlink twice": lambda: [(link("top/a.txt", "vendor"), b"")],
    "symlink in .git": lambda: [(link("top/.git/out", "/tmp"), b"")],
    "hard link out": lambda: [(link("top/hard", "/etc/passwd", tarfile.LNKTYPE), b"")],
    "hard link inside": lambda: [(link("top/hard", "top/a.txt", tarfile.LNKTYPE), b"")],
    "device": lambda: [(member("top/null", kind=tarfile.CHRTYPE), b"")],
    "block device": lambda: [(member("top/disk", kind=tarfile.BLKTYPE), b"")],
    "pipe": lambda: [(member("top/pipe", kind=tarfile.FIFOTYPE), b"")],
    "file twice": lambda: [(member("top/a.txt"), b"x")],
    "file twice, other spelling": lambda: [(member("./top/./a.txt"), b"x")],
    "folder over file": lambda: [(member("top/a.txt", kind=tarfile.DIRTYPE), b"")],
    "file over folder": lambda: [(member("top/vendor"), b"x")],
    "file below file": lambda: [(member("top/a.txt/evil"), b"x")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_named_and_nothing_is_kept(tmp_path: Path, case: str) -> None:
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    hostile = HOSTILE[case]()
    path = archive(inside, *hostile)
    before = listing(tmp_path)
    with pytest.raises(IntegrityError) as caught:
        unpack.unpack(path, inside / "out", PIN, silent)
    assert repr(hostile[0][0].name).strip("'").rstrip("/") in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert listing(tmp_path) == before
    assert os.listdir(inside) == ["a.tar.gz"]


def test_links_inside_are_left_out(tmp_path: Path) -> None:
    """Sources up to llama-cpp-python 0.3.2 hold a folder of them, for Swift."""
    links = (link("top/spm/a.txt", "../a.txt"), b""), (link("top/dir", "./vendor"), b"")
    unpack.unpack(archive(tmp_path, *links), tmp_path / "out", PIN, silent)
    root = unpack.root(tmp_path / "out")
    assert not os.path.lexists(root / "dir")
    assert not os.path.lexists(root / "spm" / "a.txt")
    assert (root / "a.txt").is_file()


def test_absurd_sizes(tmp_path: Path) -> None:
    path = archive(tmp_path, (member("top/big", bytes(1000)), bytes(1000)))
    with pytest.raises(IntegrityError, match=r"'top/big' passes the limit of 900 bytes"):
        unpack.unpack(path, tmp_path / "out", PIN, silent, limit=900)
    assert os.listdir(tmp_path) == ["a.tar.gz"]
    unpack.unpack(path, tmp_path / "out", PIN, silent, limit=2000)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_MEMBERS", 5)
    unpack.unpack(archive(tmp_path), tmp_path / "few", PIN, silent)
    many = [(member(f"top/{n}"), b"x") for n in range(5)]
    with pytest.raises(IntegrityError, match="5 members"):
        unpack.unpack(archive(tmp_path, *many), tmp_path / "many", PIN, silent)


@pytest.mark.parametrize("cut", [0, 1, 11, 60, -30, -9, -1])
def test_truncated_archives(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path, (member("top/random", os.urandom(9000)), os.urandom(9000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError, match="not a readable"):
        unpack.unpack(path, tmp_path / "out", PIN, silent)
    assert os.listdir(tmp_path) == ["a.tar.gz"]


@given(st.binary(max_size=300), st.integers(0, 250))
def test_damaged_archives_are_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    path = archive(folder)
    good = path.read_bytes()
    path.write_bytes(good[:at] + noise + good[at + len(noise) :])
    try:
        unpack.unpack(path, folder / "out", PIN, silent)
    except IntegrityError:
        assert os.listdir(folder) == ["a.tar.gz"]
    else:
        tree = unpack.root(folder / "out") / PIN.tree
        assert (tree / "CMakeLists.txt").read_bytes() == b"project(x)"


@pytest.mark.parametrize(
    ("extra", "words"), [("second/file", "2 entries"), ("file-at-the-top", "2 entries")]
)
def test_more_than_one_top_folder(tmp_path: Path, extra: str, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        unpack.unpack(archive(tmp_path, (member(extra), b"x")), tmp_path / "out", PIN, silent)
    assert os.listdir(tmp_path) == ["a.tar.gz"]


def test_the_tree_must_be_inside(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member("top/vendor/other/a"), io.BytesIO(b"x"))
    with pytest.raises(IntegrityError, match="vendor/tree"):
        unpack.unpack(path, tmp_path / "out", PIN, silent)
    assert os.listdir(tmp_path) == ["b.tar.gz"]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    events: list[Event] = []
    path = archive(tmp_path)
    unpack.unpack(path, tmp_path / "out", PIN, events.append)
    last = events[-1]
    assert isinstance(last, Progress)
    assert (last.done, last.unit) == (path.stat().st_size, "B")


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack.unpack(archive(tmp_path), tmp_path / "out", PIN, interrupt)
    assert os.listdir(tmp_path) == ["a.tar.gz"]


@given(st.text("ab./\\:\n\x00C~", max_size=12))
def test_safe_names_stay_inside(name: str) -> None:
    try:
        path = names.safe_name(name)
    except ValueError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert os.path.normpath(os.path.join("/base", path)).startswith("/base")


@given(st.lists(st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True), min_size=1, max_size=5))
def test_ordinary_names_pass(parts: list[str]) -> None:
    if ".." not in parts:
        assert names.safe_name("/".join(parts)) == PurePosixPath(*parts)
