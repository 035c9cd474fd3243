"""Ling and Ring (Bailing MoE): small experts and shared ones; the second form norms heads and scores by sigmoid.

Source: modeling_bailing_moe.py and modeling_bailing_moe_v2.py beside the published weights; tensor names as in GGUF
arch "bailingmoe" and "bailingmoe2".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, decoder
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import (
    GATED,
    KEYS,
    QUERIES,
    TWO_NORMS,
    TensorName,
    changed,
    in_layers,
    layer_pair,
    mapped,
    outside,
    split_heads,
)

_QKV = "attention.query_key_value"


def _counts(config: Config) -> tuple[int, int]:
    return int(config["num_attention_heads"]), int(config["num_key_value_heads"])


def _read(config: Config) -> dict[str, Any]:
    return decoder(config) | experts(config)


_SHARED = (
    *outside(token_embd="word_embeddings", output_norm="norm", output="lm_head"),
    *(*TWO_NORMS, *in_layers(attn_output="attention.dense")),
    *(*GATED, *expert_names(), *shared_names("mlp.shared_experts")),
)


def _read_second(config: Config) -> dict[str, Any]:
    found = _read(config)
    width, count = found.get("expert_feed_forward_length"), found.get("expert_shared_count")
    shared = width * count if isinstance(width, int) and isinstance(count, int) else None
    return {"expert_shared_feed_forward_length": shared, **{key: one for key, one in found.items() if one is not None}}


BAILING_MOE = HuggingFace(
    classes=("BailingMoeForCausalLM",),
    names=(
        *_SHARED,
        *layer_pair("attn_q", _QKV, split_heads(0, _counts), rotary=QUERIES),
        *layer_pair("attn_k", _QKV, split_heads(1, _counts), rotary=KEYS),
        *layer_pair("attn_v", _QKV, split_heads(2, _counts)),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-6, "norm_topk_prob": True, "routed_scaling_factor": 1.0},
    reads=READS,
    refuses=(("norm_head", False), ("norm_softmax", False)),
)
# Columns of unit length where the config asks for it, as those of Ling-lite and Ling-plus.
_UNIT_COLUMNS = mapped("unit columns", lambda x, _: x / (np.linalg.norm(x, axis=0, keepdims=True) + np.float32(1e-7)))
BAILING_MOE_NORMED = replace(
    BAILING_MOE,
    names=changed(BAILING_MOE.names, _UNIT_COLUMNS, "lm_head.weight"),
    fits=lambda config: bool(config.get("norm_head")),
    refuses=(("norm_softmax", False),),
)
BAILING_MOE_V2 = HuggingFace(
    classes=("BailingMoeV2ForCausalLM",),
    names=(
        *_SHARED,
        *in_layers(attn_qkv=_QKV, attn_q_norm="attention.query_layernorm", attn_k_norm="attention.key_layernorm"),
        TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.mlp.gate.expert_bias"),
    ),
    metadata=_read_second,
    defaults={
        **{"rms_norm_eps": 1e-6, "norm_topk_prob": True, "score_function": "sigmoid", "routed_scaling_factor": 2.5},
        **{"partial_rotary_factor": 0.5, "n_group": 8, "topk_group": 4},
    },
    reads=READS,
    refuses=(("use_qk_norm", True),),
)


@architecture("bailingmoe", hf=(BAILING_MOE_NORMED, BAILING_MOE), rope="pairs")
def bailingmoe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)


@architecture("bailingmoe2", hf=BAILING_MOE_V2)
def bailingmoe2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
