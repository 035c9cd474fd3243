"""A tiny random RWKV 6 as a GGUF file, and its logits computed by plain numpy from the paper's formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from models.rwkv import HEAD, HIDDEN, RANK, WIDTH, before, drawn, norm, save, sigmoid
from models.tiny import LAYERS, VOCAB

_MIXED = "wkvrg"  # the order in which fused shares lie


def weights() -> dict[str, np.ndarray]:
    """Tensors by their GGUF names, f32; the first layer has its shares in one, the others apart, as older files."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, WIDTH), "output.weight": (VOCAB, WIDTH)}
    norms = ["token_embd_norm", "output_norm"]
    for i in range(LAYERS):
        at, mix = f"blk.{i}.", f"blk.{i}.time_mix_"
        norms += [f"{at}attn_norm", f"{at}attn_norm_2", f"{mix}ln"]
        shapes |= {f"{mix}w1.weight": (5 * RANK, WIDTH), f"{mix}w2.weight": (5, WIDTH, RANK)}
        shapes |= {f"{mix}decay_w1.weight": (RANK, WIDTH), f"{mix}decay_w2.weight": (WIDTH, RANK)}
        shapes |= {f"{mix}decay.weight": (WIDTH,), f"{mix}first.weight": (WIDTH // HEAD, HEAD)}
        fused = {f"{mix}lerp_fused.weight": (5, 1, 1, WIDTH)}
        shapes |= fused if i == 0 else {f"{mix}lerp_{one}.weight": (1, 1, WIDTH) for one in _MIXED}
        shapes |= {f"{mix}{name}.weight": (WIDTH, WIDTH) for name in ("key", "value", "receptance", "gate", "output")}
        shapes |= {f"{mix}lerp_x.weight": (1, 1, WIDTH)}
        shapes |= {f"{at}channel_mix_lerp_{one}.weight": (1, 1, WIDTH) for one in "kr"}
        shapes |= {f"{at}channel_mix_key.weight": (HIDDEN, WIDTH), f"{at}channel_mix_value.weight": (WIDTH, HIDDEN)}
        shapes |= {f"{at}channel_mix_receptance.weight": (WIDTH, WIDTH)}
    return drawn(shapes | {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")})


def write_file(path: Path) -> Path:
    """The model with a vocabulary of no words; rows are halved behind every layer."""
    more = {"rescale_every_n_layers": 1, "time_mix_extra_dim": RANK, "time_decay_extra_dim": RANK}
    return save(path, "rwkv6", more, weights())


def by_hand(ids: list[int]) -> np.ndarray:
    """Logits after each token in double precision: arXiv:2404.05892, section 4 (RWKV 6, "Finch")."""
    t = {name: one.astype(np.float64) for name, one in weights().items()}
    x = norm(t["token_embd.weight"][ids], t, "token_embd_norm")
    for i in range(LAYERS):
        w = {name.removeprefix(f"blk.{i}."): one for name, one in t.items() if name.startswith(f"blk.{i}.")}
        x = x + _time_mix(norm(x, w, "attn_norm"), w)
        h = norm(x, w, "attn_norm_2")
        k, r = (h + (before(h) - h) * w[f"channel_mix_lerp_{one}.weight"].reshape(-1) for one in "kr")
        value = np.maximum(k @ w["channel_mix_key.weight"].T, 0) ** 2 @ w["channel_mix_value.weight"].T
        x = (x + sigmoid(r @ w["channel_mix_receptance.weight"].T) * value) / 2
    return norm(x, t, "output_norm") @ t["output.weight"].T


def _time_mix(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    m = {name.removeprefix("time_mix_").removesuffix(".weight"): one for name, one in w.items()}
    change = before(x) - x
    narrow = np.tanh((x + change * m["lerp_x"].reshape(-1)) @ m["w1"].T).reshape(len(x), 5, RANK)
    shares = m["lerp_fused"].reshape(5, WIDTH) if "lerp_fused" in m else [m[f"lerp_{one}"].ravel() for one in _MIXED]
    xw, xk, xv, xr, xg = (x + change * (shares[n] + narrow[:, n] @ m["w2"][n].T) for n in range(5))
    decay = np.exp(-np.exp(m["decay"] + np.tanh(xw @ m["decay_w1"].T) @ m["decay_w2"].T))
    r, k, v = xr @ m["receptance"].T, xk @ m["key"].T, xv @ m["value"].T
    r, decay, k, v = (one.reshape(len(x), -1, HEAD) for one in (r, decay, k, v))
    state, y = np.zeros((WIDTH // HEAD, HEAD, HEAD)), np.empty_like(r)
    for t in range(len(x)):
        new = v[t, :, :, None] * k[t, :, None]
        y[t] = np.einsum("hij,hj->hi", state + new * m["first"][:, None], r[t])
        state = state * decay[t, :, None] + new
    normed = norm(y.reshape(x.shape), {"ln.weight": m["ln"], "ln.bias": w["time_mix_ln.bias"]}, "ln", 64e-5, HEAD)
    gate = xg @ m["gate"].T
    return normed * gate * sigmoid(gate) @ m["output"].T
