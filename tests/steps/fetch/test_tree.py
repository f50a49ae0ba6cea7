"""Another llama.cpp in a pinned source: from a folder, an archive, a tag; one tree, one source."""

from __future__ import annotations

import io
import random
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import pins
from llamabuild.errors import ConfigError, FetchError, IntegrityError, LlamabuildError, StoreError
from llamabuild.events import Event, Noticed
from llamabuild.fetch import contents, fetch, tree, unpinned, where
from llamabuild.model import Pin, Source
from tests.steps.fetch import site as web
from tests.steps.fetch.running import FILE, OPTION, QUICK, Here
from tests.steps.fetch.test_patched import GUARD, patch

pytestmark = pytest.mark.steps
FILES = {
    "CMakeLists.txt": b'option(GGML_NEW "x" ON)\n',
    "include/llama.h": b"int llama_new(void);\n",
    "src/build/deep.c": b"int deep;\nint deep;\n",
    "src/noise.bin": random.Random(11).randbytes(300_000),  # nothing of it compresses away
}
PATH = "/ggml-org/llama.cpp/archive"


@pytest.fixture
def local(pin: Pin, archive: bytes, tmp_path: Path) -> Pin:
    (tmp_path / FILE).write_bytes(archive)
    return replace(pin, urls=(str(tmp_path / FILE),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "llama.cpp"
    for name, content in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    return made


class Taker:
    """Takes trees into one cache, and remembers what was told."""

    def __init__(self, cache: Path, pin: Pin) -> None:
        self.cache, self.pin = cache, pin
        self.events: list[Event] = []

    def __call__(self, text: str | Path, *, offline: bool = False, **environ: str) -> Source:
        host = Here(**environ)
        taken = tree.replaced(
            self.pin,
            where.understood(str(text), host.environ),
            cache=self.cache,
            host=host,
            emit=self.events.append,
            offline=offline,
            patience=QUICK,
        )
        assert not list(self.cache.rglob("*.part"))
        assert taken.root.parent.name == pins.identity(taken.pin)[:16]
        assert fetch(taken.pin, cache=self.cache, host=host, emit=self.events.append) == taken
        return taken

    def refused(self, text: str | Path, kind: type[LlamabuildError], **environ: str) -> str:
        before = self.sources()
        with pytest.raises(kind) as caught:
            self(text, **environ)
        assert caught.value.hint
        assert "\n" not in caught.value.message
        assert not list(self.cache.rglob("*.part"))
        assert len(self.sources() - before) <= 1  # the pinned one, which was fetched before
        return caught.value.message

    def sources(self) -> set[Path]:
        return {one for one in (self.cache / "sources").glob("*") if one.is_dir()}

    def told(self) -> str:
        return "\n".join(one.message for one in self.events if isinstance(one, Noticed))


@pytest.fixture
def take(tmp_path: Path, local: Pin) -> Taker:
    return Taker(tmp_path / "cache", local)


def packed(
    folder: Path, *, top: str = "llama.cpp-b6000", kind: str = "gz", level: int = 6
) -> bytes:
    """A tar archive of a folder."""
    out = io.BytesIO()
    options = {"compresslevel": level} if kind == "gz" else {}
    with tarfile.open(fileobj=out, mode=f"w:{kind}", **options) as tar:  # type: ignore[call-overload]
        tar.add(folder, arcname=top)
    return out.getvalue()


def zipped(folder: Path, *extra: tuple[zipfile.ZipInfo, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"top/{path.relative_to(folder)}")
        for info, content in extra:
            archive.writestr(info, content)
    return out.getvalue()


def test_a_folder_stands_in_place_of_the_tree(take: Taker, folder: Path) -> None:
    taken = take(folder)
    assert {
        path.relative_to(taken.tree).as_posix(): path.read_bytes()
        for path in taken.tree.rglob("*")
        if path.is_file()
    } == FILES
    assert len(list((taken.root / "src").rglob("*.c"))) == 300  # the pinned source's own
    assert (taken.pin.commit, taken.pin.build_number) == ("unknown", 0)
    assert taken.pin.replaced == contents.of(folder)
    assert pins.identity(taken.pin) != pins.identity(take.pin)
    own = fetch(take.pin, cache=take.cache, host=Here(), emit=take.events.append)
    assert b"GGML_X" in (own.tree / "CMakeLists.txt").read_bytes()


def test_one_tree_is_one_source_whatever_it_came_in(
    take: Taker, folder: Path, tmp_path: Path, site: web.Site
) -> None:
    first = take(folder)
    made = {
        "a.tar.gz": packed(folder),
        "b.tgz": packed(folder, top="."),
        "c.tar.xz": packed(folder, kind="xz"),
        "d.zip": zipped(folder),
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
        assert take(tmp_path / name).root == first.root, name
        assert take((tmp_path / name).as_uri()).root == first.root, name
        site.routes[f"/{name}"] = web.serve(content)
        assert take(f"{site.url}/{name}").root == first.root, name
    site.routes[f"{PATH}/b6000.tar.gz"] = web.serve(made["a.tar.gz"])
    tagged = take("b6000", LLAMABUILD_GITHUB=site.url + "/")
    assert tagged.root == first.root
    assert (tagged.pin.commit, tagged.pin.build_number) == ("b6000", 6000)
    assert len(take.sources()) == 2


def test_only_what_can_change_a_build_counts(take: Taker, folder: Path) -> None:
    first = take(folder)
    for name in ("build/a.c", "build-cuda/b.c", ".git/HEAD", "models/big.gguf", "src/x.o"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"left by an earlier build")
    (folder / "include" / "also.h").symlink_to("llama.h")
    (folder / "out").symlink_to("/tmp", target_is_directory=True)
    before = sorted(take.cache.rglob("*"))
    assert take(folder) == first
    assert sorted(take.cache.rglob("*")) == before
    (folder / "src/build/deep.c").write_bytes(b"int changed;\n")
    changed = take(folder)
    assert changed.root != first.root
    assert (changed.tree / "src/build/deep.c").read_bytes() == b"int changed;\n"
    (folder / "CMakeLists.txt").chmod(0o755)
    assert take(folder).root not in (first.root, changed.root)


def test_a_link_that_leaves_the_folder_is_refused(take: Taker, folder: Path) -> None:
    (folder / "src" / "secrets").symlink_to("/etc")
    assert "src/secrets is a link that leaves" in take.refused(folder, ConfigError)


def test_a_hash_is_required_to_match(take: Taker, folder: Path, tmp_path: Path) -> None:
    import hashlib

    content = packed(folder)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    right = hashlib.sha256(content).hexdigest()
    taken = take(f"{path}#sha256={right}")
    path.unlink()
    assert "there is no such file" in take.refused(path, ConfigError)
    path.write_bytes(packed(folder, level=1))
    assert take(f"{path}#sha256={right}") == taken  # known by its hash, and not read again
    wrong = "0" * 64
    assert f"wanted {wrong}" in take.refused(f"{path}#sha256={wrong}", IntegrityError)


def test_a_tag_goes_on_standing_for_the_same_files(
    take: Taker, folder: Path, site: web.Site
) -> None:
    address = f"{PATH}/v1.2.tar.gz"
    site.routes[address] = web.serve(packed(folder))
    first = take("v1.2", LLAMABUILD_GITHUB=site.url)
    assert "v1.2 was not seen before; its files are remembered as" in take.told()
    asked = len(site.log)
    assert take("v1.2", offline=True, LLAMABUILD_GITHUB=site.url) == first
    assert len(site.log) == asked
    shutil.rmtree(first.root.parent)
    site.routes[address] = web.serve(packed(folder, level=1))  # packed anew, the same files
    assert take("v1.2", LLAMABUILD_GITHUB=site.url) == first
    shutil.rmtree(first.root.parent)
    (folder / "include/llama.h").write_bytes(b"int moved(void);\n")
    site.routes[address] = web.serve(packed(folder))
    message = take.refused("v1.2", IntegrityError, LLAMABUILD_GITHUB=site.url)
    assert "v1.2 has other files than before" in message
    with pytest.raises(StoreError, match="is gone from the cache"):
        fetch(first.pin, cache=take.cache, host=Here(), emit=take.events.append)


def test_a_line_that_breaks_is_taken_up_again(take: Taker, folder: Path, site: web.Site) -> None:
    content = packed(folder)
    half = web.cut(content, len(content) // 2)
    site.routes[f"{PATH}/abcdef0.tar.gz"] = web.in_turn(half, web.serve(content))
    taken = take("abcdef0", LLAMABUILD_GITHUB=site.url)
    assert taken.pin.commit == "abcdef0"
    (_, first), (_, second) = site.log
    assert not first
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(content) // 2


@pytest.mark.parametrize("making", [web.without_ranges, web.chunked])
def test_servers_without_ranges_or_length_will_do(
    take: Taker, folder: Path, site: web.Site, making: web.Route
) -> None:
    content = packed(folder)
    half = web.cut(content, len(content) // 2)
    site.routes["/a.tar.gz"] = web.in_turn(half, making(content))  # type: ignore[arg-type]
    assert take(f"{site.url}/a.tar.gz").pin.replaced == contents.of(folder)


def test_what_cannot_be_fetched(take: Taker, folder: Path, site: web.Site) -> None:
    missing = take.refused("b1", FetchError, LLAMABUILD_GITHUB=site.url)
    assert "b1 could not be fetched" in missing
    assert "HTTP 404" in missing
    site.routes["/a.tar.gz"] = web.cut(packed(folder), 100)
    assert "(3 attempts)" in take.refused(f"{site.url}/a.tar.gz", FetchError)
    secret = site.url.replace("//", "//me:secret@")
    assert "secret" not in take.refused(f"{secret}/b.tar.gz?token=1", FetchError) + take.told()
    with pytest.raises(FetchError, match="the network is off"):
        take("b2", offline=True)


def test_no_file_is_too_large(
    take: Taker, folder: Path, site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(unpinned.obtain.__kwdefaults__, "limit", 100)
    for route in (web.serve, web.chunked):
        site.routes["/a.tar.gz"] = route(packed(folder))
        assert "which no llama.cpp has" in take.refused(f"{site.url}/a.tar.gz", FetchError)


def test_archives_that_mean_ill(take: Taker, folder: Path, tmp_path: Path) -> None:
    outside = zipped(folder, (zipfile.ZipInfo("../../outside"), "x"))
    (tmp_path / "a.zip").write_bytes(outside)
    assert "leaves the archive" in take.refused(tmp_path / "a.zip", IntegrityError)
    link = zipfile.ZipInfo("top/include/also.h")
    link.external_attr = 0o120777 << 16
    (tmp_path / "b.zip").write_bytes(zipped(folder, (link, "/etc/passwd")))
    assert take(tmp_path / "b.zip").pin.replaced == contents.of(folder)
    (tmp_path / "c.tar.gz").write_bytes(packed(folder)[:-50])
    assert "is not a readable" in take.refused(tmp_path / "c.tar.gz", IntegrityError)
    (tmp_path / "d.tar.xz").write_bytes(packed(folder, kind="xz")[:-50])
    assert "is not a readable" in take.refused(tmp_path / "d.tar.xz", IntegrityError)
    (tmp_path / "e.zip").write_bytes(b"PK\3\4")
    take.refused(tmp_path / "e.zip", IntegrityError)
    (folder / "include/llama.h").unlink()
    (tmp_path / "f.tar.gz").write_bytes(packed(folder))
    assert "it has no include/llama.h" in take.refused(tmp_path / "f.tar.gz", ConfigError)
    assert "it has no include/llama.h" in take.refused(folder, ConfigError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no tag, commit, archive or folder"),
        ("master", "is no tag, commit, archive or folder"),
        ("b12x", "is no tag"),
        ("../b6000", "is no tag"),
        ("0c1e57", "is no tag"),
        ("ftp://host.invalid/a.tar.gz", "addresses of this kind"),
        ("https://host.invalid/a.rar", "is no archive of a kind"),
        ("https://host.invalid/a.tar.gz#sha256=12", "is no sha256"),
        ("https://me:secret@host.invalid/a.tar.gz#md5=1", "https://***@host.invalid"),
        ("/nowhere/a.tar.gz", "there is no such file"),
        ("/etc#sha256=" + "0" * 64, "a folder has no sha256"),
        ("/etc/passwd", "is no archive of a kind"),
        ("/etc", "is no llama.cpp that can be built"),
    ],
)
def test_what_is_not_understood(take: Taker, text: str, words: str) -> None:
    message = take.refused(text, ConfigError)
    assert words in message
    assert "secret" not in message


def test_patches_are_applied_where_they_fit(take: Taker, folder: Path) -> None:
    take.pin = replace(take.pin, patches=(patch(GUARD, "guard"),))
    (folder / "CMakeLists.txt").write_bytes(OPTION + b"# more\n")
    taken = take(folder)
    guarded = OPTION + b'option(GGML_Y "y" ON)\n# more\n'
    assert (taken.tree / "CMakeLists.txt").read_bytes() == guarded
    assert (folder / "CMakeLists.txt").read_bytes() == OPTION + b"# more\n"
    assert "left out" not in take.told()


def test_a_patch_that_does_not_fit_is_left_out_and_said(take: Taker, folder: Path) -> None:
    take.pin = replace(take.pin, patches=(patch(GUARD, "guard"),))
    taken = take(folder)
    assert (taken.tree / "CMakeLists.txt").read_bytes() == FILES["CMakeLists.txt"]
    assert "patch guard cannot be applied: tree/CMakeLists.txt: hunk 1 does not fit" in take.told()
    assert "it is left out (w)" in take.told()


def test_what_is_interrupted_leaves_nothing(
    take: Taker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    fetch(take.pin, cache=take.cache, host=Here(), emit=take.events.append)
    before = take.sources()
    with monkeypatch.context() as patched:
        patched.setattr(tree, "_patch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            take(folder)
    assert take.sources() == before
    take(folder)
