"""Nemotron Super's layers: transformers lacks the class; vectors come from the formulas, by numpy in f64."""

from __future__ import annotations

import numpy as np
from models.case import Case, Weights, small
from models.cases.grok import PLAIN, normed, rotated, softmax

_BLOCKS = [
    {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 5.0}},
    {"attention": {"n_heads_in_group": None, "replace_with_linear": True}, "ffn": {"ffn_mult": 3.0}},
    {"attention": {"n_heads_in_group": None, "replace_with_linear": False}, "ffn": {"ffn_mult": 5.0}},
    {"attention": {"n_heads_in_group": None, "replace_with_linear": False}, "ffn": {"ffn_mult": None}},
    {"attention": {"n_heads_in_group": 4, "replace_with_linear": False}, "ffn": {"ffn_mult": 8.0}},
]
_HIDDEN = (256, 256, 256, 0, 512)


def _shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens": (256, 64), "lm_head": (256, 64), "model.norm": (64,)}
    for i, (block, hidden) in enumerate(zip(_BLOCKS, _HIDDEN, strict=True)):
        at, share = f"model.layers.{i}", block["attention"]["n_heads_in_group"]
        if share:
            found |= {f"{at}.self_attn.{one}_proj": (64, 64) for one in "qo"}
            found |= {f"{at}.self_attn.{one}_proj": (64 // share, 64) for one in "kv"}
        if block["attention"].get("replace_with_linear"):
            found[f"{at}.self_attn.linear_attn"] = (64, 64)
        if share or block["attention"].get("replace_with_linear"):
            found[f"{at}.input_layernorm"] = (64,)
        if hidden:
            found |= {f"{at}.mlp.{one}_proj": (hidden, 64) for one in ("gate", "up")}
            found |= {f"{at}.mlp.down_proj": (64, hidden), f"{at}.post_attention_layernorm": (64,)}
    return {f"{name}.weight": shape for name, shape in found.items()}


def attend(h: np.ndarray, w: Weights, speeds: np.ndarray, window: int) -> np.ndarray:
    """Four heads of width 16, which see so many positions, the own one counted. Shapes: [T, D] -> [T, D]."""
    q, k = (rotated(h @ w[f"self_attn.{one}_proj"].T, speeds) for one in "qk")
    v = (h @ w["self_attn.v_proj"].T).reshape(len(h), -1, 16)
    k, v = (np.repeat(one, 4 // one.shape[1], axis=1) for one in (k, v))
    scores = np.einsum("the,nhe->htn", q, k) / 4
    seen = np.tri(len(h), dtype=bool) & ~np.tri(len(h), k=-window, dtype=bool)
    shares = softmax(np.where(seen, scores, -np.inf))
    return np.einsum("htn,nhe->the", shares, v).reshape(len(h), -1) @ w["self_attn.o_proj"].T


def _deci(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removesuffix(".weight").removeprefix("model."): one.astype(np.float64) for name, one in weights.items()}
    x = t["embed_tokens"][ids]
    for i in range(len(_BLOCKS)):
        at = f"layers.{i}."
        w = {name.removeprefix(at): one for name, one in t.items() if name.startswith(at)}
        if "input_layernorm" in w:
            h = normed(x, w["input_layernorm"])
            matrix = w.get("self_attn.linear_attn")
            x = x + (attend(h, w, PLAIN, len(x)) if matrix is None else h @ matrix.T)
        if "mlp.up_proj" in w:
            h = normed(x, w["post_attention_layernorm"])
            gate = h @ w["mlp.gate_proj"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
    return normed(x, t["norm"]) @ t["lm_head"].T


CASES = {
    "deci": Case(
        small(
            *("DeciLMForCausalLM", "nemotron-nas"),
            num_hidden_layers=len(_BLOCKS),
            block_configs=_BLOCKS,
            intermediate_size=None,
            num_key_value_heads=None,
            head_dim=None,
        ),
        shapes=_shapes(),
        by_hand=_deci,
    )
}
