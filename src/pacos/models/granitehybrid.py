"""Granite 4, hybrid: Mamba 2 and attention without positions by turns, with factors on residuals, scores and logits.

Source: Hugging Face modeling_granitemoehybrid.py; tensor names as in GGUF arch "granitehybrid".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits
from pacos.models.granite import EXPERTS, SHARED_UNIT
from pacos.models.hf_config import decoder, first, positive
from pacos.models.hf_experts import experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import attend_anywhere, attention_layers, grouped_mixer, grouped_names, refuse_step_limits
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, PAIRED_ATTENTION, TWO_NORMS


def _attending(config: Mapping[str, Any]) -> list[bool]:
    kinds = first(config, "layer_types", "layers_block_type") or [""] * int(positive(config, "num_hidden_layers"))
    return [kind in ("attention", "full_attention") for kind in kinds]


def _metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    refuse_step_limits(config)
    attends = _attending(config)
    width = config.get("mamba_d_head")
    inner = positive(config, "mamba_expand") * positive(config, "hidden_size")
    own = {} if config["num_local_experts"] else {"feed_forward_length": config.get("shared_intermediate_size")}
    return {**decoder(config), **experts(config), **own} | {
        "context_length": 1 << 20,
        "attention.head_count_kv": attention_layers(config, attends),
        "attention.scale": config.get("attention_multiplier"),
        "embedding_scale": config.get("embedding_multiplier"),
        "residual_scale": config.get("residual_multiplier"),
        "logit_scale": config.get("logits_scaling"),
        "ssm.conv_kernel": config.get("mamba_d_conv"),
        "ssm.inner_size": int(inner),
        "ssm.state_size": config.get("mamba_d_state"),
        "ssm.time_step_rank": config.get("mamba_n_heads") if width is not None else None,
        "ssm.group_count": config.get("mamba_n_groups"),
        "rope.scaling.finetuned": False,
    }


GRANITE_HYBRID = HuggingFace(
    classes=("GraniteMoeHybridForCausalLM",),
    names=(
        *ENDS,
        *TWO_NORMS,
        *PAIRED_ATTENTION,
        *grouped_names("layers.{i}.mamba", lambda config: int(config["mamba_n_groups"])),
        *SHARED_UNIT,
    ),
    metadata=_metadata,
    defaults={
        **{"rms_norm_eps": 1e-6, "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0},
        **{"attention_multiplier": 1.0, "shared_intermediate_size": 1024, "num_local_experts": 8},
        "num_experts_per_tok": 2,
        **{"mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_head": "auto"},
        **{"mamba_d_conv": 4, "mamba_expand": 2, "position_embedding_type": "nope"},
    },
    reads=("num_local_experts", "position_embedding_type"),
    fits=lambda config: not all(_attending(config)) and not config["num_local_experts"],
)
GRANITE_HYBRID_MOE = replace(
    GRANITE_HYBRID,
    names=(
        *ENDS,
        *TWO_NORMS,
        *PAIRED_ATTENTION,
        *grouped_names("layers.{i}.mamba", lambda config: int(config["mamba_n_groups"])),
        *EXPERTS,
    ),
    fits=lambda config: not all(_attending(config)),
)


@architecture(
    "granitehybrid",
    hf=(GRANITE_HYBRID, GRANITE_HYBRID_MOE),
    rope="pairs",
    recurrent=True,
    defaults={"expert_weights_norm": True},
)
def granitehybrid(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    names = ("embedding_scale", "residual_scale", "logit_scale")
    embedding, residual, logit = (hp.keys.number(name, 0, 1e6, 0.0) or 1.0 for name in names)  # 0 has always meant none
    rope = hp.rope if hp.keys.truth("rope.scaling.finetuned", default=False) else None
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=embedding)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        h = attend_anywhere(h, w, inputs, hp, i, rope) if hp.key_heads[i] else grouped_mixer(h, inputs, w, hp)
        x = x + ops.scale(h, factor=residual)
        h = feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
        x = x + ops.scale(h, factor=residual)
    y: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=1 / logit)
    return y
