"""Mutants: the real llama.cpp, broken on purpose in one place, and the proof that must notice.

``python -m tests.mutants`` builds the pinned source once, then for every entry of
``mutants.toml`` changes the source, the finished files or the surroundings, proves the result and
compares the class of the failure with the one that is expected. A good build must pass.
"""
