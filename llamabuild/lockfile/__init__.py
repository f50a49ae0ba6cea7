"""A team's lock file: which llama.cpp, for which targets, made with what, and what came of it."""

from __future__ import annotations
