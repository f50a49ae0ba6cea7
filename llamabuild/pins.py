"""``vendor/pins.toml`` → :class:`Pin`: the sources that may be built, by size and SHA-256, and the
patches to them, which are files beside it: ``patches/PIN/PATCH.patch``.

Everything that can be wrong with the file is told by name, before anything is fetched.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn

from llamabuild import data, digest
from llamabuild.errors import ConfigError, IntegrityError
from llamabuild.model import Patch, Pin

_NOT_WRITTEN: Final = ("name", "replaced")  # the table's own name; what a command line asks for
_KEYS: Final = {
    field.name: field for field in dataclasses.fields(Pin) if field.name not in _NOT_WRITTEN
}
_REQUIRED: Final = {
    name for name, field in _KEYS.items() if field.default is dataclasses.MISSING
}  # an address without size and sha256 is never accepted: both are among them
_ADDRESS: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):(?P<rest>.*)", re.IGNORECASE)
_SCHEMES: Final = frozenset({"pypi", "http", "https", "file"})
_PATCH_KEYS: Final = ("name", "sha256", "why", "until")
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PYPI: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._+-]*")


def load_pins(path: Path | None = None) -> dict[str, Pin]:
    """All pins by name, from ``path`` or the file that comes with llamabuild.

    Raises ConfigError naming the pin and the key that is wrong, IntegrityError for a patch that is
    not the listed one.
    """
    return _read(path)[1]


def default_pin(path: Path | None = None) -> Pin:
    """The pin that is used when nobody asks for another one. Raises ConfigError."""
    name, pins = _read(path)
    if name not in pins:
        raise ConfigError(
            f"pins: the default pin {name!r} is not in the file",
            f"Set `default` to one of: {', '.join(sorted(pins)) or '(there is no pin)'}.",
        )
    return pins[name]


def pin(name: str, path: Path | None = None) -> Pin:
    """The pin of this name, or of this version. Raises ConfigError with the nearest names."""
    known = load_pins(path)
    versions = {one.version: one for one in known.values()}
    found = known.get(name) or versions.get(name)
    if found:
        return found
    near = difflib.get_close_matches(name, [*known, *versions], n=1)
    said = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no pin {name!r}{said}", f"Pins: {', '.join(sorted(known))}.")


def identity(pin: Pin) -> str:
    """The hash of the source tree that a pin gives: the archive's own, or one of the archive's, its
    patches' and that of the llama.cpp tree which was put into it."""
    patches = [patch.sha256 for patch in pin.patches]
    if pin.replaced:
        return digest.of_value([pin.sha256, *patches, {"tree": pin.replaced}])
    return digest.of_value([pin.sha256, *patches]) if patches else pin.sha256


def parse_pin(name: str, table: dict[str, Any], folder: Path) -> Pin:
    """One table of the file as a Pin; relative paths among its urls start at ``folder``, and its
    patches lie there.

    Raises ConfigError for unknown, missing or malformed keys, IntegrityError for a patch that is
    not the listed one.
    """
    import msgspec

    _known(table, _KEYS, f"pin {name!r}")
    missing = sorted(_REQUIRED - table.keys())
    if missing:
        _refuse(name, f"missing {', '.join(missing)}", "A pin has no default for these keys.")
    try:
        pin = msgspec.convert({**table, "name": name, "patches": ()}, Pin)
    except msgspec.ValidationError as error:
        _refuse(name, str(error), "Correct the value; vendor/README.md describes each key.")
    _check_values(pin)
    urls = tuple(_address(name, url, folder) for url in pin.urls)
    return dataclasses.replace(
        pin, urls=urls, patches=_patches(name, table.get("patches", []), folder)
    )


