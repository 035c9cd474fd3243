"""Baichuan 1 and 2: Llama with one matrix for queries, keys and values; 13B has no rotary positions but ALiBi.

Source: the modeling_baichuan.py of the published folders; tensor names as in GGUF arch "baichuan".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.blocks import attend, logits, queries_keys_values, rotated, silu_feed_forward
from pacos.models.hf_config import META_LAYOUT, Config, Metadata, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import (
    ENDS,
    GATED,
    KEYS,
    QUERIES,
    TWO_NORMS,
    changed,
    in_layers,
    layer_pair,
    mapped,
    part,
)

_LAYERS_13B = 40  # GGUF files do not say it otherwise
_MAX_BIAS = 8.0
_VOCAB_2 = 125696  # of Baichuan 2, whose output rows are scaled to a length of 1


def _read_config(config: Config) -> Metadata:
    found = {**decoder(config), "tensor_data_layout": META_LAYOUT}
    if found["context_length"] is None:
        found["context_length"] = config.get("model_max_length")
    return found


_UNIT_ROWS = mapped(
    "unit rows",
    lambda x, config: x / np.linalg.norm(x, axis=-1, keepdims=True) if config.get("vocab_size") == _VOCAB_2 else x,
)
BAICHUAN = HuggingFace(
    classes=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
    names=(
        *changed(ENDS, _UNIT_ROWS, "lm_head.weight"),
        *TWO_NORMS,
        *layer_pair("attn_q", "self_attn.W_pack", part(0, 3), rotary=QUERIES),
        *layer_pair("attn_k", "self_attn.W_pack", part(1, 3), rotary=KEYS),
        *layer_pair("attn_v", "self_attn.W_pack", part(2, 3)),
        *in_layers(attn_output="self_attn.o_proj"),
        *GATED,
    ),
    metadata=_read_config,
    defaults={"rms_norm_eps": 1e-6},
)


@architecture("baichuan", hf=BAICHUAN, rope="pairs")
def baichuan(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    biased = hp.layers == _LAYERS_13B
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        if biased:
            x = x + attend(queries_keys_values(h, w, hp, i), w, inputs, hp, i, max_bias=_MAX_BIAS)
        else:
            x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
