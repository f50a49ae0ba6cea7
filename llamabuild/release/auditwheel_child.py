"""Asks auditwheel for the platform tag of a wheel: ``auditwheel_child.py WHEEL [PATTERN]…``.

Libraries that fit a pattern may be missing. ISA levels are allowed: the label says them and the
loader checks them. Libraries are looked for nowhere, so that what is installed does not count.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from auditwheel.wheel_abi import analyze_wheel_abi


def told(wheel: str, patterns: list[str]) -> dict[str, object]:
    """Names of policies, and the libraries that even the newest of them does not allow."""
    found = analyze_wheel_abi(
        None,
        None,
        Path(wheel),
        frozenset(patterns),
        disable_isa_ext_check=True,
        allow_graft=False,
        args_ldpaths="",
    )
    policies = found.policies
    return {
        "policy": found.overall_policy.name,
        "symbols": found.sym_policy.name,
        "linux": policies.linux.name,
        "beyond": sorted(found.external_refs[policies.lowest.name].libs),
    }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # what it means is said by who asks
    print(json.dumps(told(sys.argv[1], sys.argv[2:])))
