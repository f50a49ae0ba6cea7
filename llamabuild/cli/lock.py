"""The command `lock`: a team's file of targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llamabuild.cli.shared import Settings, command, settings, with_toolchain
from llamabuild.cli.stores import opened
from llamabuild.errors import ConfigError, UnsupportedHardware
from llamabuild.events import Noticed, Warned

if TYPE_CHECKING:
    from llamabuild.lockfile.entries import Lock
    from llamabuild.lockfile.locking import Outcome
    from llamabuild.model import Plan
    from llamabuild.provide import Means
    from llamabuild.remotes import Shared

_Command = TypeVar("_Command", bound=Callable[..., Any])


def with_lock(command: _Command) -> _Command:
    """``--lock`` for a command."""
    return click.option(
        "--lock",
        "lock",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("llamabuild.lock"),
        show_default=True,
        help="The lock file.",
    )(command)


def with_stores(command: _Command) -> _Command:
    """``--store`` and ``--unsigned`` for a command about a lock file."""
    command = click.option(
        "--store",
        "stores",
        multiple=True,
        metavar="ADDRESS",
        help="Artifacts there count too (else $LLAMABUILD_STORE). May be given several times.",
    )(command)
    return click.option(
        "--unsigned", is_flag=True, help="Believe whoever can write to these stores."
    )(command)


@command("lock", "llamabuild lock cpu-fat cpu-v3 'cuda sm_86+sm_89' laptop.json")
@click.argument("wants", nargs=-1, metavar="[TARGET]...")
@with_lock
@click.option(
    "--needs",
    multiple=True,
    metavar="WORD",
    help="What a worker has to offer for these targets: cuda, x86_64_v4 (`worker offer`).",
)
@click.option("--remove", "removed", multiple=True, metavar="NAME", help="Take a target out.")
@click.option("--upgrade", is_flag=True, help="The newest source, and the tools of this machine.")
@click.option("--check", is_flag=True, help="Change nothing; exit code 12 when it does not fit.")
@click.option("--tools", "only_tools", is_flag=True, help="Print cmake and ninja for pip.")
@with_toolchain
@with_stores
@click.option("--offline", is_flag=True, help="Never open the network.")
def lock_command(
    wants: tuple[str, ...],
    lock: Path,
    needs: tuple[str, ...],
    removed: tuple[str, ...],
    upgrade: bool,
    check: bool,
    only_tools: bool,
    toolchain: str,
    stores: tuple[str, ...],
    unsigned: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Write down what is built for a team: source, targets, tools, and what came of it.

    A target is a class (cpu-fat, cpu-v3, 'cuda sm_86+sm_89', 'rocm gfx1100', vulkan, metal; with
    linux-aarch64 behind it for another machine's processor) or a recorded machine
    (laptop.json, 'laptop.json cuda-native'). What is locked stays until --upgrade.
    """
    from llamabuild import provide
    from llamabuild.lockfile import files, locking, present

    with settings(as_json, cache, progress) as use:
        provide.check(toolchain)
        known = files.read(lock) if lock.is_file() or not wants else locking.begun()
        if only_tools:
            click.echo("\n".join(locking.requirements(known)))
            return
        means = _means(use, offline)
        if check:
            if wants or removed or upgrade:
                raise ConfigError("--check changes nothing", "Leave out what would change it.")
            _check(use, known, lock, means, opened(use, stores, unsigned=unsigned, offline=offline))
            click.echo(_answer(known, as_json))
            return
        fewer = locking.without_targets(known, removed)
        changed = locking.with_targets(fewer, wants, toolchain, needs)
        changed = locking.renewed(changed) if upgrade else changed
        outcome = locking.locked(changed, lock, means=means, variant=_variant(), anew=upgrade)
        shared = opened(use, stores, unsigned=unsigned, offline=offline)
        made = locking.noted(outcome.lock, present.there(shared, use.reporter))
        files.write(lock, made)
        click.echo(_answer(made, as_json))
        _tell(use, outcome)


def _means(use: Settings, offline: bool) -> Callable[[str], Means]:
    from llamabuild.provide import Means

    return lambda asked: Means(
        asked=asked, host=use.host, cache=use.cache, emit=use.reporter, offline=offline
    )


def _check(
    use: Settings,
    known: Lock,
    path: Path,
    means: Callable[[str], Means],
    shared: Sequence[Shared],
) -> None:
    """Raises LockMismatch with everything that differs."""
    from llamabuild.lockfile import locking, resolve

    outcome = locking.locked(known, path, means=means, variant=_variant(), anew=True)
    for name, error in outcome.unplanned.items():
        use.reporter(Noticed(message=f"{name} is not checked: {error.message}"))
    wrong = (
        *locking.differences(known, outcome.lock),
        *_missing(use, known, shared),
    )
    if wrong:
        raise resolve.mismatch(wrong)


def _tell(use: Settings, outcome: Outcome) -> None:
    """Raises UnsupportedHardware naming the targets that could not be planned and never were."""
    locked = {one.name for one in outcome.lock.targets if one.key}
    for name, error in outcome.unplanned.items():
        use.reporter(Warned(message=f"{name}: {error.message}", hint=error.hint))
    never = [name for name in outcome.unplanned if name not in locked]
    if never:
        raise UnsupportedHardware(
            f"{', '.join(never)} cannot be planned here; the rest is locked",
            "Run `llamabuild lock` on a machine that can, with the same file, or take it out: "
            f"llamabuild lock --remove {never[0]}",
        )


def _missing(use: Settings, known: Lock, shared: Sequence[Shared]) -> tuple[str, ...]:
    """The locked artifacts that no store has: what only this machine has is nobody else's."""
    from llamabuild.lockfile import locking, present

    if shared:
        return locking.missing(known, present.there(shared, use.reporter))
    if any(one.artifact for one in known.targets):
        use.reporter(Noticed(message="artifacts are not looked for: no --store is named"))
    return ()


def _variant() -> Callable[[Plan], str]:
    from llamabuild.release import labels

    return labels.variant


def _answer(lock: Lock, as_json: bool) -> str:
    from llamabuild import report
    from llamabuild.report import locks

    return report.to_json(lock, "lock") if as_json else locks.lock_page(lock)
