"""gpt-oss: experts with biases and a clamped gated unit, sinks in attention, a window on every other layer.

Source: Hugging Face modeling_gpt_oss.py; tensor names as in GGUF arch "gpt-oss". YaRN's ramp is as published, not
rounded to whole pairs of dimensions as llama.cpp rounds it.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, U experts used by a token, F their width.
"""

from __future__ import annotations

from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits
from pacos.models.expert_decoder import self_attention
from pacos.models.experts import Experts
from pacos.models.hf_config import Config, decoder, windows
from pacos.models.hf_experts import READS, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_project, routed
from pacos.models.registry import architecture
from pacos.models.tensor_names import (
    ATTENTION,
    ENDS,
    TRANSPOSE,
    Array,
    Change,
    Names,
    Sizes,
    TensorName,
    in_layers,
    layer_pair,
)

_ALPHA, _LIMIT = 1.702, 7.0


def _every_second(index: int) -> Change:
    """Rows of gates (0) or ups (1), which lie in turn."""

    def shape(shape: Sizes, _: Config) -> Sizes:
        return (shape[0], shape[1] // 2, *shape[2:])

    def values(x: Array, _: Config) -> Array:
        return x[:, index::2]

    return Change(f"every second from {index}", shape, values, axis=1)


def _names() -> Names:
    """Folders hold the experts in MXFP4 with a matrix's inputs last, in other types with its outputs last."""
    at = "layers.{i}.mlp.experts"
    rows = [TensorName("blk.{i}.attn_sinks.weight", "layers.{i}.self_attn.sinks")]
    for index, part in enumerate(("gate", "up")):
        one = _every_second(index)
        rows += [TensorName(f"blk.{{i}}.ffn_{part}_exps.weight", f"{at}.gate_up_proj", (TRANSPOSE, one))]
        rows += [TensorName(f"blk.{{i}}.ffn_{part}_exps.weight", f"{at}.gate_up_proj_blocks", (one,))]
        rows += [TensorName(f"blk.{{i}}.ffn_{part}_exps.bias", f"{at}.gate_up_proj_bias", (one,))]
    rows += [TensorName("blk.{i}.ffn_down_exps.weight", f"{at}.down_proj", (TRANSPOSE,))]
    rows += [TensorName("blk.{i}.ffn_down_exps.weight", f"{at}.down_proj_blocks")]
    rows += [TensorName("blk.{i}.ffn_down_exps.bias", f"{at}.down_proj_bias")]
    norms = in_layers(attn_norm="input_layernorm", post_attention_norm="post_attention_layernorm")
    return (*ENDS, *norms, *ATTENTION, *layer_pair("ffn_gate_inp", "mlp.router"), *rows)


def _read(config: Config) -> dict[str, Any]:
    found = decoder(config) | windows(config, 2) | experts(config)
    return found | {"expert_feed_forward_length": config.get("intermediate_size")}


GPT_OSS = HuggingFace(
    classes=("GptOssForCausalLM",),
    names=_names(),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "head_dim": 64, "sliding_window": 128, "rope_theta": 150000.0},
        "num_key_value_heads": 8,
        **{"num_local_experts": 128, "num_experts_per_tok": 4},
        "rope_parameters": {
            **{"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0},
            **{"truncate": False, "original_max_position_embeddings": 4096},
        },
    },
    reads=READS,
)
DEFAULTS = {
    "attention.sliding_window_pattern": 2,
    "expert_gating_func": 3,
    "rope.scaling.yarn_truncate": False,
}


@architecture("gpt-oss", hf=GPT_OSS, defaults=DEFAULTS)
def gpt_oss(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + self_attention(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        h = ops.rms_norm(x, w["post_attention_norm"], eps=hp.norm_eps)
        x = x + clamped_experts(h, w, hp.needed_experts())
    return logits(x, inputs, weights, hp)


def clamped_experts(x: Tensor, w: WeightTable, experts: Experts) -> Tensor:
    """Experts' clamped units, weighed. Shapes: [T, D] -> [T, D]."""
    weights, chosen = routed(x, w, experts)
    gate, up = (expert_project(x, chosen, w, name, experts) for name in ("ffn_gate_exps", "ffn_up_exps"))  # [T, U, F]
    h = ops.clamped_silu_mul(gate, up, alpha=_ALPHA, limit=_LIMIT)
    y: Tensor = ops.weigh(expert_project(h, chosen, w, "ffn_down_exps", experts), weights)
    return y
