"""The command `index use`: which wheel of an index is for a machine, why, and how to install it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from llamabuild.cli.index import index_command
from llamabuild.cli.shared import Settings, settings
from llamabuild.events import Noticed

if TYPE_CHECKING:
    from llamabuild.index.using import Chosen, Machine

_PATH: Final = click.Path(path_type=Path)
_FORMATS: Final = ("pip", "uv", "requirements", "json")


@index_command("use", "llamabuild index use https://wheels.team.example --format uv")
@click.argument("address", metavar="ADDRESS|FOLDER")
@click.option("--machine", type=_PATH, help="A recorded machine, not this.")
@click.option("--variant", default="", help="This variant, if it runs there.")
@click.option("--format", "style", type=click.Choice(_FORMATS), default="pip", show_default=True)
def index_use(
    address: str,
    machine: Path | None,
    variant: str,
    style: str,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Say which wheel of an index is for this machine, why, and how to install it.

    The wheel is named by address and hash (pip), or by an index that gives nothing else (uv): no
    other index can offer another one, and nothing is compiled.
    """
    from llamabuild.index import lines, using

    with settings(as_json, cache, progress) as use:
        base = using.base(address)
        chosen = using.choose(using.read(address, use.reporter), _machine(use, machine), variant)
        for one in _story(chosen):
            use.reporter(Noticed(message=one))
        if as_json or style == "json":
            click.echo(_json(base, chosen))
        else:
            judged = chosen.judged
            click.echo(lines.written(style, base, judged.variant, judged.offer))


def _machine(use: Settings, machine: Path | None) -> Machine:
    from llamabuild import matching, probe, recordings
    from llamabuild.host import Host, RecordedHost
    from llamabuild.index.using import Machine

    host: Host = use.host
    if machine:
        recording = recordings.read(machine)
        host = RecordedHost(recording.machine)
        hardware = recordings.replay(recording)[0]
    else:
        hardware = probe.probe(use.host, cache=use.cache)[0]
    return Machine(hardware=hardware, provides=matching.probe(host, hardware), exists=host.exists)


def _story(chosen: Chosen) -> list[str]:
    best = chosen.judged
    head = f"{best.variant} {best.offer.release}: {best.why}"
    others = (f"not {one.variant}: {one.why}" for one in chosen.others)
    return [head, *others, *(f"(not known: {one})" for one in chosen.notes)]


def _json(base: str, chosen: Chosen) -> str:
    from llamabuild import report
    from llamabuild.index import lines

    best = chosen.judged
    said = {
        "variant": best.variant,
        "why": best.why,
        "wheel": best.offer,
        "url": lines.url(base, best.variant, best.offer),
        "install": {
            style: lines.written(style, base, best.variant, best.offer) for style in lines.FORMATS
        },
        "others": [
            {"variant": one.variant, "missing": one.missing, "why": one.why}
            for one in chosen.others
        ],
        "unknown": chosen.notes,
    }
    return report.to_json(said, "use")
