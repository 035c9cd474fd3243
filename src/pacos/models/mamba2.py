"""Mamba 2: layers of one grouped scan each, no attention.

Source: Hugging Face modeling_mamba2.py; tensor names as in GGUF arch "mamba2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits
from pacos.models.hf_config import positive
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mamba import CONTEXT, published, published_kind
from pacos.models.mixers import grouped_mixer, grouped_names, refuse_step_limits
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside


def _metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    refuse_step_limits(config)
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": config.get("hidden_size"),
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": config.get("layer_norm_epsilon"),
        "ssm.conv_kernel": config.get("conv_kernel"),
        "ssm.inner_size": int(positive(config, "expand") * positive(config, "hidden_size")),
        "ssm.state_size": config.get("state_size"),
        "ssm.time_step_rank": config.get("num_heads"),
        "ssm.group_count": config.get("n_groups"),
        "vocab_size": config.get("vocab_size"),
    }


MAMBA2 = HuggingFace(
    classes=("Mamba2ForCausalLM",),
    names=(
        *outside(token_embd="embeddings", output_norm="norm_f", output="lm_head"),
        *in_layers(attn_norm="norm"),
        *grouped_names("layers.{i}.mixer", lambda config: int(config["n_groups"])),
    ),
    metadata=_metadata,
    defaults={
        **{"num_heads": 128, "n_groups": 8, "expand": 2, "conv_kernel": 4, "state_size": 128},
        **{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": False},
    },
    prefixes=("backbone.",),
)


def _published_metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    own = config.get("ssm_cfg") or {}
    found = {**config, "state_size": own.get("d_state", 128), "n_groups": own.get("ngroups", 1)}
    inner = int(positive(found, "expand") * positive(config, "d_model"))
    return _metadata({**published(found), "num_heads": inner // own.get("headdim", 64)})


def _groups(config: Mapping[str, Any]) -> int:
    return int((config.get("ssm_cfg") or {}).get("ngroups", 1))


PUBLISHED = replace(
    MAMBA2,
    classes=("MambaLMHeadModel",),
    names=(
        *outside(token_embd="embedding", output_norm="norm_f", output="lm_head"),
        *in_layers(attn_norm="norm"),
        *grouped_names("layers.{i}.mixer", _groups),
    ),
    metadata=_published_metadata,
    defaults={"expand": 2, "conv_kernel": 4, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    fits=lambda config: published_kind(config) == "Mamba2",
)


@architecture("mamba2", hf=(MAMBA2, PUBLISHED), rope="", recurrent=True)
def mamba2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + grouped_mixer(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), inputs, w, hp)
    return logits(x, inputs, weights, hp)
