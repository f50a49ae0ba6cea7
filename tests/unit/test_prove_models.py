"""The generated models: the same bytes everywhere, sound numbers, files that can be read back."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.prove import models, reference

# A change here changes what every build is proved with: it must be meant.
PINNED = {
    "F16": "78c8351dc2af6975994792ca07a7a687e2736f6384db40352132fd7f87ad7d24",
    "Q8_0": "aa7d0a794414e9b9e6a4217f7338a8a158c9f739e65fab92cc1872d4aa5b1280",
    "Q4_0": "5b841d16557dba3e07d2356e8173e0f1ea9617941c132dfdc963f8c9e879965e",
    "Q4_1": "dfd8762e2de2e7a79c338b4f961e76309e68b97343721c28536e3cdcf85ff4f0",
    "Q4_K": "c582ad0b584c14cb0d05e01c72220ea066bc33185e21058c5785bb078d85466f",
    "Q5_K": "a0d9698241547491419a20f26188a33378720b5ed04c6970f01e6a438c103cb3",
    "Q6_K": "e363da3513925c6f7cd327255918c43f62b8bd898c14a7d5191317d6f680b494",
    "IQ4_XS": "efb047ad8db0d7af0cc982cc199cf5b3a004334e80e4fca35809a6c3e515490a",
}
SPEED = "e1d65279fcfd2b6803afc6fc12276cda4ae79bff2d938883e225f33673280a83"

every = pytest.mark.parametrize("spec", models.SPECS, ids=lambda spec: spec.type)


@cache
def model_of(spec: models.Spec) -> models.Model:
    return models.generate(spec)


@every
def test_the_bytes_are_pinned(spec: models.Spec) -> None:
    assert models.digest(model_of(spec)) == PINNED[spec.type]


def test_the_speed_models_bytes_are_pinned() -> None:
    assert models.digest(models.generate(models.SPEED)) == SPEED


def test_the_digest_sees_one_bit() -> None:
    model = models.generate(models.SPECS[1])
    before = models.digest(model)
    model.tensors["output.weight"].data[0, 0] ^= 1
    assert models.digest(model) != before


@every
def test_shapes_reach_the_kernels_for_matrices(spec: models.Spec) -> None:
    assert models.PROMPT >= 32
    assert models.STEPS >= 16
    assert spec.shape.layers >= 2
    assert spec.shape.heads > spec.shape.kv_heads > 1
    for name, weight in models.weights(model_of(spec)).items():
        if weight.ndim == 2:
            rows, columns = weight.shape
            assert (name, rows % 32, columns % 256) == (name, 0, 0)


@every
def test_weights_are_of_order_one_and_have_no_bias(spec: models.Spec) -> None:
    for name, weight in models.weights(model_of(spec)).items():
        assert weight.dtype == np.float32
        assert np.isfinite(weight).all()
        if weight.ndim == 2 and name != "token_embd.weight":
            spread = float(weight.std()) * weight.shape[1] ** 0.5
            assert 0.85 < spread < 2.3, (name, spread)
            assert abs(float(weight.mean())) < 0.1 * float(weight.std()), name


@every
def test_the_prompt_has_no_control_tokens(spec: models.Spec) -> None:
    prompt = models.prompt(spec)
    assert len(prompt) == models.PROMPT
    assert len(set(prompt)) > models.PROMPT // 2
    assert all(models.FIRST_TEXT <= token < spec.shape.vocabulary for token in prompt)


@every
def test_a_file_reads_back_as_it_was_made(spec: models.Spec, tmp_path: Path) -> None:
    model = models.generate(spec)
    models.write(model, tmp_path / "m.gguf")
    reader = GGUFReader(tmp_path / "m.gguf")
    assert {tensor.name for tensor in reader.tensors} == set(model.tensors)
    for tensor in reader.tensors:
        made = model.tensors[tensor.name]
        assert tensor.tensor_type == made.type
        assert tensor.data.tobytes() == made.data.tobytes()
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(set(tokens)) == spec.shape.vocabulary
    assert reader.fields["tokenizer.ggml.add_bos_token"].contents() is False
    assert (tmp_path / "m.gguf").stat().st_size < 3_000_000


def test_every_type_has_its_own_weights() -> None:
    assert len(set(PINNED.values())) == len(models.SPECS) == len(PINNED)


def test_every_model_is_written_and_has_a_clear_answer(tmp_path: Path) -> None:
    for spec in models.SPECS:
        model = models.generate(spec)
        models.write(model, tmp_path / spec.type)
        assert reference.expect(model).margin >= reference.MARGIN


@given(
    kind=st.sampled_from(sorted(models.BLOCKS)),
    rows=st.integers(1, 8).map(lambda n: n * 32),
    columns=st.integers(1, 4).map(lambda n: n * 256),
    gain=st.floats(0.25, 16),
    name=st.text("abcdef.", min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_any_matrix_of_any_type_spreads_as_asked(
    kind: str, rows: int, columns: int, gain: float, name: str
) -> None:
    tensor = models._matrix(name, kind, rows, columns, gain)
    model = models.Model(
        spec=models.Spec(type=kind, shape=models.TINY), tensors={"x.weight": tensor}
    )
    weight = models.weights(model)["x.weight"]
    assert weight.shape == (rows, columns)
    assert float(weight.std()) * columns**0.5 == pytest.approx(gain, rel=0.2)
