"""Mistral Small 3.1 and later, Ministral 3: Llama with YaRN, and queries that look more sharply from afar.

Source: Hugging Face modeling_ministral3.py; tensor names as in GGUF arch "mistral3".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.rope import RopeSpec
from pacos.models.blocks import attend, logits, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, rope_settings, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import MISTRAL, NAMES
from pacos.models.registry import architecture

_LOG_MULTIPLIER = "rope.scaling.yarn_log_multiplier"


def _read_config(config: Config) -> Metadata:
    found = decoder(config) | windows(config)
    settings, _ = rope_settings(config)
    if settings["rope_type"] == "yarn" and settings.get("mscale_all_dim"):
        found |= {"rope.scaling.yarn_attn_factor": None, _LOG_MULTIPLIER: float(settings["mscale_all_dim"])}
    return {**found, "attention.temperature_scale": settings.get("llama_4_scaling_beta")}


MINISTRAL3 = HuggingFace(
    classes=("Ministral3ForCausalLM", "Mistral3ForConditionalGeneration"),
    names=NAMES,
    metadata=_read_config,
    fits=lambda config: config.get("model_type") == "ministral3",
    defaults={
        **{"rms_norm_eps": 1e-5, "num_key_value_heads": 8, "head_dim": 128},
        "rope_parameters": {
            **{"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384},
            **{"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
        },
    },
)
# Mistral Small 3.1 and 3.2, whose text is read by an older class.
MISTRAL_SMALL = replace(
    MINISTRAL3,
    classes=("Mistral3ForConditionalGeneration",),
    defaults=MISTRAL.defaults,
    fits=lambda config: config.get("model_type") != "mistral4",
)


@architecture("mistral3", hf=(MINISTRAL3, MISTRAL_SMALL), rope="pairs")
def mistral3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    rope, sharper = _rope(hp), hp.keys.number("attention.temperature_scale", 0, 1e3, 0.0)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q, k = (ops.rope(part, inputs.positions, rope) for part in (q, k))
        if sharper:
            q = ops.temper(q, inputs.positions, length=float(rope.original_context), scale=sharper, offset=0.0)
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)


def _rope(hp: Hparams) -> RopeSpec:
    """Files give the multiplier by which YaRN's temperature is to be divided."""
    multiplier = hp.keys.number(_LOG_MULTIPLIER, 0, 1e3, 0.0)
    if hp.rope.scaling != "yarn" or not multiplier or hp.rope.factor <= 1:
        return hp.rope
    return replace(hp.rope, attention_factor=1 / (0.1 * multiplier * math.log(hp.rope.factor) + 1))
