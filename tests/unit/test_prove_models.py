"""The generated models: the same bytes everywhere, sound numbers, files that can be read back."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.prove import cases, files, models, weights

EVERY = (
    *models.DECODERS,
    *models.PRODUCTS,
    *models.ROWS,
    *models.ENCODERS,
    models.RERANKER,
    models.SPEED,
)
# A change here changes what every build is proved with: it must be meant.
PINNED = {
    models.SERVED: "c582ad0b584c14cb0d05e01c72220ea066bc33185e21058c5785bb078d85466f",
    models.SPEED: "e1d65279fcfd2b6803afc6fc12276cda4ae79bff2d938883e225f33673280a83",
}
ALL = "750fc3286232e2cd73d49ffced01dd8999e38cc381efb55f0cdbbd8a7a5fa547"

every = pytest.mark.parametrize("spec", EVERY, ids=lambda spec: spec.name)


@cache
def model_of(spec: models.Spec) -> models.Model:
    return models.generate(spec)


@pytest.mark.parametrize("spec", PINNED, ids=lambda spec: spec.name)
def test_the_bytes_are_pinned(spec: models.Spec) -> None:
    assert models.digest(model_of(spec)) == PINNED[spec]


def test_the_bytes_of_all_are_pinned() -> None:
    import hashlib

    digests = [models.digest(model_of(spec)) for spec in EVERY]
    assert len(set(digests)) == len(EVERY)
    assert hashlib.sha256("".join(digests).encode()).hexdigest() == ALL


def test_the_digest_sees_one_bit() -> None:
    model = models.generate(models.DECODERS[3])
    before = models.digest(model)
    model.tensors["output.weight"].data[0, 0] ^= 1
    assert models.digest(model) != before


def test_every_type_that_can_be_decoded_is_there() -> None:
    from gguf import GGMLQuantizationType, quants

    known = {kind.name for kind in quants._type_traits}
    without_a_kernel = {"NVFP4"}  # its models bring a scale for each tensor beside it
    assert known | {"F32", "F16"} == set(weights.TYPES) | without_a_kernel
    assert {kind.name for kind in GGMLQuantizationType} >= set(weights.TYPES)


@every
def test_shapes_reach_the_kernels_for_matrices(spec: models.Spec) -> None:
    assert models.PROMPT >= 32
    assert models.STEPS >= 16
    for name, tensor in model_of(spec).tensors.items():
        if tensor.data.ndim == 2 and "token_types" not in name and name != "cls.output.weight":
            rows, columns = weights.decoded(tensor).shape
            assert (name, rows % 32, columns % 256) == (name, 0, 0)


@every
def test_weights_are_of_order_one_and_have_no_bias(spec: models.Spec) -> None:
    for name, weight in models.decoded(model_of(spec)).items():
        assert np.isfinite(weight).all()
        if weight.ndim == 2 and len(weight) > 2 and weight.any():
            assert abs(float(weight.mean())) < 0.12 * float(weight.std()), name


@pytest.mark.parametrize("spec", models.PRODUCTS, ids=lambda spec: spec.type)
def test_products_multiply_whole_numbers_that_no_format_rounds(spec: models.Spec) -> None:
    found = models.decoded(model_of(spec))
    gains = found["output_norm.weight"]
    assert np.array_equal(gains, np.rint(gains))
    assert gains.reshape(-1, 32).max(axis=1).tolist() == [127] * (len(gains) // 32)
    assert set(np.unique(found["token_embd.weight"])) == {-1.0, 1.0}


@every
def test_the_prompt_has_no_control_tokens(spec: models.Spec) -> None:
    prompt = models.prompt(spec)
    assert len(prompt) == models.PROMPT
    assert len(set(prompt)) > models.PROMPT // 2
    assert all(models.FIRST_TEXT <= token < spec.shape.vocabulary for token in prompt)


@every
def test_a_file_reads_back_as_it_was_made(spec: models.Spec, tmp_path: Path) -> None:
    model = model_of(spec)
    files.write(model, tmp_path / "m.gguf")
    reader = GGUFReader(tmp_path / "m.gguf")
    assert {tensor.name for tensor in reader.tensors} == set(model.tensors)
    for tensor in reader.tensors:
        made = model.tensors[tensor.name]
        assert tensor.tensor_type == made.type
        assert tensor.data.tobytes() == made.data.tobytes()
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(set(tokens)) == spec.shape.vocabulary
    assert (tmp_path / "m.gguf").stat().st_size < 20_000_000


def test_two_models_never_share_a_file(tmp_path: Path) -> None:
    paths = {cases.model_file(spec, tmp_path) for spec in EVERY}
    assert len(paths) == len(EVERY)


def test_cases_have_names_of_their_own_and_cover_every_type() -> None:
    found = cases.standard()
    assert len({case.name for case in found}) == len(found)
    for family in ("decoder", "products", "rows"):
        types = {case.spec.type for case in found if case.spec.family == family}
        assert types == set(weights.TYPES)
    assert {case.cache for case in found} == {"f16", "q8_0"}
    assert {case.flash for case in found} == {"auto", "on", "off"}
    assert max(len(case.sequences) for case in found) > 2
    assert {"encoder", "reranker"} <= {case.spec.family for case in found}


@given(
    kind=st.sampled_from(sorted(weights.TYPES)),
    rows=st.integers(1, 8).map(lambda n: n * 32),
    columns=st.integers(1, 4).map(lambda n: n * 256),
    deviation=st.floats(0.01, 1),
    name=st.text("abcdef.", min_size=1, max_size=8),
)
@settings(max_examples=80, deadline=None)
def test_any_matrix_of_any_type_spreads_as_asked(
    kind: str, rows: int, columns: int, deviation: float, name: str
) -> None:
    found = weights.decoded(weights.matrix(name, kind, rows, columns, deviation))
    assert found.shape == (rows, columns)
    assert float(found.std()) == pytest.approx(deviation, rel=0.3)
