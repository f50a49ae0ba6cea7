"""What an index says, and what is believed of it: names, records, pages, offers, choice, HTTP."""

from __future__ import annotations

import hashlib
import html.parser
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from llamabuild.errors import ConfigError, IntegrityError, Refused, UnsupportedHardware
from llamabuild.host import RecordedHost
from llamabuild.index import (
    entries,
    inside,
    lines,
    names,
    negotiation,
    offers,
    opening,
    pages,
    people,
    using,
)
from llamabuild.index.entries import Entry
from llamabuild.model import Variant
from llamabuild.wheels.about import About
from tests.unit import indexed, planned

BASE = "https://wheels.invalid/team"


def entry(said: About | None = None, tags: str = "py3-none-any", **changes: Any) -> Entry:
    said = said or indexed.statement()
    file = f"llama_cpp_python-{said.release}+{said.label}-{tags}.whl"
    values: dict[str, Any] = {
        "file": file,
        "sha256": hashlib.sha256(file.encode()).hexdigest(),
        "size": len(file),
        "modified": 1,
        "metadata": hashlib.sha256(b"METADATA" + file.encode()).hexdigest(),
        "requires_python": ">=3.8",
        "dependencies": ("numpy",),
        "published": "2026-11-21T10:00:00.000000Z",
        "about": said,
    }
    return Entry(**{**values, **changes})


def shelf(*made: Entry) -> dict[str, Entry]:
    return {one.file: one for one in made}


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        "../llama_cpp_python-1+cpu-py3-none-any.whl",
        "llama_cpp_python-1+cpu-py3-none-any.whl/..",
        'llama_cpp_python-1+cpu-py3-none-any".whl',
        "llama_cpp_python-1+CPU-py3-none-any.whl",  # not as the version is written
        "llama_cpp_python-1.0+cpu-1-py3-none-any.whl",  # a build number
        "llama-cpp-python-1.0+cpu-py3-none-any.whl",
        "numpy-1.0+cpu-py3-none-any.whl",
        "llama_cpp_python-1+cpu-py3-none-any.zip",
        "llama_cpp_python-1+cpu-py3-none-any.whl\n",
        "llama_cpp_python-1+" + "a" * 300 + "-py3-none-any.whl",
    ],
)
def test_a_name_that_could_mean_something_else_is_none(file: str) -> None:
    assert names.named(file) is None


@given(st.text(max_size=30))
def test_a_variant_is_one_path_segment_without_meaning(name: str) -> None:
    if names.is_variant(name):
        assert name == Path(name).name
        assert name not in (".", "..", "variants")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.")


# --- records -------------------------------------------------------------------------------------


def test_a_record_is_read_back() -> None:
    one = entry()
    assert entries.decode(entries.encode(one), one.file + names.RECORD) == one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "not the record"),
        ({"file": "llama_cpp_python-1+cpu-py3-none-any.whl"}, "not the record"),
        ({"sha256": "0" * 63}, "a hash in it"),
        ({"metadata": "../x"}, "a hash in it"),
        ({"about": indexed.statement("../x")}, "says label"),
        ({"about": indexed.statement(release="9.9")}, "says release 9.9"),
        ({"about": indexed.statement(name="numpy")}, "is about numpy"),
    ],
)
def test_a_record_that_says_something_else_is_refused(change: dict[str, Any], said: str) -> None:
    name = entry().file + names.RECORD
    wrong = msgspec.structs.replace(entry(), **change)
    with pytest.raises(IntegrityError, match=said):
        entries.decode(entries.encode(wrong), name)


def test_a_label_begins_with_its_variant_as_a_whole() -> None:
    said = indexed.statement("cpu", label="cpu2.lb1")
    file = "llama_cpp_python-0.3.36+cpu2.lb1-py3-none-any.whl"
    assert "does not begin with its variant" in entries.disagreements(file, said)[0]


def test_the_highest_turn_stands_and_the_others_are_told() -> None:
    old = entry(indexed.statement(build="lbffffffff"))
    new = entry(indexed.statement(build="lb00000002"), turn=2)
    other = entry(indexed.statement(build="lb00000003"), tags="py3-none-macosx_11_0_arm64")
    assert entries.replaced(shelf(old, new, other)) == {old.file: new.file}


