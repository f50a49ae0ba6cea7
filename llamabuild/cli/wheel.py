"""Commands about released wheels: make, check, show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llamabuild.cli.keep import sound
from llamabuild.cli.shared import Settings, main_group, settings, shared
from llamabuild.errors import ConfigError, Refused

if TYPE_CHECKING:
    from llamabuild.model import Artifact
    from llamabuild.release.gates import Verdict
    from llamabuild.trust.keys import Signer
    from llamabuild.wheels.about import About


@main_group.group("wheel")
def wheel_group() -> None:
    """Make wheels that others can install, and check them."""


def _command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command of ``wheel``, whose help ends with an example."""

    def wrap(function: Callable[..., None]) -> click.Command:
        return wheel_group.command(name, epilog=f"Example: {example}")(shared(function))

    return wrap


def _local(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--local``."""
    return click.option(
        "--local",
        is_flag=True,
        help="Also wheels that are for this machine only (platform tag linux_…).",
    )(command)


@_command("make", "llamabuild wheel make cpu-portable --out wheels")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("wheels"),
    show_default=True,
    help="The folder to put them in.",
)
@click.option(
    "--bundle-runtime",
    is_flag=True,
    help="Put inside what it needs, also what it could require (CUDA's runtime; never a driver's).",
)
@_local
def wheel_make(
    names: tuple[str, ...],
    out: Path,
    bundle_runtime: bool,
    local: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make released wheels of artifacts (by recipe, key or id; else of all that are kept).

    Nothing is compiled. A wheel appears only when it passes every gate; the others are made all the
    same, and the exit code is 13. They are signed when there is a key (`llamabuild trust new`).
    """
    from llamabuild import report

    with settings(as_json, cache, progress) as use:
        made, reasons = _made(
            use, names, out.absolute(), bundle=bundle_runtime or None, local=local
        )
        if made and not (as_json and reasons):
            said = {"wheels": [str(path) for path in made]}
            page = "\n".join(map(str, made))
            click.echo(report.to_json(said, "wheel") if as_json else page)
        _end(reasons, len(made))


def _made(
    use: Settings, names: tuple[str, ...], out: Path, *, bundle: bool | None, local: bool
) -> tuple[list[Path], list[str]]:
    """The wheels that passed, and why the others were refused."""
    from llamabuild import release

    signer, made, reasons = signer_of(use), list[Path](), list[str]()
    for one in _chosen(use, names):
        try:
            wheel = release.make(
                one,
                out=out,
                cache=use.cache,
                host=use.host,
                emit=use.reporter,
                bundle=bundle,
                local=local,
                signer=signer,
            )
            made.append(wheel)
        except Refused as error:
            use.reporter.failed(error)
            reasons += error.reasons
    return made, reasons


def _end(reasons: Sequence[str], made: int) -> None:
    if reasons:
        said = f"{made} made, the others refused" if made else "no wheel was made"
        raise Refused(said, "Every reason stands above.", reasons=tuple(reasons))


def _chosen(use: Settings, names: tuple[str, ...]) -> list[Artifact]:
    """The artifacts of these names, each once, or all; with their folders ready."""
    from llamabuild import store

    if names:
        return list({(one := sound(use, name)).id: one for name in names}.values())
    kept = store.artifacts(use.cache, use.reporter)
    found = [one for one in kept if store.ready(use.cache, one, use.reporter)]
    if not found:
        raise ConfigError("nothing is kept here to make wheels of", "Run `llamabuild setup` first.")
    return found


def signer_of(use: Settings) -> Signer | None:
    """The key of this machine, where there is one. Raises ConfigError when it cannot be used."""
    from llamabuild.trust import keys

    place = keys.where(use.host.environ)
    if keys.VARIABLE not in use.host.environ and not Path(place).exists():
        return None
    return keys.load_signer(place)


@_command("check", "llamabuild wheel check wheels/*.whl")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
@_local
def wheel_check(
    files: tuple[Path, ...],
    local: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Hold wheels to every gate; exit code 13 when one does not pass.

    Nothing about them is believed that can be measured in their bytes.
    """
    from llamabuild import release, report

    with settings(as_json, cache, progress) as use:
        found = {file.name: release.verdicts(file, use.host, local=local) for file in files}
        reasons = [
            f"{name}: {one.gate}: {reason}"
            for name, verdicts in found.items()
            for one in verdicts
            for reason in one.reasons
        ]
        if not (as_json and reasons):
            page = "\n\n".join(_page(name, verdicts) for name, verdicts in found.items())
            click.echo(report.to_json({"wheels": found}, "check") if as_json else page)
        if reasons:
            said = f"{len(reasons)} reasons" if len(reasons) > 1 else "one reason"
            raise Refused(
                f"refused for {said}: {reasons[0]}",
                "Make it again from its artifact: llamabuild wheel make",
                reasons=tuple(reasons),
            )


def _page(name: str, verdicts: Sequence[Verdict]) -> str:
    lines = [name]
    for one in verdicts:
        lines.append(f"  {'refused' if one.reasons else 'ok':8} {one.gate:10} {one.holds}")
        lines += [f"{'':20}  {reason}" for reason in one.reasons]
    return "\n".join(lines)


@_command("show", "llamabuild wheel show wheels/llama_cpp_python-….whl")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def wheel_show(file: Path, as_json: bool, cache: Path | None, progress: str) -> None:
    """Show what a wheel says of itself; `check` says whether it is true."""
    from llamabuild import report
    from llamabuild.wheels import about

    with settings(as_json, cache, progress):
        found = about.read(file)
        if found is None:
            raise ConfigError(
                f"{file.name} says nothing of itself", "llamabuild wheel make makes such wheels."
            )
        click.echo(report.to_json(found, "wheel") if as_json else _said(found))


def _said(one: About) -> str:
    asked = one.requires
    rows = {
        "what": f"{one.name} {one.release}+{one.label}",
        "inside": f"llama.cpp {one.commit}, for {', '.join(one.backends)}; {one.cpu}",
        "features": ", ".join(one.features),
        "requires": ", ".join(" ".join(pair) for pair in (*asked.versions, *asked.drivers)),
        "libraries": ", ".join(asked.libraries),
        "devices": ", ".join(" ".join(pair) for pair in asked.device_code),
        "made with": f"{one.compiler}, llamabuild {one.llamabuild}, {one.created}",
        "proved": f"{one.checks} checks on {one.proved_on}",
        "not proved": ", ".join(one.unproved),
        "artifact": f"{one.artifact} (key {one.key})",
    }
    return "\n".join(f"{name:11} {value}" for name, value in rows.items() if value)
