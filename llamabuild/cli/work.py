"""Commands that run what is there: prove, run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.keep import sound
from llamabuild.cli.shared import Settings, command, main_group, settings
from llamabuild.errors import INTERRUPTED, ConfigError
from llamabuild.events import Warned

if TYPE_CHECKING:
    from llamabuild.model import Artifact


_SOUND = "Prove it again: `llamabuild prove`."


@command("prove", "llamabuild prove 3f9a1c2d; llamabuild prove /opt/llama.cpp/build")
@click.argument("artifact", metavar="[ARTIFACT|PATH]", required=False)
def prove(artifact: str | None, as_json: bool, cache: Path | None, progress: str) -> None:
    """Prove a kept artifact again (ARTIFACT: recipe, path or the beginning of a key), or prove a
    llama.cpp that was made elsewhere.

    PATH is a folder with libllama or llama-server (a CMake build's, or one with bin/ and lib/), one
    of these files, a wheel, or a Python environment with llama_cpp. Its code is run, in processes
    with limits of time and memory; nothing is written there. Exit code 8: something is wrong.
    """
    from llamabuild import report, reproving
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        if artifact and _made_elsewhere(artifact, use):
            _prove_elsewhere(Path(artifact), use)
            return
        kept = _kept(use, artifact)
        proof = reproving.reprove(kept, host=use.host, cache=use.cache, emit=use.reporter)
        click.echo(report.to_json(proof) if as_json else pages.proof_page(proof))


def _kept(use: Settings, name: str | None) -> Artifact:
    """A kept artifact by its name, or the current generation's, with every file as it was proved.

    Raises ConfigError.
    """
    from llamabuild import generations

    if name:
        return sound(use, name)
    now = generations.current(use.cache, use.host)
    return generations.artifact(use.cache, now, use.reporter)


def _made_elsewhere(name: str, use: Settings) -> bool:
    """True for what is on disk and not in the store; of two meanings the store's counts."""
    from llamabuild import store

    try:
        store.find(use.cache, name, use.reporter)
    except ConfigError:
        return Path(name).exists() or os.sep in name
    return False


def _prove_elsewhere(path: Path, use: Settings) -> None:
    """The page is printed whatever comes out; what fails is the exit code's."""
    from llamabuild import examination
    from llamabuild.report import foreign

    found = examination.examine(path, host=use.host, cache=use.cache, emit=use.reporter)
    click.echo(foreign.as_json(found) if use.as_json else foreign.page(found))
    if failure := found.failure:
        use.reporter.failed(failure)
        raise click.exceptions.Exit(failure.exit_code)


@main_group.command(
    "run",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: llamabuild run llama-server -- -m model.gguf --port 8080",
)
@click.argument("tool")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--artifact", help="Recipe, path or beginning of a key; else what was set up last.")
@click.option("--cache", type=click.Path(path_type=Path, readable=False), help="See `setup`.")
def run(tool: str, arguments: tuple[str, ...], artifact: str | None, cache: Path | None) -> None:
    """Run a tool of the current artifact (what `setup` gave last), with its exit code. Where it
    fails for a reason that is known, what to do is said after its own words."""
    with settings(False, cache, "plain") as use:
        kept = _kept(use, artifact)
        _prove_first(kept, use)
        made = kept.manifest.plan.targets
        tools = sorted(path.stem for path in (kept.path / "bin").iterdir() if path.stem in made)
        if tool not in tools:
            raise ConfigError(f"there is no tool {tool!r}", f"Tools: {', '.join(tools)}")
        program = kept.path / "bin" / kept.manifest.plan.program(tool)
        sys.exit(_attended(use, [str(program), *arguments]))


def _attended(use: Settings, argv: list[str]) -> int:
    """The exit code of a program that has the terminal. What it said before it failed is explained,
    where the catalogue knows it."""
    try:
        code, said = use.host.attend(argv)
    except OSError as error:
        raise ConfigError(f"{argv[0]} cannot be started: {error.strerror}", _SOUND) from error
    if code not in (0, INTERRUPTED):
        from llamabuild import diagnose

        found = diagnose.diagnose_text(said, system=use.host.system()[0])
        for one in found.causes[:1]:
            name = Path(argv[0]).name
            what = f"{one.entry.title}: {one.evidence}"
            hint = " ".join((one.why, *one.fix))
            use.reporter(Warned(message=f"{name} ended with exit code {code}: {what}", hint=hint))
    return code


def _prove_first(kept: Artifact, use: Settings) -> None:
    """What was not proved on this machine is not run on it. Most of the time the verdict is kept,
    and nothing else has to be imported."""
    from llamabuild import adoption

    known = adoption.verdict(use.cache, kept.id, use.host)
    if known is None or known.kind or known.unrun:
        from llamabuild import reproving

        reproving.adopt(kept, host=use.host, cache=use.cache, emit=use.reporter)
