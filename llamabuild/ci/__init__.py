"""Builds on many machines: cells, matrices for CI systems, and the worker that makes one cell."""

from __future__ import annotations
