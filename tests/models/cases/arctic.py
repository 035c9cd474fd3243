"""Arctic: transformers lacks the class; its vectors come from the formulas, in double precision by numpy.

Source: the modeling_arctic.py of the published folder: which part sees what; arXiv:2002.05202 (gated SiLU).
"""

from __future__ import annotations

import numpy as np
from models.case import Case, Weights, small
from models.cases.grok import HEADS, KEY_HEADS, WIDTH, normed, rotated, softmax

EXPERTS = 6
_CONFIG = small(
    *("ArcticForCausalLM", "arctic"),
    num_local_experts=EXPERTS,
    num_experts_per_tok=2,
    intermediate_size=96,
    moe_layer_frequency=1,
    parallel_attn_mlp_res=True,
    use_residual=True,
    head_dim=None,
)
_LAYER = {
    **{f"{one}_layernorm": (64,) for one in ("input", "residual", "post_attention")},
    **{"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64)},
    **{"self_attn.v_proj": (32, 64), "self_attn.o_proj": (64, 64)},
    **{f"residual_mlp.w{one}": (64, 64) for one in (1, 2, 3)},
    **{"block_sparse_moe.gate": (EXPERTS, 64)},
    **{f"block_sparse_moe.experts.{e}.w{one}": (96, 64) for e in range(EXPERTS) for one in (1, 3)},
    **{f"block_sparse_moe.experts.{e}.w2": (64, 96) for e in range(EXPERTS)},
}
_SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,), "lm_head.weight": (256, 64)},
    **{f"model.layers.{i}.{name}.weight": shape for i in range(2) for name, shape in _LAYER.items()},
}


def _attention(h: np.ndarray, w: Weights) -> np.ndarray:
    """Causal, each key head for neighbouring query heads."""
    groups = HEADS // KEY_HEADS
    q = rotated(h @ w["self_attn.q_proj"].T).reshape(len(h), KEY_HEADS, groups, WIDTH)
    v = (h @ w["self_attn.v_proj"].T).reshape(len(h), KEY_HEADS, WIDTH)
    scores = np.einsum("tkge,nke->kgtn", q, rotated(h @ w["self_attn.k_proj"].T)) / WIDTH**0.5
    scores += np.triu(np.full((len(h), len(h)), -np.inf), 1)
    return np.einsum("kgtn,nke->tkge", softmax(scores), v).reshape(len(h), -1) @ w["self_attn.o_proj"].T


def _unit(h: np.ndarray, w: Weights, at: str) -> np.ndarray:
    gate = h @ w[f"{at}.w1"].T
    return (gate / (1 + np.exp(-gate)) * (h @ w[f"{at}.w3"].T)) @ w[f"{at}.w2"].T


def _arctic(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removesuffix(".weight"): one.astype(np.float64) for name, one in weights.items()}
    x = t["model.embed_tokens"][ids]
    for i in range(2):
        at = f"model.layers.{i}."
        w = {name.removeprefix(at): one for name, one in t.items() if name.startswith(at)}
        y = x + _attention(normed(x, w["input_layernorm"]), w)
        y = y + _unit(normed(y, w["residual_layernorm"]), w, "residual_mlp")
        h = normed(x, w["post_attention_layernorm"])
        chances = softmax(h @ w["block_sparse_moe.gate"].T)
        shares = np.where(chances >= np.sort(chances)[:, -2:-1], chances, 0)  # of the best two
        shares /= shares.sum(axis=-1, keepdims=True)
        parts = (shares[:, e : e + 1] * _unit(h, w, f"block_sparse_moe.experts.{e}") for e in range(EXPERTS))
        x = y + sum(parts)
    return normed(x, t["model.norm"]) @ t["lm_head"].T


CASES = {"arctic": Case(_CONFIG, shapes=_SHAPES, by_hand=_arctic)}
