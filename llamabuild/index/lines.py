"""How a chosen wheel is installed: for pip, for uv, as requirements. Pure.

pip gets the address of the one file with its hash: no index is asked for the project, so none that
stands in the environment or in a configuration file can offer a higher version or an sdist, while
dependencies come from where the user always has them. uv reads its configuration with the project:
an index that is ``explicit`` gives only what is named for it, and nothing is built.
"""

from __future__ import annotations

import json
import shlex
from typing import Final

from llamabuild.index import offers
from llamabuild.index.names import PROJECT
from llamabuild.index.offers import Offer

FORMATS: Final = ("pip", "uv", "requirements")


def url(base: str, variant: str, offer: Offer) -> str:
    """The address of a wheel, with its hash, which pip and uv check."""
    return f"{offers.address(base, variant, offer.file)}#sha256={offer.sha256}"


def requirement(base: str, variant: str, offer: Offer) -> str:
    """One line of a requirements file (PEP 508, a direct reference)."""
    return f"{PROJECT} @ {url(base, variant, offer)}"


def pip(base: str, variant: str, offer: Offer) -> str:
    """A command line."""
    return f"pip install {shlex.quote(requirement(base, variant, offer))}"


def uv(base: str, variant: str, offer: Offer) -> str:
    """What to put into pyproject.toml; ``uv lock`` writes the hash down."""
    name = f"llamabuild-{variant.replace('.', '-')}"
    return "\n".join(
        (
            "# dependencies of [project] need:",
            f'#   "{PROJECT}=={offer.release}+{offer.label}"',
            "[tool.uv]",
            f'constraint-dependencies = ["{PROJECT}=={offer.release}+{offer.label}"]',
            f'no-build-package = ["{PROJECT}"]',
            "",
            "[[tool.uv.index]]",
            f'name = "{name}"',
            f"url = {json.dumps(offers.address(base, variant))}",
            "explicit = true",
            "",
            "[tool.uv.sources]",
            f'{PROJECT} = {{ index = "{name}" }}',
        )
    )


def written(style: str, base: str, variant: str, offer: Offer) -> str:
    """The lines of a format, one of :data:`FORMATS`."""
    return {"pip": pip, "uv": uv, "requirements": requirement}[style](base, variant, offer)
