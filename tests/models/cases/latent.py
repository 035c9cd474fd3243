"""Latent attention whose keys and values are cached whole: MiniCPM 3, and PLM by its formulas."""

from __future__ import annotations

import numpy as np
from models.case import Case, Weights, small
from models.cases.formulas import attention, heads, inside, linear, pairs, plain, rms, speeds

_STILL, _TURNING, _VALUE, _LATENT, _HEADS = 24, 8, 16, 32, 4
_SIZES = {
    **{"kv_lora_rank": _LATENT, "qk_nope_head_dim": _STILL, "qk_rope_head_dim": _TURNING, "v_head_dim": _VALUE},
    **{"head_dim": None, "num_key_value_heads": _HEADS},
}
_LONG = {
    **{"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 512},
    **{"long_factor": [1.0, 2.0, 3.0, 4.0], "short_factor": [1.0, 1.1, 1.2, 1.3]},
}
_PLM_LAYER = {
    **{"input_layernorm": (64,), "post_attention_layernorm": (64,), "self_attn.kv_a_layernorm": (_LATENT,)},
    **{"self_attn.q_proj": (_HEADS * (_STILL + _TURNING), 64)},
    **{"self_attn.kv_a_proj_with_mqa": (_LATENT + _TURNING, 64)},
    **{"self_attn.kv_b_proj": (_HEADS * (_STILL + _VALUE), _LATENT), "self_attn.o_proj": (64, _HEADS * _VALUE)},
    **{"mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128)},
}
_PLM_SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,)},
    **{f"model.layers.{i}.{name}.weight": shape for i in range(2) for name, shape in _PLM_LAYER.items()},
}


def _plm(weights: Weights, ids: list[int]) -> np.ndarray:
    t, speed = plain(weights, "model."), speeds(_TURNING)
    x = t["embed_tokens"][ids]
    for i in range(2):
        w = inside(t, f"layers.{i}.")
        h = rms(x, w["input_layernorm"])
        q = heads(linear(h, w, "self_attn.q_proj"), _STILL + _TURNING)
        q = np.concatenate([q[..., :_STILL], pairs(q[..., _STILL:], speed)], axis=-1)
        row, turning = np.split(linear(h, w, "self_attn.kv_a_proj_with_mqa"), [_LATENT], axis=1)
        wide = heads(linear(rms(row, w["self_attn.kv_a_layernorm"]), w, "self_attn.kv_b_proj"), _STILL + _VALUE)
        turned = np.repeat(pairs(turning[:, None], speed), _HEADS, axis=1)
        k = np.concatenate([wide[..., :_STILL], turned], axis=-1)
        a = attention(q, k, wide[..., _STILL:], (_STILL + _TURNING) ** -0.5)
        x = x + linear(a, w, "self_attn.o_proj")
        up = linear(rms(x, w["post_attention_layernorm"]), w, "mlp.up_proj")
        x = x + linear(np.maximum(up, 0) ** 2, w, "mlp.down_proj")
    return rms(x, t["norm"]) @ t["embed_tokens"].T


_INDEXED = {
    **{**_SIZES, "q_lora_rank": 48, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    **{"n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "norm_topk_prob": True},
    **{"index_topk": 512, "index_head_dim": 64, "index_n_heads": 4, "scoring_func": "sigmoid"},
}
CASES = {
    "deepseek32": Case(
        small("DeepseekV32ForCausalLM", "deepseek_v32", **_INDEXED, n_group=2, topk_group=1, rms_norm_eps=1e-6)
    ),
    "glm-dsa": Case(
        small(
            *("GlmMoeDsaForCausalLM", "glm_moe_dsa"),
            **{**_INDEXED, "n_group": 1, "topk_group": 1},
            indexer_types=["full", "shared"],
        )
    ),
    "minicpm3": Case(
        small(
            *("MiniCPM3ForCausalLM", "minicpm3"),
            **{**_SIZES, "q_lora_rank": 48, "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256},
            rope_parameters=_LONG,
        ),
        embedding_spread=0.05,
    ),
    "plm": Case(
        small("PLMForCausalLM", "plm", **_SIZES, hidden_act="relu2", tie_word_embeddings=True),
        shapes=_PLM_SHAPES,
        by_hand=_plm,
    ),
}
