"""Llamas of other names, by Llama or by their formulas: Pangu, Maincoder, Nanbeige, PLaMo 3."""

from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small
from models.cases.formulas import attention, gated, halves, heads, inside, linear, pairs, plain, rms, silu, speeds

_WIDTH, _LOOPS, _WINDOW = 16, 2, 40
_ATTENTION = {f"self_attn.{one}_proj": shape for one, shape in zip("qkvo", ((64, 64), (32, 64)) * 2, strict=True)}
_ATTENTION |= {"self_attn.v_proj": (32, 64), "self_attn.o_proj": (64, 64)}
_LAYER = {
    **{"input_layernorm": (64,), "post_attention_layernorm": (64,), **_ATTENTION},
    **{"mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128)},
}
_ENDS = {"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,), "lm_head.weight": (256, 64)}
_NORMS = {"self_attn.q_norm": (16,), "self_attn.k_norm": (16,)}
_BIASES = {f"{name}.bias": shape[:1] for name, shape in _ATTENTION.items()}
_PLAMO = {
    **{f"{when}_{part}_norm": (64,) for when in ("pre", "post") for part in ("mixer", "mlp")},
    **{"mixer.qkv_proj": (128, 64), "mixer.o_proj": (64, 64), "mixer.q_norm": (16,), "mixer.k_norm": (16,)},
    **{"mlp.gate_up_proj": (256, 64), "mlp.down_proj": (64, 128)},
}


def _shapes(layer: dict[str, tuple[int, ...]], at: str = "model.layers", layers: int = 2) -> dict[str, tuple[int, ...]]:
    names = {name if name.endswith(".bias") else f"{name}.weight": shape for name, shape in layer.items()}
    return _ENDS | {f"{at}.{i}.{name}": shape for i in range(layers) for name, shape in names.items()}


def _as_llama(weights: Weights) -> tuple[Config, Weights]:
    return small("LlamaForCausalLM", "llama", attention_bias=True), weights


def _projected(h: np.ndarray, w: Weights) -> list[np.ndarray]:
    return [heads(linear(h, w, f"self_attn.{one}_proj"), _WIDTH) for one in "qkv"]


def _maincoder(weights: Weights, ids: list[int]) -> np.ndarray:
    t = plain(weights, "model.")
    x = t["embed_tokens"][ids]
    for i in range(2):
        w = inside(t, f"layers.{i}.")
        q, k, v = _projected(rms(x, w["input_layernorm"]), w)
        q, k = (rms(pairs(one, speeds(_WIDTH)), w[f"self_attn.{name}_norm"]) for name, one in (("q", q), ("k", k)))
        x = x + linear(attention(q, k, v, _WIDTH**-0.5), w, "self_attn.o_proj")
        x = x + gated(rms(x, w["post_attention_layernorm"]), w)
    return rms(x, t["norm"]) @ t["lm_head"].T


def _nanbeige(weights: Weights, ids: list[int]) -> np.ndarray:
    t = plain(weights, "model.")
    x = t["embed_tokens"][ids]
    for _ in range(_LOOPS):
        for i in range(2):
            w = inside(t, f"layers.{i}.")
            q, k, v = _projected(rms(x, w["input_layernorm"]), w)
            q, k = (halves(one, speeds(_WIDTH)) for one in (q, k))
            x = x + linear(attention(q, k, v, _WIDTH**-0.5), w, "self_attn.o_proj")
            x = x + gated(rms(x, w["post_attention_layernorm"]), w)
        x = rms(x, t["norm"])
    return x @ t["lm_head"].T


def _plamo3(weights: Weights, ids: list[int]) -> np.ndarray:
    """Layers with windows turn by another base; norms lie around what is added to them here."""
    t = plain(weights, "model.", "layers.layers.")
    x = t["embed_tokens"][ids]
    for i, (window, base) in enumerate(((_WINDOW, 10000.0), (0, 1e6))):
        w = inside(t, f"{i}.")
        qkv = rms(x, w["pre_mixer_norm"] + 1) @ w["mixer.qkv_proj"].T
        q, k, v = (heads(one, _WIDTH) for one in np.split(qkv, [64, 96], axis=1))
        q, k = (
            halves(rms(one, w[f"mixer.{name}_norm"] + 1), speeds(_WIDTH, base)) for name, one in (("q", q), ("k", k))
        )
        a = attention(q, k, v, _WIDTH**-0.5, window) @ w["mixer.o_proj"].T
        x = x + rms(a, w["post_mixer_norm"] + 1 / 5)
        gate, up = np.split(rms(x, w["pre_mlp_norm"] + 1) @ w["mlp.gate_up_proj"].T, 2, axis=1)
        x = x + rms((silu(gate) * up) @ w["mlp.down_proj"].T, w["post_mlp_norm"] + 1 / 5**1.5)
    return rms(x, t["norm"] + 1) @ t["lm_head"].T


CASES = {
    "pangu-embedded": Case(
        small("PanguEmbeddedForCausalLM", "PanguEmbedded", bias=True, head_dim=None),
        shapes=_shapes(_LAYER | _BIASES),
        stand_in=_as_llama,
    ),
    "maincoder": Case(small("MaincoderForCausalLM", "maincoder"), shapes=_shapes(_LAYER | _NORMS), by_hand=_maincoder),
    "nanbeige": Case(
        small("NanbeigeForCausalLM", "nanbeige", num_loops=_LOOPS, skip_loop_final_norm=False),
        shapes=_shapes(_LAYER),
        by_hand=_nanbeige,
    ),
    "plamo3": Case(
        small(
            *("Plamo3ForCausalLM", "plamo3"),
            window_size=_WINDOW,
            sliding_window_pattern=2,
            rope_theta=1000000,
            rope_local_theta=10000,
            rope_parameters=None,
        ),
        shapes=_shapes(_PLAMO, "model.layers.layers"),
        by_hand=_plamo3,
        norm=0.0,
    ),
}
