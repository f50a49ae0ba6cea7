"""From this repository's lock file to wheels that pip and uv install: built, released, served on
loopback, installed for several Pythons against a hostile second index, proved in each, and run on
emulated processors. It compiles for the better part of an hour: ``make e2e-wheels``.

``LLAMABUILD_CELLS`` names some of the targets when not all are meant.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from llamabuild import proving, store
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Artifact, Build
from tests.e2e.conftest import Run

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "wheels",
        reason="compiles several builds; LLAMABUILD_E2E=wheels (make e2e-wheels) asks for it",
    ),
]
HOST = LocalHost()
LOCK = Path(__file__).resolve().parents[2] / "llamabuild.lock"
VERSIONS = ("3.9", "3.11", "3.13")
CPUS = {"Nehalem": ("x64", "sse42"), "Haswell": ("haswell",), "Skylake-Client": ("haswell",)}
