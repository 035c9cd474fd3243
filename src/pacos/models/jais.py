"""Jais: GPT-2 with gated units and ALiBi's bias for positions; scores are divided by the heads' width, not its root.

Source: the modeling_jais.py of the published folders; tensor names as in GGUF arch "jais", whose embeddings and output
have the config's factors in them.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import FormatError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.blocks import attend, layer_norm_logits, norm, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import TRANSPOSE, TensorName, in_layers, layer_pair, mapped, outside

_MAX_BIAS = 8.0  # of every published one


def _factor(config: Config, *words: str) -> float:
    """The product of what the config says under these words."""
    product = 1.0
    for word in words:
        value = config.get(word)
        if not isinstance(value, int | float) or not value > 0:
            raise FormatError(f"config.json: {word} is {value!a}, needed: a number above 0")
        product *= value
    return product


def _embeddings(x: Any, config: Config) -> Any:
    word = "mup_embeddings_scale" if "mup_embeddings_scale" in config else "embeddings_scale"
    return x * np.float32(_factor(config, word))


def _output(x: Any, config: Config) -> Any:
    words = ("mup_output_alpha", "mup_width_scale") if "mup_output_alpha" in config else ("width_scale",)
    return x * np.float32(_factor(config, *words))


def _read(config: Config) -> Metadata:
    return {**sizes(config), "attention.max_alibi_bias": _MAX_BIAS}


_AT = "h.{i}"
JAIS = HuggingFace(
    classes=("JAISLMHeadModel",),
    names=(
        TensorName("token_embd.weight", "wte.weight", (mapped("embeddings' factor", _embeddings),)),
        TensorName("output.weight", "lm_head.weight", (mapped("logits' factor", _output),)),
        *outside(output_norm="ln_f"),
        *in_layers(_AT, attn_norm="ln_1", ffn_norm="ln_2"),
        *layer_pair("attn_qkv", "attn.c_attn", TRANSPOSE, at=_AT),
        *layer_pair("attn_output", "attn.c_proj", TRANSPOSE, at=_AT),
        *layer_pair("ffn_up", "mlp.c_fc", TRANSPOSE, at=_AT),
        *layer_pair("ffn_gate", "mlp.c_fc2", TRANSPOSE, at=_AT),
        *layer_pair("ffn_down", "mlp.c_proj", TRANSPOSE, at=_AT),
    ),
    metadata=_read,
    defaults={"layer_norm_epsilon": 1e-5, "activation_function": "swiglu", "position_embedding_type": "alibi"},
    activations=("swiglu",),
    reads=("position_embedding_type",),
    refuses=(
        *(("position_embedding_type", "alibi"), ("alibi_scaling", None), ("mup_scale_qk_dot_by_d", True)),
        ("scale_qk_dot_by_d", True),
    ),
    needless=r"relative_pe\.slopes$|(^|\.)h\.\d+\.attn\.(masked_)?bias$",
)


@architecture("jais", hf=JAIS, rope="")
def jais(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    bias = hp.keys.number("attention.max_alibi_bias", 0, 1e3, _MAX_BIAS)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = queries_keys_values(norm(x, w, "attn_norm", hp), w, hp, i)
        x = x + attend(qkv, w, inputs, hp, i, max_bias=bias, scale=1 / hp.head_width)
        x = x + silu_feed_forward(norm(x, w, "ffn_norm", hp), w)
    return layer_norm_logits(x, inputs, weights, hp)
