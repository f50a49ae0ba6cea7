"""Load ggml's back-ends from the folder of this package's libraries.

This build holds one library per CPU generation; ggml picks the best that this machine runs.
"""

import ctypes
import pathlib
import sys

_FOLDER = pathlib.Path(__file__).resolve().parent / "lib"
_NAME = {"win32": "ggml.dll", "darwin": "libggml.dylib"}.get(sys.platform, "libggml.so")
_load = ctypes.CDLL(str(_FOLDER / _NAME)).ggml_backend_load_all_from_path
_load.argtypes = [ctypes.c_char_p]
_load.restype = None
_load(str(_FOLDER).encode())
