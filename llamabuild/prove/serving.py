"""The numbers of any ``llama-server``, over HTTP on the loopback interface.

Tokens are given, never chosen (teacher forcing): each request has one token more than the one
before, generates one and asks for the probability of every token. With the prompt cache of the
server only the new token is evaluated, so that the first request goes through the kernels for
batches and the others through those for single tokens. Several sequences travel in one request and
are evaluated together.

Servers before December 2024 state what is left after sampling, and mix up the answers to several
prompts: they are asked with sampling that changes nothing, for one sequence after the other.
Rerankers take no tokens, only text, and are not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llamabuild.backends import Evidence
from llamabuild.prove import dialogue, stated
from llamabuild.prove.dialogue import Line, Server
from llamabuild.prove.reference import Distance
from llamabuild.prove.stated import OlderError, Stated, Vocabulary
from llamabuild.prove.weights import Doubles, Floats

_SLOT = 256
"""Contexts come in multiples of it."""
_EVERY = {"n_predict": 1, "cache_prompt": True, "return_tokens": True, "stream": False}
_NEUTRAL = {
    "temperature": 1.0,
    "samplers": [],
    "repeat_penalty": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "tfs_z": 1.0,
    "typical_p": 1.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server stated: ``logprobs`` are natural logarithms, [positions, vocabulary], of the
    last positions of each sequence in turn, NaN for ``unstated`` tokens; ``tokens`` are the most
    probable ones that are text, and ``evaluated`` is how many tokens it said to have evaluated
    for each (0: not said)."""

    logprobs: Floats
    tokens: tuple[int, ...]
    evaluated: tuple[int, ...]
    unstated: tuple[int, ...]
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """States, [rows, numbers]: a row for each sequence, of length one; without pooling a row for
    each token, as the network gives it."""

    states: Floats
    evidence: Evidence


def answers(server: Server, sequences: Sequence[Sequence[int]], forced: int) -> Served:
    """Log-probabilities of the last ``forced`` + 1 positions of each sequence.

    Raises ProofFailed: whatever a process can end with, or "load", "timeout", "wrong-numbers".
    """
    words = stated.vocabulary(server.model)
    steps = [[list(one[: len(one) - k]) for one in sequences] for k in range(forced, -1, -1)]
    slots = -(-(max(map(len, sequences)) + 1) // _SLOT) * _SLOT * len(sequences)
    room = ("--ctx-size", str(slots), "--parallel", str(len(sequences)))
    asked = replace(server, extra=(*room, *server.extra))
    told, evidence = dialogue.hold(asked, lambda line: _talk(line, words, steps))
    found = [step[n] for n in range(len(sequences)) for step in told]
    return Served(
        logprobs=np.stack([one.row for one in found]),
        tokens=tuple(one.token for one in found),
        evaluated=tuple(one.evaluated for one in found),
        unstated=found[0].unstated,
        evidence=evidence,
    )


def embeddings(
    server: Server, sequences: Sequence[Sequence[int]], pooling: str = "mean"
) -> Embedded:
    """The state of each sequence, a request each; ``pooling`` is "mean", "cls", "last", or "none"
    for the states of all tokens. Raises ProofFailed as :func:`answers`."""

    def talk(line: Line) -> list[Floats]:
        return [stated.states(line.ask("/embedding", {"input": list(one)})) for one in sequences]

    asked = replace(server, extra=("--embedding", "--pooling", pooling, *server.extra))
    found, evidence = dialogue.hold(asked, talk)
    return Embedded(states=np.concatenate(found), evidence=evidence)


def _talk(line: Line, words: Vocabulary, steps: list[list[list[int]]]) -> list[list[Stated]]:
    """What is stated after each prompt of each request."""
    try:
        return [_together(line, words, prompts) for prompts in steps]
    except OlderError:
        return [_one_by_one(line, words, prompts) for prompts in steps]


def _together(line: Line, words: Vocabulary, prompts: list[list[int]]) -> list[Stated]:
    asked = {"temperature": 0, "n_probs": words.size, "logit_bias": words.bias}
    body = {**_EVERY, **asked, "prompt": prompts}
    found = stated.several(line.ask("/completion", body), len(prompts))
    return [stated.by_id(one, words) for one in found]


def _one_by_one(line: Line, words: Vocabulary, prompts: list[list[int]]) -> list[Stated]:
    body = {**_EVERY, **_NEUTRAL, "n_probs": words.size, "logit_bias": words.bias}
    return [
        stated.by_text(line.ask("/completion", {**body, "prompt": one, "id_slot": slot}), words)
        for slot, one in enumerate(prompts)
    ]


def log_softmax(logits: Doubles) -> Doubles:
    """Natural logarithms of the probabilities that rows of logits stand for."""
    down = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(down - np.log(np.exp(down).sum(axis=1, keepdims=True)), dtype=np.float64)


def distance(served: Served, expected_logits: Doubles) -> Distance:
    """How far log-probabilities are from the expected ones, in units of the root mean square of
    the expected logits, so that what is allowed for logits holds here."""
    size = np.sqrt(np.mean(np.square(expected_logits)))
    apart = (served.logprobs - log_softmax(expected_logits)) / size
    told = np.delete(apart, served.unstated, axis=1)
    return Distance(mean=float(np.mean(np.square(told))), worst=float(np.abs(told).max()))


def disagreement(
    served: Served, expected_logits: Doubles, allowed: Distance
) -> tuple[str, str] | None:
    """The kind of failure ("nan", "wrong-numbers") and what is wrong, or None."""
    if served.logprobs.shape != expected_logits.shape:
        return "wrong-numbers", f"{served.logprobs.shape}, not {expected_logits.shape} numbers"
    finite = np.isfinite(np.delete(served.logprobs, served.unstated, axis=1))
    if not finite.all():
        return "nan", f"{np.count_nonzero(~finite)} of {finite.size} log-probabilities"
    found = distance(served, expected_logits)
    if found.mean <= allowed.mean and found.worst <= allowed.worst:
        return None
    return "wrong-numbers", (
        f"log-probabilities: mean squared error {found.mean:.2g} (at most {allowed.mean:.2g}), "
        f"worst {found.worst:.2g} (at most {allowed.worst:.2g})"
    )
