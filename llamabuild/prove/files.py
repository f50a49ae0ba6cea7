"""A generated model as a GGUF file, which llama.cpp loads as it would any other."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFWriter, LlamaFileType, PoolingType, TokenType

from llamabuild.prove.models import Model, Spec

_DECODER = "llama"
_ENCODER = "bert"
_POOLING = {"encoder": PoolingType.MEAN, "reranker": PoolingType.RANK}


def write(model: Model, path: Path) -> None:
    """Write the model to ``path``, which may exist."""
    spec = model.spec
    writer = GGUFWriter(path, _ENCODER if spec.family in _POOLING else _DECODER)
    _header(writer, spec)
    _vocabulary(writer, spec.shape.vocabulary)
    for name, tensor in model.tensors.items():
        writer.add_tensor(name, tensor.data, raw_dtype=tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _header(writer: GGUFWriter, spec: Spec) -> None:
    shape = spec.shape
    writer.add_name(f"llamabuild proof {spec.name}")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_vocab_size(shape.vocabulary)
    if spec.family in _POOLING:
        writer.add_layer_norm_eps(shape.epsilon)
        writer.add_causal_attention(False)
        writer.add_pooling_type(_POOLING[spec.family])
        writer.add_token_type_count(2)
        return
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)


def _vocabulary(writer: GGUFWriter, size: int) -> None:
    """A SentencePiece vocabulary: three control tokens, all bytes, and invented words."""
    control = ["<unk>", "<s>", "</s>"]
    byte = [f"<0x{n:02X}>" for n in range(256)]
    words = [f"\u2581w{n}" for n in range(size - len(control) - len(byte))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * len(byte) + [TokenType.NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*control, *byte, *words])
    writer.add_token_scores([float(-n) for n in range(size)])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
