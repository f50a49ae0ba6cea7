"""Run scikit-build-core's wheel hook in the current folder: ``child.py SETTINGS-JSON OUT``."""

from __future__ import annotations

import json
import sys

from scikit_build_core.build import build_wheel

if __name__ == "__main__":
    build_wheel(sys.argv[2], json.loads(sys.argv[1]))
