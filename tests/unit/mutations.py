"""Texts that something went wrong with."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with a piece cut out, doubled or replaced by anything, up to four times."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        middle = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), st.text(max_size=12)))
        text = text[:start] + middle + text[end:]
    return text
