"""Mamba 1 and FalconMamba: layers of one selective scan each, no attention.

Source: Hugging Face modeling_mamba.py and modeling_falcon_mamba.py; tensor names as in GGUF arch "mamba".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits
from pacos.models.hf_config import positive
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import selective_mixer, selective_names
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside

CONTEXT = 1 << 20  # these models know no limit; what llama.cpp's converter says

NAMES = (
    *outside(token_embd="embeddings", output_norm="norm_f", output="lm_head"),
    *in_layers(attn_norm="norm"),
    *selective_names("layers.{i}.mixer"),
)


def _metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    width = positive(config, "hidden_size")
    rank = config.get("time_step_rank")
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": config.get("hidden_size"),
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": config.get("layer_norm_epsilon"),
        "ssm.conv_kernel": config.get("conv_kernel"),
        "ssm.inner_size": config.get("intermediate_size") or int(positive(config, "expand") * width),
        "ssm.state_size": config.get("state_size"),
        "ssm.time_step_rank": math.ceil(width / 16) if rank == "auto" else rank,
        "ssm.dt_b_c_rms": config.get("model_type") == "falcon_mamba",
        "vocab_size": config.get("vocab_size"),
    }


MAMBA = HuggingFace(
    classes=("MambaForCausalLM",),
    names=NAMES,
    metadata=_metadata,
    defaults={
        **{"expand": 2, "conv_kernel": 4, "state_size": 16, "layer_norm_epsilon": 1e-5, "time_step_rank": "auto"},
        "tie_word_embeddings": True,
    },
    prefixes=("backbone.",),
)
FALCON = replace(MAMBA, classes=("FalconMambaForCausalLM",))


def published(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of state-spaces' own folders in the words of transformers. Errors: UnsupportedModel for attention."""
    own = config.get("ssm_cfg") or {}
    if config.get("attn_layer_idx"):
        raise UnsupportedModel(f"config.json: attn_layer_idx is {config['attn_layer_idx']}, supported is none")
    if config.get("rms_norm") is False or config.get("d_intermediate"):
        raise UnsupportedModel("config.json: layer norms or units between mixers are not supported")
    names = {"d_state": "state_size", "d_conv": "conv_kernel", "expand": "expand", "dt_rank": "time_step_rank"}
    return {
        **config,
        **{theirs: own[name] for name, theirs in names.items() if name in own},
        **{"hidden_size": config.get("d_model"), "num_hidden_layers": config.get("n_layer")},
    }


def published_kind(config: Mapping[str, Any]) -> str:
    """Mamba1 or Mamba2, as state-spaces' own folders say."""
    return str((config.get("ssm_cfg") or {}).get("layer", "Mamba1"))


PUBLISHED = replace(
    MAMBA,
    classes=("MambaLMHeadModel",),
    names=(*outside(token_embd="embedding"), *NAMES),
    metadata=lambda config: _metadata(published(config)),
    fits=lambda config: published_kind(config) == "Mamba1",
)


@architecture("mamba", hf=(MAMBA, FALCON, PUBLISHED), rope="", recurrent=True)
def mamba(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + selective_mixer(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), inputs, w, hp)
    return logits(x, inputs, weights, hp)