# --- pages ---------------------------------------------------------------------------------------

PYTHONS = st.sampled_from(["", ">=3.8", ">=3.10,<4", '>=3.8,!="3.9"', "<4&b"])


@st.composite
def shelves(draw: st.DrawFn) -> dict[str, Entry]:
    count = draw(st.integers(0, 6))
    made = []
    for number in range(count):
        said = indexed.statement(
            "cpu.v3",
            f"lb{draw(st.integers(0, 3))}",
            release=f"0.{draw(st.integers(0, 2))}.{draw(st.integers(0, 11))}",
        )
        tags = draw(st.sampled_from(["py3-none-any", "py3-none-manylinux_2_28_x86_64"]))
        turn = draw(st.integers(1, 3))
        made.append(entry(said, tags, requires_python=draw(PYTHONS), turn=turn, size=number))
    return shelf(*made)


class Anchors(html.parser.HTMLParser):
    """Every anchor of a page, as pip reads it."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


@given(shelves())
def test_pages_say_what_the_records_say(found: dict[str, Entry]) -> None:
    listed = pages.listing(found)
    assert set(listed) == set(found)
    page = json.loads(pages.project_json(found, listed))
    anchors = Anchors(pages.project_html(found, listed)).found
    assert page["meta"]["api-version"] == "1.1"
    assert page["versions"] == list(dict.fromkeys(page["versions"]))
    assert {str(parse_wheel_filename(one)[1]) for one in found} == set(page["versions"])
    assert len(page["files"]) == len(anchors) == len(found)
    for one, anchor in zip(page["files"], anchors, strict=True):
        record = found[one["filename"]]
        assert one["hashes"] == {"sha256": record.sha256}
        assert one["url"].replace("%2B", "+") == record.file
        assert one["size"] == record.size
        assert one["core-metadata"] == one["dist-info-metadata"] == {"sha256": record.metadata}
        assert one.get("requires-python", "") == record.requires_python
        assert anchor["href"] == f"{one['url']}#sha256={record.sha256}"
        assert anchor["data-core-metadata"] == f"sha256={record.metadata}"
        assert anchor["data-dist-info-metadata"] == anchor["data-core-metadata"]
        assert (anchor.get("data-requires-python") or "") == record.requires_python
        assert (anchor.get("data-yanked") or False) == one["yanked"]


@given(shelves(), st.booleans(), st.data())
def test_a_page_is_known_again_also_when_wheels_came_since(
    found: dict[str, Entry], as_json: bool, data: st.DataObject
) -> None:
    before = {name: one for name, one in found.items() if data.draw(st.booleans())}
    page = pages.project_page(before, pages.listing(before), as_json=as_json)
    assert pages.as_listed(page, found, as_json=as_json) == pages.listing(before)
    where = data.draw(st.integers(0, len(page) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != page[where]))
    changed = page[:where] + bytes([byte]) + page[where + 1 :]
    said = pages.as_listed(changed, found, as_json=as_json)
    assert said is None or page.count(b"replaced by"), "only the reason of a yank may differ"


@given(st.binary(max_size=200), st.booleans())
def test_what_is_no_page_is_none(data: bytes, as_json: bool) -> None:
    assert not pages.as_listed(data, shelf(entry()), as_json=as_json)


def test_the_page_for_people_says_what_is_needed_and_escapes_it() -> None:
    said = indexed.statement(proved_on="<script>alert(1)</script>", backends=("cuda", "cpu"))
    needing = replace(indexed.BARE, backends=("cuda", "cpu"), drivers=(("cuda", "580.65.06"),))
    one = entry(msgspec.structs.replace(said, requires=needing))
    page = people.page(offers.root({"cpu": shelf(one)}))
    assert b"<script>" not in page
    assert "a device for NVIDIA CUDA, driver ≥ 580.65.06".encode() in page
    assert people.intact(page)


# --- offers: somebody else's bytes ---------------------------------------------------------------


def test_offers_are_read_back() -> None:
    found = offers.root({"cpu": shelf(entry()), "empty": {}})
    assert offers.decode(offers.encode(found), BASE) == found
    assert [one.name for one in found.variants] == ["cpu"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("version",), 2, "version 2"),
        (("project",), "numpy", "for 'numpy'"),
        (("variants", 0, "name"), "../cpu", "no name for a variant"),
        (("variants", 0, "name"), "cp", "no wheel of cp"),
        (("variants", 0, "wheels", 0, "file"), "../../x.whl", "not the name"),
        (("variants", 0, "wheels", 0, "file"), "x' ; rm -rf ~ '.whl", "not the name"),
        (("variants", 0, "wheels", 0, "release"), "9.9", "not the name"),
        (("variants", 0, "wheels", 0, "sha256"), "x' y", "hash or size"),
        (("variants", 0, "wheels", 0, "size"), -1, "hash or size"),
        (("variants", 0, "wheels", 0, "size"), "1", "cannot be read"),
        (("variants", 0, "wheels", 0, "requires"), None, "cannot be read"),
        (("variants",), 7, "cannot be read"),
    ],
)
def test_offers_that_could_mean_something_else_are_refused(
    path: tuple[Any, ...], value: Any, said: str
) -> None:
    found = json.loads(offers.encode(offers.root({"cpu": shelf(entry())})))
    at = found
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(IntegrityError, match=said):
        offers.decode(json.dumps(found).encode(), BASE)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_offers_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        offers.decode(data, BASE)


# --- which one -----------------------------------------------------------------------------------

V3 = indexed.statement(
    "cpu.v3", features=indexed.V3, requires=replace(indexed.BARE, features=indexed.V3)
)
CUDA = indexed.statement(
    "cu130.sm89",
    backends=("cuda", "cpu"),
    requires=replace(
        indexed.BARE,
        backends=("cuda", "cpu"),
        device_code=(("sass", "89"),),
        drivers=(("cuda", "550.54.14"),),
        libraries=("libcublas.so.13",),
        places=("../../nvidia/cu13/lib",),
    ),
)
VULKAN = indexed.statement(
    "vulkan",
    backends=("vulkan", "cpu"),
    features=indexed.V3,
    requires=replace(indexed.BARE, backends=("vulkan", "cpu"), features=indexed.V3),
)
FAT = indexed.statement(
    "cpu.fat",
    cpu="fat",
    requires=replace(
        indexed.BARE,
        variants=(
            Variant(name="haswell", features=indexed.V3),
            Variant(name="sandybridge", features=("sse4_2", "avx")),
        ),
    ),
)


def root(*said: About, dependencies: tuple[str, ...] = ("nvidia-cublas>=13",)) -> offers.Root:
    found: dict[str, dict[str, Entry]] = {}
    for one in said:
        made = entry(one, dependencies=dependencies)
        found.setdefault(one.variant, {})[made.file] = made
    return offers.root(found)


def machine(name: str) -> using.Machine:
    known = planned.machines()[name]
    host = RecordedHost(known.recording.machine)
    return using.Machine(
        hardware=known.hardware, provides=planned.provides(name), exists=host.exists
    )


@pytest.mark.parametrize(
    ("name", "said", "chosen"),
    [
        ("zen4-rtx4090", (indexed.statement(), V3, VULKAN, CUDA), "cu130.sm89"),
        ("zen4-rtx4090", (indexed.statement(), V3), "cpu.v3"),
        ("zen4-vm-gcc12", (indexed.statement(), V3, VULKAN, CUDA), "cpu.v3"),
        ("sandy-bridge", (indexed.statement(), V3, FAT), "cpu.fat"),
        ("sandy-bridge", (indexed.statement(), V3, CUDA), "cpu"),
        ("lavapipe-only", (V3, VULKAN), "cpu.v3"),  # a software device makes nothing faster
        ("arc-b580-vulkan-only", (indexed.statement(), V3, VULKAN, CUDA), "vulkan"),
    ],
)
def test_the_fastest_that_runs_is_chosen(name: str, said: tuple[About, ...], chosen: str) -> None:
    found = using.choose(root(*said), machine(name))
    assert found.judged.variant == chosen
    assert {one.variant for one in found.others} == {one.variant for one in said} - {chosen}
    assert all(one.why for one in found.others)


def test_each_other_variant_has_its_reason() -> None:
    said = (indexed.statement(), V3, CUDA)
    found = using.choose(root(*said), machine("zen4-vm-gcc12"))
    assert {one.variant: one.why for one in found.others} == {
        "cpu": "slower here: without avx2, bmi2, f16c, fma",
        "cu130.sm89": "no device for NVIDIA CUDA is here",
    }


def test_of_the_fastest_the_newest_release_is_chosen_and_nothing_yanked() -> None:
    made = [entry(indexed.statement(release=one)) for one in ("0.3.9", "0.3.36", "0.3.10")]
    again = entry(indexed.statement(release="0.3.36", build="lb0000000a"), turn=2)
    found = using.choose(offers.root({"cpu": shelf(*made, again)}), machine("zen5"))
    assert found.judged.offer.file == again.file


def test_a_library_that_no_dependency_brings_is_missing() -> None:
    here = machine("zen4-rtx4090")
    provides = replace(here.provides, libraries=frozenset())
    with pytest.raises(UnsupportedHardware, match=r"libcublas\.so\.13 missing"):
        using.choose(root(CUDA, dependencies=("numpy",)), replace(here, provides=provides))
    found = using.choose(root(CUDA), replace(here, provides=provides))
    assert found.judged.variant == "cu130.sm89"


def test_nothing_that_runs_says_what_each_lacks() -> None:
    with pytest.raises(UnsupportedHardware) as caught:
        using.choose(root(indexed.statement(), CUDA), machine("graviton3"))
    assert "cpu: made for x86_64, this is aarch64; cu130.sm89: made for" in caught.value.message


def test_a_variant_can_be_asked_for_and_is_refused_where_it_does_not_run() -> None:
    found = root(indexed.statement(), V3)
    asked = using.choose(found, machine("zen5"), "cpu")
    assert (asked.judged.variant, asked.judged.why) == ("cpu", "asked for")
    assert [(one.variant, one.why) for one in asked.others] == [("cpu.v3", "faster here")]
    with pytest.raises(UnsupportedHardware, match=r"cpu\.v3: avx2 missing, "):
        using.choose(found, machine("sandy-bridge"), "cpu.v3")
    with pytest.raises(ConfigError, match=r"no variant .cpu\.v9."):
        using.choose(found, machine("zen5"), "cpu.v9")


def test_an_unknown_back_end_is_a_reason_not_a_failure() -> None:
    alien = indexed.statement("npu", requires=replace(indexed.BARE, backends=("npu2", "cpu")))
    found = using.choose(root(alien, indexed.statement()), machine("zen5"))
    assert [one.missing for one in found.others] == [("npu2 is unknown to this llamabuild",)]


@pytest.mark.parametrize("where", ["ftp://host.invalid/x", "https://", "s3://bucket/x"])
def test_an_address_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(ConfigError, match="no address of an index"):
        using.base(where)


# --- what is printed -----------------------------------------------------------------------------


def test_the_pip_line_names_one_file_and_its_hash() -> None:
    one = offers.offer(entry(), "")
    words = shlex.split(lines.pip("https://host.invalid/it's;here", "cpu", one))
    assert words[:2] == ["pip", "install"]
    asked = Requirement(words[2])
    assert len(words) == 3
    assert asked.name == "llama-cpp-python"
    assert asked.url == (
        "https://host.invalid/it's;here/cpu/llama-cpp-python/"
        f"llama_cpp_python-0.3.36%2Bcpu.lb00000001-py3-none-any.whl#sha256={one.sha256}"
    )


def test_the_uv_lines_are_toml_that_pins_version_and_index() -> None:
    said = tomli.loads(lines.uv('https://host.invalid/"x', "cpu.v3", offers.offer(entry(V3), "")))
    uv = said["tool"]["uv"]
    assert uv["index"] == [
        {
            "name": "llamabuild-cpu-v3",
            "url": 'https://host.invalid/"x/cpu.v3/',
            "explicit": True,
        }
    ]
    assert uv["sources"] == {"llama-cpp-python": {"index": "llamabuild-cpu-v3"}}
    assert uv["constraint-dependencies"] == ["llama-cpp-python==0.3.36+cpu.v3.lb00000001"]
    assert uv["no-build-package"] == ["llama-cpp-python"]


# --- what is inside a wheel ----------------------------------------------------------------------


def test_a_wheel_that_agrees_with_itself_is_taken(tmp_path: Path) -> None:
    assert inside.minimal(indexed.wheel(tmp_path)) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"said": indexed.statement(release="1.0")}, "it says release 1.0"),
        ({"extra": "Name: numpy\n"}, ""),  # a second name: the first one counts, as for pip
        ({"requires_python": "three"}, "asks for a Python that is none"),
        ({"requires_python": ">=3.8 <script>"}, "asks for a Python that is none"),
    ],
)
def test_a_wheel_that_does_not_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    made = indexed.wheel(tmp_path, **change)
    if "said" in change:
        made = made.rename(tmp_path / "llama_cpp_python-0.3.36+cpu.lb00000001-py3-none-any.whl")
    found = inside.minimal(made)
    assert found == () if not said else said in found[0]


@pytest.mark.parametrize("size", [0, 1, 100, 1000, -30])
def test_a_torn_wheel_is_refused(tmp_path: Path, size: int) -> None:
    made = indexed.wheel(tmp_path)
    made.write_bytes(made.read_bytes()[:size])
    assert inside.minimal(made)


def test_every_reason_is_told(tmp_path: Path) -> None:
    made = indexed.wheel(tmp_path, indexed.statement(release="1.0"))
    wrong = made.rename(tmp_path / "llama_cpp_python-2.0+cpu.lb7-py3-none-any.whl")
    with pytest.raises(Refused) as caught:
        inside.entry(wrong, inside.File(sha256="", size=0, modified=0), published="", turn=1)
    assert len(caught.value.reasons) == 3


# --- HTTP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("application/vnd.pypi.simple.v1+html, text/html;q=0.1", negotiation.HTML),
        ("application/vnd.pypi.simple.latest+json", negotiation.JSON),
        ("application/*", negotiation.HTML),
        ("application/json", negotiation.PLAIN),
        (f"{negotiation.JSON};q=0, text/html;q=0.5", negotiation.PLAIN),
        (f"{negotiation.JSON};q=NaN", negotiation.PLAIN),
        (",;,q=", negotiation.PLAIN),
        (f"{negotiation.JSON} ; q=1.0 , {negotiation.HTML}; q=0.2", negotiation.JSON),
    ],
)
def test_accept(accept: str, given: str) -> None:
    assert negotiation.preferred(accept) == given


@given(st.text(max_size=60))
def test_no_accept_header_breaks_it(header: str) -> None:
    assert negotiation.preferred(header) in (negotiation.PLAIN, negotiation.HTML, negotiation.JSON)


@given(st.text("bytes=-0123456789, ", max_size=30), st.integers(0, 1000))
def test_a_part_is_inside_the_file(header: str, size: int) -> None:
    found = negotiation.part(header, size)
    assert found is None or 0 <= found[0] <= found[1] <= size


@given(st.text(max_size=60))
def test_no_path_leads_out(target: str) -> None:
    found = opening.path_of("/" + target)
    for name in found[0] if found else ():
        assert name == Path(name).name
        assert not name.startswith(".")


def test_a_client_that_has_it_is_told() -> None:
    tag, when = '"a"', 1_000_000.7
    assert negotiation.known('W/"a", "b"', "", tag, when)
    assert not negotiation.known('"b"', negotiation.date(when + 9), tag, when)
    assert negotiation.known("", negotiation.date(when), tag, when)
    assert not negotiation.known("", negotiation.date(when - 2), tag, when)
    assert not negotiation.known("", "yesterday", tag, when)
    assert negotiation.continues('"a"', tag, when)
    assert not negotiation.continues('"b"', tag, when)
