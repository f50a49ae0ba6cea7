"""Compilers and build tools of this machine: what they are made of and what they get right."""
