"""Commands about the work of a lock file on many machines."""

from __future__ import annotations

from llamabuild.cli.shared import main_group


@main_group.group("matrix")
def matrix_group() -> None:
    """Build what a lock file names: here, in CI, on a cluster."""
