"""Tensor names of Hugging Face and GGUF for every family, and what has to be done to the values on the way.

Source: Hugging Face modeling files; llama.cpp's gguf-py/gguf/tensor_mapping.py and conversion scripts.
Words: "rotary rows" turns rows of rotary halves into rows of pairs; "plus one" adds 1 to a norm's weight; "transpose"
swaps the two axes of a matrix stored [in, out]; "from first" drops rows of positions before that of the first token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PLAIN, QUERY_ROWS, KEY_ROWS, PLUS_ONE, TRANSPOSE = "plain", "query rows", "key rows", "plus one", "transpose"
FROM_FIRST = "from first"


@dataclass(frozen=True, slots=True)
class TensorName:
    """One tensor, or with `{i}` one a layer. Hugging Face names are without their leading "model." or the like."""

    gguf: str
    hf: str
    change: str = PLAIN


def _block(gguf: str, hf: str, change: str = PLAIN) -> TensorName:
    return TensorName(f"blk.{{i}}.{gguf}", f"layers.{{i}}.{hf}", change)


_ENDS = (
    TensorName("token_embd.weight", "embed_tokens.weight"),
    TensorName("output_norm.weight", "norm.weight"),
    TensorName("output.weight", "lm_head.weight"),
)
_FEED_FORWARD = tuple(
    _block(f"ffn_{part}.{kind}", f"mlp.{part}_proj.{kind}")
    for part in ("gate", "up", "down")
    for kind in ("weight", "bias")
)
_VALUES = tuple(
    _block(f"{gguf}.{kind}", f"self_attn.{hf}.{kind}")
    for gguf, hf in (("attn_v", "v_proj"), ("attn_output", "o_proj"))
    for kind in ("weight", "bias")
)
_QUERIES_KEYS = tuple(
    _block(f"{gguf}.{kind}", f"self_attn.{hf}.{kind}")
    for gguf, hf in (("attn_q", "q_proj"), ("attn_k", "k_proj"))
    for kind in ("weight", "bias")
)
_PAIRED_QUERIES_KEYS = tuple(
    _block(f"{gguf}.{kind}", f"self_attn.{hf}.{kind}", change)
    for gguf, hf, change in (("attn_q", "q_proj", QUERY_ROWS), ("attn_k", "k_proj", KEY_ROWS))
    for kind in ("weight", "bias")
)
_TWO_NORMS = (
    _block("attn_norm.weight", "input_layernorm.weight"),
    _block("ffn_norm.weight", "post_attention_layernorm.weight"),
)
_HEAD_NORMS = (
    _block("attn_q_norm.weight", "self_attn.q_norm.weight"),
    _block("attn_k_norm.weight", "self_attn.k_norm.weight"),
)
_FOUR_NORMS = (
    _block("attn_norm.weight", "input_layernorm.weight"),
    _block("post_attention_norm.weight", "post_attention_layernorm.weight"),
    _block("ffn_norm.weight", "pre_feedforward_layernorm.weight"),
    _block("post_ffw_norm.weight", "post_feedforward_layernorm.weight"),
)


def _gemma(*parts: tuple[TensorName, ...]) -> tuple[TensorName, ...]:
    joined = tuple(name for part in parts for name in part)
    return tuple(TensorName(n.gguf, n.hf, PLUS_ONE) if n.hf.endswith("norm.weight") else n for n in joined)


def _gpt2_pair(gguf: str, hf: str, change: str) -> tuple[TensorName, ...]:
    layer = (f"blk.{{i}}.{gguf}", f"h.{{i}}.{hf}")
    return (
        TensorName(f"{layer[0]}.weight", f"{layer[1]}.weight", change),
        TensorName(f"{layer[0]}.bias", f"{layer[1]}.bias"),
    )


_GPT2 = (
    TensorName("token_embd.weight", "wte.weight"),
    TensorName("position_embd.weight", "wpe.weight"),
    TensorName("output_norm.weight", "ln_f.weight"),
    TensorName("output_norm.bias", "ln_f.bias"),
    TensorName("output.weight", "lm_head.weight"),
    *_gpt2_pair("attn_norm", "ln_1", PLAIN),
    *_gpt2_pair("attn_qkv", "attn.c_attn", TRANSPOSE),
    *_gpt2_pair("attn_output", "attn.c_proj", TRANSPOSE),
    *_gpt2_pair("ffn_norm", "ln_2", PLAIN),
    *_gpt2_pair("ffn_up", "mlp.c_fc", TRANSPOSE),
    *_gpt2_pair("ffn_down", "mlp.c_proj", TRANSPOSE),
)


def _encoder_layer(gguf: str, hf: str) -> tuple[TensorName, ...]:
    layer = (f"blk.{{i}}.{gguf}", f"encoder.layer.{{i}}.{hf}")
    return tuple(TensorName(f"{layer[0]}.{kind}", f"{layer[1]}.{kind}") for kind in ("weight", "bias"))


_BERT = (
    TensorName("token_embd.weight", "embeddings.word_embeddings.weight"),
    TensorName("position_embd.weight", "embeddings.position_embeddings.weight", FROM_FIRST),
    TensorName("token_types.weight", "embeddings.token_type_embeddings.weight"),
    TensorName("token_embd_norm.weight", "embeddings.LayerNorm.weight"),
    TensorName("token_embd_norm.bias", "embeddings.LayerNorm.bias"),
    *_encoder_layer("attn_q", "attention.self.query"),
    *_encoder_layer("attn_k", "attention.self.key"),
    *_encoder_layer("attn_v", "attention.self.value"),
    *_encoder_layer("attn_output", "attention.output.dense"),
    *_encoder_layer("attn_output_norm", "attention.output.LayerNorm"),
    *_encoder_layer("ffn_up", "intermediate.dense"),
    *_encoder_layer("ffn_down", "output.dense"),
    *_encoder_layer("layer_output_norm", "output.LayerNorm"),
    TensorName("cls.weight", "pooler.dense.weight"),
    TensorName("cls.bias", "pooler.dense.bias"),
    TensorName("cls.output.weight", "classifier.weight"),
    TensorName("cls.output.bias", "classifier.bias"),
    TensorName("cls.weight", "classifier.dense.weight"),
    TensorName("cls.bias", "classifier.dense.bias"),
    TensorName("cls.output.weight", "classifier.out_proj.weight"),
    TensorName("cls.output.bias", "classifier.out_proj.bias"),
)

_NOMIC_BERT = (
    *(
        TensorName(f"{gguf}.weight", f"embeddings.{hf}.weight")
        for gguf, hf in (("token_embd", "word_embeddings"), ("token_types", "token_type_embeddings"))
    ),
    *(TensorName(f"token_embd_norm.{kind}", f"emb_ln.{kind}") for kind in ("weight", "bias")),
    *(
        TensorName(f"blk.{{i}}.{gguf}.{kind}", f"encoder.layers.{{i}}.{hf}.{kind}")
        for gguf, hf in (
            *(("attn_qkv", "attn.Wqkv"), ("attn_output", "attn.out_proj"), ("attn_output_norm", "norm1")),
            *(
                ("ffn_up", "mlp.fc11"),
                ("ffn_gate", "mlp.fc12"),
                ("ffn_down", "mlp.fc2"),
                ("layer_output_norm", "norm2"),
            ),
        )
        for kind in ("weight", "bias")
    ),
)

NAMES: Mapping[str, tuple[TensorName, ...]] = {
    "llama": (*_ENDS, *_TWO_NORMS, *_PAIRED_QUERIES_KEYS, *_VALUES, *_FEED_FORWARD),
    "qwen2": (*_ENDS, *_TWO_NORMS, *_QUERIES_KEYS, *_VALUES, *_FEED_FORWARD),
    "qwen3": (*_ENDS, *_TWO_NORMS, *_QUERIES_KEYS, *_HEAD_NORMS, *_VALUES, *_FEED_FORWARD),
    "gemma": _gemma(_ENDS, _TWO_NORMS, _QUERIES_KEYS, _VALUES, _FEED_FORWARD),
    "gemma2": _gemma(_ENDS, _FOUR_NORMS, _QUERIES_KEYS, _VALUES, _FEED_FORWARD),
    "gemma3": _gemma(_ENDS, _FOUR_NORMS, _QUERIES_KEYS, _HEAD_NORMS, _VALUES, _FEED_FORWARD),
    "gpt2": _GPT2,
    "bert": _BERT,
    "nomic-bert": _NOMIC_BERT,
}

# What a checkpoint may put before the names, and buffers that it may hold but nobody needs.
PREFIXES = ("model.", "transformer.", "bert.", "roberta.")
NEEDLESS = re.compile(
    r"(rotary_emb\.inv_freq|attn\.masked_bias|(^|\.)h\.\d+\.attn\.bias|embeddings\.position_ids)$"
    r"|^cls\.(predictions|seq_relationship)\."
)

_LAYER = re.compile(r"^(layers|h|blk|encoder\.layers?)\.(0|[1-9]\d{0,3})\.")


def from_hf(architecture: str, name: str) -> TensorName | None:
    """Names and change of a tensor that a Hugging Face file calls `name`, its layer filled in; None when unknown."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return _found(architecture, name, "hf")


def from_gguf(architecture: str, name: str) -> TensorName | None:
    """The same by GGUF name."""
    return _found(architecture, name, "gguf")


def _found(architecture: str, name: str, side: str) -> TensorName | None:
    layer = _LAYER.match(name)
    wanted = f"{layer[1]}.{{i}}.{name[layer.end() :]}" if layer else name
    for one in NAMES.get(architecture, ()):
        if getattr(one, side) == wanted:
            number = layer[2] if layer else ""
            return TensorName(one.gguf.replace("{i}", number), one.hf.replace("{i}", number), one.change)
    return None
