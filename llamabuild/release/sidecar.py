"""``<wheel>.dsse.json``: what a released wheel was made of, signed by who made it.

It is the statement about the artifact (:mod:`llamabuild.trust.statements`) with the wheel as one
more subject, so that one signature says where the wheel's bytes come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from llamabuild import digest
from llamabuild.errors import IntegrityError
from llamabuild.model import Artifact
from llamabuild.trust import statements
from llamabuild.trust.envelope import LIMIT
from llamabuild.trust.keys import Signer
from llamabuild.trust.roster import Roster, Trusted
from llamabuild.wheels import about as abouts

ENDING: Final = ".dsse.json"


def path(wheel: Path) -> Path:
    """Where the statement about a wheel stands."""
    return wheel.with_name(f"{wheel.name}{ENDING}")


def statement(artifact: Artifact, wheel: Path) -> dict[str, Any]:
    """What is said of a wheel, unsigned."""
    said = statements.provenance(artifact.manifest, artifact.id)
    own = {"name": wheel.name, "digest": {"sha256": digest.of_file(wheel)}}
    return {**said, "subject": [*said["subject"], own]}


def sign(artifact: Artifact, wheel: Path, signer: Signer) -> bytes:
    """The contents of the file. Raises ToolMissing."""
    return statements.sign(statement(artifact, wheel), signer)


def verify(wheel: Path, roster: Roster) -> tuple[Trusted, ...]:
    """The trusted builders who signed that a wheel is what it says it is.

    Raises IntegrityError with the reason: no statement beside it, not signed by anybody trusted, or
    about other bytes; ToolMissing.
    """
    about = abouts.read(wheel)
    beside = path(wheel)
    if about is None or not beside.is_file():
        raise IntegrityError(f"{wheel.name} has no signed statement beside it", _HINT)
    with beside.open("rb") as stream:
        sealed = stream.read(LIMIT + 1)
    signed = statements.verify(sealed, roster, about.artifact)
    own = {"name": wheel.name, "digest": {"sha256": digest.of_file(wheel)}}
    if own not in signed.statement["subject"]:
        raise IntegrityError(f"{beside.name} is about another wheel than {wheel.name}", _HINT)
    return signed.signers


_HINT: Final = "Make it again where the key is: llamabuild wheel make."
