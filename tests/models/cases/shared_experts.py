"""DeepSeek MoE and Ling: classes that transformers lacks, computed by Qwen 2 and GLM 4.5 with experts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from models.case import Case, Config, Weights, small

Shapes = dict[str, tuple[int, ...]]

_SIZES = {"num_experts_per_tok": 2, "moe_intermediate_size": 64, "first_k_dense_replace": 1}
_GROUPS = {"n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": True}
_HALF = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
_GATED = {"gate_proj": (64, 64), "up_proj": (64, 64), "down_proj": (64, 64)}
_NAMES = {
    **{"word_embeddings": "embed_tokens", "attention.dense": "self_attn.o_proj", "attention.": "self_attn."},
    **{"query_layernorm": "q_norm", "key_layernorm": "k_norm", "expert_bias": "e_score_correction_bias"},
}


def _shapes(embedding: str, attention: Shapes, experts: int, dense: int) -> Shapes:
    """Two layers, of which the first `dense` ones have no experts; shared experts are two."""
    found: Shapes = {f"model.{embedding}.weight": (256, 64), "lm_head.weight": (256, 64)}
    found["model.norm.weight"] = (64,)
    for i in range(2):
        parts = {"input_layernorm": (64,), "post_attention_layernorm": (64,), **attention}
        if i < dense:
            parts |= {"mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128)}
        else:
            parts |= {"mlp.gate": (experts, 64), "mlp.shared_experts.gate_proj": (128, 64)}
            parts |= {"mlp.shared_experts.up_proj": (128, 64), "mlp.shared_experts.down_proj": (64, 128)}
            parts |= {f"mlp.experts.{e}.{name}": shape for e in range(experts) for name, shape in _GATED.items()}
        found |= {f"model.layers.{i}.{name}.weight": shape for name, shape in parts.items()}
    return found


_LLAMA = {
    **{"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64)},
    **{"self_attn.v_proj": (32, 64), "self_attn.o_proj": (64, 64)},
}
_FUSED = {"attention.query_key_value": (128, 64), "attention.dense": (64, 64)}
_NORMS = {"attention.query_layernorm": (16,), "attention.key_layernorm": (16,)}
_DEEPSEEK = _shapes("embed_tokens", _LLAMA, 6, 1)
_LING = _shapes("word_embeddings", _FUSED, 6, 0)
_LING2 = _shapes("word_embeddings", _FUSED | _NORMS, 8, 1) | {"model.layers.1.mlp.gate.expert_bias": (8,)}


def _renamed(weights: Weights) -> Weights:
    """In Llama's words, queries, keys and values apart."""
    found = {}
    for name, values in weights.items():
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        if "query_key_value" in name:
            for part, rows in zip("qkv", np.split(values, [64, 96]), strict=True):
                found[name.replace("query_key_value", f"{part}_proj")] = rows
        else:
            found[name] = values
    return found


def _with_open_gates(weights: Weights) -> Weights:
    """Qwen's shared expert has a gate: one of nothing halves it, so it counts twice."""
    found = {}
    for name, values in _renamed(weights).items():
        twice = name.endswith("shared_experts.down_proj.weight")
        found[name.replace("shared_experts", "shared_expert")] = values * np.float32(2) if twice else values
    for i in range(2):
        if f"model.layers.{i}.mlp.gate.weight" in found:
            found[f"model.layers.{i}.mlp.shared_expert_gate.weight"] = np.zeros((1, 64), np.float32)
        for part, rows in (("q", 64), ("k", 32), ("v", 32)):
            found[f"model.layers.{i}.self_attn.{part}_proj.bias"] = np.zeros(rows, np.float32)
    return found


def _as_qwen2moe(dense: int, normed: bool) -> Callable[[Weights], tuple[Config, Weights]]:
    more = {"num_experts_per_tok": 2, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 128}
    config = small(
        *("Qwen2MoeForCausalLM", "qwen2_moe"),
        **{**more, "num_experts": 6, "mlp_only_layers": list(range(dense)), "norm_topk_prob": normed},
        use_sliding_window=False,
        decoder_sparse_step=1,
    )
    return lambda weights: (config, _with_open_gates(weights))


def _as_glm4moe(weights: Weights) -> tuple[Config, Weights]:
    more = {"n_routed_experts": 8, "n_shared_experts": 2, "use_qk_norm": True}
    return small("Glm4MoeForCausalLM", "glm4_moe", **_SIZES, **_GROUPS, **_HALF, **more), _renamed(weights)


CASES = {
    "deepseek": Case(
        small(
            *("DeepseekForCausalLM", "deepseek"),
            **{**_SIZES, "n_routed_experts": 6, "n_shared_experts": 2, "norm_topk_prob": False},
            head_dim=None,
        ),
        shapes=_DEEPSEEK,
        stand_in=_as_qwen2moe(1, normed=False),
    ),
    "bailingmoe": Case(
        small(
            *("BailingMoeForCausalLM", "bailing_moe"),
            **{**_SIZES, "first_k_dense_replace": 0, "num_experts": 6, "num_shared_experts": 2},
            norm_topk_prob=True,
        ),
        shapes=_LING,
        stand_in=_as_qwen2moe(0, normed=True),
    ),
    "bailingmoe2": Case(
        small(
            *("BailingMoeV2ForCausalLM", "bailing_moe"),
            **{**_SIZES, **_GROUPS, **_HALF, "num_experts": 8, "num_shared_experts": 2},
            score_function="sigmoid",
            use_qk_norm=True,
        ),
        shapes=_LING2,
        stand_in=_as_glm4moe,
    ),
}
