"""Jamba: Mamba 1 with norms, attention without positions every few layers, experts in some.

Source: Hugging Face modeling_jamba.py; tensor names as in GGUF arch "jamba".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits
from pacos.models.hf_config import positive, sizes
from pacos.models.hf_experts import READS, expert_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import attend_anywhere, attention_layers, selective_mixer, selective_names
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, in_layers, outside


def _metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    width, rank = positive(config, "hidden_size"), config.get("mamba_dt_rank")
    layers, period, offset = (
        int(config[f"{key}"]) for key in ("num_hidden_layers", "attn_layer_period", "attn_layer_offset")
    )
    attends = [i % period == offset for i in range(layers)]
    return sizes(config) | {
        "attention.head_count_kv": attention_layers(config, attends),
        "attention.key_length": None,
        "attention.value_length": None,
        "ssm.conv_kernel": config.get("mamba_d_conv"),
        "ssm.inner_size": int(positive(config, "mamba_expand") * width),
        "ssm.state_size": config.get("mamba_d_state"),
        "ssm.time_step_rank": math.ceil(width / 16) if rank == "auto" else rank,
        "expert_count": config.get("num_experts"),
        "expert_used_count": config.get("num_experts_per_tok"),
    }


JAMBA = HuggingFace(
    classes=("JambaForCausalLM",),
    names=(
        *outside(token_embd="embed_tokens", output_norm="final_layernorm", output="lm_head"),
        *in_layers(attn_norm="input_layernorm", ffn_norm="pre_ff_layernorm"),
        *selective_names("layers.{i}.mamba"),
        *in_layers("layers.{i}.mamba", ssm_dt_norm="dt_layernorm", ssm_b_norm="b_layernorm", ssm_c_norm="c_layernorm"),
        *ATTENTION,
        *in_layers("layers.{i}.feed_forward", ffn_gate="gate_proj", ffn_up="up_proj", ffn_down="down_proj"),
        *expert_names("feed_forward", router="router"),
    ),
    metadata=_metadata,
    defaults={
        **{"attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2},
        **{"mamba_dt_rank": "auto", "num_experts": 16, "num_experts_per_tok": 2, "rms_norm_eps": 1e-6},
        "num_key_value_heads": 8,
    },
    reads=READS,
)


@architecture("jamba", hf=JAMBA, rope="", recurrent=True)
def jamba(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + (attend_anywhere(h, w, inputs, hp, i) if hp.key_heads[i] else selective_mixer(h, inputs, w, hp))
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)