def _patches(name: str, tables: Any, folder: Path) -> tuple[Patch, ...]:  # noqa: ANN401 - a TOML value
    """The patches of a pin with their texts, in order. Raises ConfigError, IntegrityError."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        _refuse(name, "patches must be tables [[pins.NAME.patches]]", "vendor/README.md shows one.")
    found = tuple(_patch(name, table, folder) for table in tables)
    if len({patch.name for patch in found}) < len(found):
        _refuse(name, "two patches have one name", "Give each its own.")
    return found


def _patch(pin: str, table: dict[str, Any], folder: Path) -> Patch:
    """One patch: every key is a text and required."""
    _known(table, _PATCH_KEYS, f"pin {pin!r}: patch")
    if wrong := [
        key for key in _PATCH_KEYS if not (isinstance(table.get(key), str) and table[key])
    ]:
        _refuse(pin, f"a patch has no text as {', '.join(wrong)}", "It has no default for any key.")
    if not _FILE.fullmatch(pin) or not _FILE.fullmatch(table["name"]):
        _refuse(
            pin,
            f"pin and patch {table['name']!r} name a file",
            "Use lower-case letters, digits, '.', '_' and '-'.",
        )
    file = folder / "patches" / pin / f"{table['name']}.patch"
    try:
        content = file.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        _refuse(pin, f"the patch {file} cannot be read: {error}", "Put it there, as UTF-8.")
    found = hashlib.sha256(content).hexdigest()
    if found != table["sha256"]:
        raise IntegrityError(
            f"pin {pin!r}: {file} has sha256 {found}, wanted {table['sha256']}",
            "Restore the file (with its line ends), or correct sha256 if you changed it.",
        )
    return Patch(**table, text=text)


def _read(path: Path | None) -> tuple[str, dict[str, Pin]]:
    """The name of the default pin and all pins."""
    path = path or data.folder("vendor") / "pins.toml"
    document = data.load(path)
    _known(document, ("default", "pins"), str(path))
    tables, default = document.get("pins", {}), document.get("default", "")
    tables_ok = isinstance(tables, dict) and all(isinstance(t, dict) for t in tables.values())
    if not tables_ok or not isinstance(default, str):
        raise ConfigError(
            f"{path}: `default` must be a string and every pin a table [pins.NAME]",
            "vendor/README.md shows the form.",
        )
    return default, {name: parse_pin(name, table, path.parent) for name, table in tables.items()}


def _known(table: Iterable[str], keys: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key that is not one of ``keys``, with close matches."""
    keys = sorted(keys)
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=2)
            raise ConfigError(
                f"{where}: unknown key {key!r}",
                f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(keys)}.",
            )


def _check_values(pin: Pin) -> None:
    """What types cannot say. Raises ConfigError."""
    if not re.fullmatch(r"[0-9a-f]{64}", pin.sha256):
        _refuse(pin.name, "sha256 must be 64 lower-case hex digits", "Take it from `sha256sum`.")
    if not re.fullmatch(r"[0-9a-f]{7,40}", pin.commit):
        _refuse(pin.name, "commit must be 7 to 40 hex digits", "Take it from the archive's HEAD.")
    if pin.size <= 0 or pin.build_number < 0:
        _refuse(pin.name, "size must be positive, build_number not negative", "Use real values.")
    if not pin.urls or not pin.version or not pin.licence:
        _refuse(pin.name, "urls, version and licence must not be empty", "Give at least one each.")
    tree = PurePosixPath(pin.tree)
    if tree.is_absolute() or ".." in tree.parts or "\\" in pin.tree:
        _refuse(pin.name, "tree must stay inside the archive", "Use a path like vendor/llama.cpp.")


def _address(name: str, url: str, folder: Path) -> str:
    """``url`` if its form is known, made absolute if it is a path. Raises ConfigError."""
    match = _ADDRESS.fullmatch(url)
    if not match:
        return str(folder / url)
    scheme = match["scheme"].lower()
    if scheme not in _SCHEMES:
        _refuse(
            name, f"addresses of the kind {scheme}: are not known", "Use pypi:, https: or a path."
        )
    if scheme == "pypi" and not _PYPI.fullmatch(match["rest"]):
        _refuse(name, f"{url!r} is not pypi:PROJECT/FILE", "Write pypi:project/project-1.0.tar.gz.")
    return url


def _refuse(name: str, what: str, hint: str) -> NoReturn:
    raise ConfigError(f"pin {name!r}: {what}", hint)
