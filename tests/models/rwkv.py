"""A tiny random RWKV 7 as a GGUF file, and its logits computed by plain numpy from the paper's formulas."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from models.tiny import LAYERS, VOCAB

from pacos.formats.gguf_write import TensorData, write_gguf

WIDTH, HIDDEN, HEAD, RANK = 64, 128, 16, 32
EPS = 1e-5


def weights() -> dict[str, np.ndarray]:
    """Tensors by their GGUF names, f32."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, WIDTH), "output.weight": (VOCAB, WIDTH)}
    norms = ["token_embd_norm", "output_norm"]
    for i in range(LAYERS):
        at, mix = f"blk.{i}.", f"blk.{i}.time_mix_"
        norms += [f"{at}attn_norm", f"{at}attn_norm_2", f"{mix}ln"]
        for name in "wavg":
            shapes |= {f"{mix}{name}1.weight": (RANK, WIDTH), f"{mix}{name}2.weight": (WIDTH, RANK)}
        shapes |= {f"{mix}{name}.weight": (WIDTH,) for name in ("w0", "a0", "v0", "k_k", "k_a", "r_k")}
        shapes |= {f"{mix}{name}.weight": (WIDTH, WIDTH) for name in ("key", "value", "receptance", "output")}
        shapes |= {f"{mix}lerp_fused.weight": (6, 1, 1, WIDTH), f"{at}channel_mix_lerp_k.weight": (1, 1, WIDTH)}
        shapes |= {f"{at}channel_mix_key.weight": (HIDDEN, WIDTH), f"{at}channel_mix_value.weight": (WIDTH, HIDDEN)}
    shapes |= {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}
    return drawn(shapes)


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random values: norms lie around 1, shares of mixtures around a half."""
    found = {}
    for name, shape in shapes.items():
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
        matrix = len(shape) == 2
        centre = (
            1.0 if name.endswith(("norm.weight", "norm_2.weight", "ln.weight", "k_k.weight", "k_a.weight")) else 0.0
        )
        found[name] = values * np.float32(0.2 if matrix else 0.1) + np.float32(0.5 if "lerp" in name else centre)
    return found


def write_file(path: Path) -> Path:
    """The model with a vocabulary of no words."""
    ranks = {f"attention.{name}_lora_rank": RANK for name in ("decay", "iclr", "value_residual_mix", "gate")}
    return save(path, "rwkv7", ranks, weights())


def save(path: Path, key: str, more: dict[str, int], found: dict[str, np.ndarray]) -> Path:
    """Write a file of that architecture, whose tokens are no words."""
    own = {
        **{"block_count": LAYERS, "embedding_length": WIDTH, "feed_forward_length": HIDDEN, "context_length": 1 << 20},
        **{
            "attention.head_count": 0,
            "vocab_size": VOCAB,
            "wkv.head_size": HEAD,
            "attention.layer_norm_epsilon": EPS,
            **more,
        },
    }
    metadata = {
        "general.architecture": key,
        **{f"{key}.{name}": value for name, value in own.items()},
        "tokenizer.ggml.model": "no_vocab",
        "tokenizer.ggml.tokens": [f"[PAD{i}]" for i in range(VOCAB)],
    }
    tensors = [TensorData(name, values.shape, "F32", lambda v=values: [v.tobytes()]) for name, values in found.items()]
    write_gguf(path, metadata, tensors)
    return path


def by_hand(ids: list[int]) -> np.ndarray:
    """Logits after each token in double precision: arXiv:2503.14456, section 4."""
    t = {name: one.astype(np.float64) for name, one in weights().items()}
    x = norm(t["token_embd.weight"][ids], t, "token_embd_norm")
    first = None
    for i in range(LAYERS):
        w = {name.removeprefix(f"blk.{i}."): one for name, one in t.items() if name.startswith(f"blk.{i}.")}
        mixed, first = _time_mix(norm(x, w, "attn_norm"), first, w)
        x = x + mixed
        h = norm(x, w, "attn_norm_2")
        h = h + (before(h) - h) * w["channel_mix_lerp_k.weight"].reshape(-1)
        x = x + np.maximum(h @ w["channel_mix_key.weight"].T, 0) ** 2 @ w["channel_mix_value.weight"].T
    return norm(x, t, "output_norm") @ t["output.weight"].T


def norm(x: np.ndarray, w: dict[str, np.ndarray], name: str, eps: float = EPS, width: int = WIDTH) -> np.ndarray:
    """A layer norm of each part of that width."""
    rows = x.reshape(len(x), -1, width)
    centred = rows - rows.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return normed.reshape(x.shape) * w[f"{name}.weight"] + w[f"{name}.bias"]


def before(x: np.ndarray) -> np.ndarray:
    """Each row's predecessor."""
    return np.concatenate([np.zeros((1, WIDTH)), x[:-1]])


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def _time_mix(x: np.ndarray, first: np.ndarray | None, w: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    m = {name.removeprefix("time_mix_").removesuffix(".weight"): one for name, one in w.items()}
    shares = m["lerp_fused"].reshape(6, WIDTH)
    xr, xw, xk, xv, xa, xg = (x + (before(x) - x) * share for share in shares)
    r, k, v = xr @ m["receptance"].T, xk @ m["key"].T, xv @ m["value"].T
    decay = np.exp(-np.exp(-0.5) * sigmoid(np.tanh(xw @ m["w1"].T) @ m["w2"].T + m["w0"]))
    if first is not None:
        v = v + (first - v) * sigmoid(xv @ m["v1"].T @ m["v2"].T + m["v0"])
    a = sigmoid(xa @ m["a1"].T @ m["a2"].T + m["a0"])
    removed = (k * m["k_k"]).reshape(len(x), -1, HEAD)
    removed = removed / np.linalg.norm(removed, axis=-1, keepdims=True)
    k = k * (1 + (a - 1) * m["k_a"])
    r, decay, k, v_heads, a = (one.reshape(len(x), -1, HEAD) for one in (r, decay, k, v, a))
    state, y = np.zeros((WIDTH // HEAD, HEAD, HEAD)), np.empty_like(r)
    for t in range(len(x)):
        change = -np.einsum("hij,hj->hi", state, removed[t])
        state = state * decay[t, :, None] + change[:, :, None] * (removed * a)[t, :, None]
        state = state + v_heads[t, :, :, None] * k[t, :, None]
        y[t] = np.einsum("hij,hj->hi", state, r[t])
    y = norm(y.reshape(x.shape), {**w, "ln.weight": m["ln"], "ln.bias": w["time_mix_ln.bias"]}, "ln", 64e-5, HEAD)
    bonus = (r * k * m["r_k"].reshape(-1, HEAD)).sum(axis=-1, keepdims=True) * v_heads
    y = (y + bonus.reshape(x.shape)) * (sigmoid(xg @ m["g1"].T) @ m["g2"].T)
    return y @ m["output"].T, v if first is None else first
