"""SmallThinker: transformers lacks the class; vectors come from the formulas, by numpy in f64."""

from __future__ import annotations

import functools

import numpy as np
from models.case import Case, Weights, small
from models.cases.deci import attend
from models.cases.grok import PLAIN, normed

EXPERTS, WINDOW = 6, 40
_STILL = np.zeros_like(PLAIN)


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens": (256, 64), "lm_head": (256, 64), "model.norm": (64,)}
    for i in range(layers):
        at = f"model.layers.{i}"
        found |= {f"{at}.self_attn.{one}_proj": (64, 64) for one in "qo"}
        found |= {f"{at}.self_attn.{one}_proj": (32, 64) for one in "kv"}
        found |= {f"{at}.input_layernorm": (64,), f"{at}.post_attention_layernorm": (64,)}
        found[f"{at}.block_sparse_moe.primary_router"] = (EXPERTS, 64)
        for e in range(EXPERTS):
            one = f"{at}.block_sparse_moe.experts.{e}"
            found |= {f"{one}.gate": (96, 64), f"{one}.up": (96, 64), f"{one}.down": (64, 96)}
    return {f"{name}.weight": shape for name, shape in found.items()}


def _mixture(h: np.ndarray, scores: np.ndarray, w: Weights) -> np.ndarray:
    y = np.zeros_like(h)
    for t, row in enumerate(h):
        chosen = np.argsort(-scores[t])[:2]
        shares = 1 / (1 + np.exp(-scores[t, chosen]))
        for e, share in zip(chosen, shares / shares.sum(), strict=True):
            gate, up, down = (w[f"block_sparse_moe.experts.{e}.{one}"] for one in ("gate", "up", "down"))
            y[t] += share * (np.maximum(row @ gate.T, 0) * (row @ up.T)) @ down.T
    return y


def _smallthinker(windows: tuple[int, ...], weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removesuffix(".weight").removeprefix("model."): one.astype(np.float64) for name, one in weights.items()}
    x = t["embed_tokens"][ids]
    for i, window in enumerate(windows):
        at = f"layers.{i}."
        w = {name.removeprefix(at): one for name, one in t.items() if name.startswith(at)}
        scores = x @ w["block_sparse_moe.primary_router"].T
        turns = window or not any(windows)
        x = x + attend(normed(x, w["input_layernorm"]), w, PLAIN if turns else _STILL, window or len(x))
        x = x + _mixture(normed(x, w["post_attention_layernorm"]), scores, w)
    return normed(x, t["norm"]) @ t["lm_head"].T


def _case(windows: tuple[int, ...], peer: str) -> Case:
    layout = [int(window > 0) for window in windows]
    config = small(
        *("SmallThinkerForCausalLM", "smallthinker"),
        num_hidden_layers=len(windows),
        moe_ffn_hidden_size=96,
        moe_num_primary_experts=EXPERTS,
        moe_num_active_primary_experts=2,
        moe_primary_router_apply_softmax=False,
        norm_topk_prob=True,
        rope_layout=layout if any(layout) else [1] * len(layout),
        sliding_window_layout=layout,
        sliding_window_size=WINDOW,
        rope_theta=10000.0,
        rope_parameters=None,
        intermediate_size=None,
        hidden_act=None,
    )
    by_hand = functools.partial(_smallthinker, windows)
    return Case(config, shapes=_shapes(len(windows)), by_hand=by_hand, peer=peer)


CASES = {
    "smallthinker": _case((0, 0), ""),
    "smallthinker-windows": _case((0, WINDOW, WINDOW, WINDOW), "has windows of 4096 positions alone"),
}
