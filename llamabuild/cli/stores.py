"""The shared stores that `setup`, `build` and `upgrade` look into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamabuild.cli.shared import Settings
from llamabuild.errors import FetchError
from llamabuild.events import Noticed, Warned

if TYPE_CHECKING:
    from llamabuild.remotes import Shared
    from llamabuild.reuse import Policy


def policy_of(
    use: Settings, word: str, stores: tuple[str, ...], *, unsigned: bool, offline: bool
) -> Policy:
    """What may be taken instead of building, by the policy's ``word``, from these stores, else from
    those that the environment names; without the network only from folders. Raises ConfigError."""
    from llamabuild import reuse

    reuse.check(word)
    if word == "never" or not (stores or use.host.environ.get("LLAMABUILD_STORE")):
        return reuse.Policy(reuse=word)

    return reuse.Policy(
        reuse=word, stores=lambda: opened(use, stores, unsigned=unsigned, offline=offline)
    )


def opened(
    use: Settings, stores: tuple[str, ...], *, unsigned: bool, offline: bool = False
) -> list[Shared]:
    """The shared stores that are named, by the command, else by the environment, and can be asked
    now. Raises ConfigError."""
    from llamabuild import remotes

    named = remotes.addresses(stores, use.host.environ)
    found = (_opened(use, one, unsigned=unsigned, offline=offline) for one in named)
    return [one for one in found if one]


def _opened(use: Settings, address: str, *, unsigned: bool, offline: bool) -> Shared | None:
    """A shared store; None for one that cannot be asked now, which is said."""
    from llamabuild import remotes
    from llamabuild.fetch.address import local_path, redact

    if offline and local_path(address) is None:
        use.reporter(Noticed(message=f"{redact(address)} is not asked: --offline"))
        return None
    try:
        return remotes.opened(address, use.cache, unsigned=unsigned)
    except FetchError as error:
        use.reporter(Warned(message=f"{error.message}. It goes on without it.", hint=error.hint))
        return None
