"""Attention over the paged KV cache.

Shapes: T tokens in the step, H query heads, K key heads, E key width, F value width, N keys of a sequence.
"""

from __future__ import annotations

import math
from typing import Any

from pacos.ir.graph import CacheSlot, Shape, Tensor, require
from pacos.ir.registry import op
from pacos.lazy import np

Array = Any


def _attention_shape(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None = None,
    biases: Tensor | None = None,
    *,
    cache: CacheSlot,
    window: int,
    chunk: int | None,
    bidirectional: bool,
    softcap: float,
    max_bias: float | None,
    after_source: bool | None,
    reach: int | None,
    **_: Any,
) -> Shape:
    H, K = int(q.shape[1]), int(k.shape[1])
    require(H % K == 0, f"{H} query heads do not share {K} key heads evenly")
    require(q.shape[2] == k.shape[2], f"queries have width {q.shape[2]}, keys {k.shape[2]}")
    require(v.shape[1] == K, f"{K} key heads, {v.shape[1]} value heads")
    require(sinks is None or sinks.shape == (H,), f"{H} query heads, but other sinks")
    require((biases is None) == (reach is None), "biases of distances and their reach come together")
    require(biases is None or biases.shape[1:] == (H,), f"{H} query heads, but other biases")
    require(biases is None or not (max_bias or softcap), "biases of distances beside ALiBi's, or bent scores")
    require(not (after_source and bidirectional), "who looks past the source looks back alone")
    require(not (window and chunk), f"a window of {window} and chunks of {chunk}: one of them alone")
    require(not (chunk and bidirectional), f"chunks of {chunk} look back alone, attention here looks both ways")
    return (q.shape[0], H * int(v.shape[2]))


def alibi_slopes(heads: int, max_bias: float, factor: float) -> list[float]:
    """ALiBi's slope of each head: powers of one ratio; heads beyond a power of two take those in between."""
    whole = 1 << (heads.bit_length() - 1)
    plain = [2 ** (-max_bias * (i + 1) / whole) for i in range(whole)]
    between = [2 ** (-max_bias * (i + 0.5) / whole) for i in range(heads - whole)]
    return [factor * slope for slope in plain + between]


def distance_buckets(count: int, reach: int, *, bidirectional: bool) -> list[int]:
    """Which of T5's biases each distance from a query to a key takes, for distances from -reach to reach.

    The nearer half has one each, farther ones share on a logarithmic scale; both ways, each direction has half of all.
    Source: arXiv:1910.10683; transformers' modeling_t5.py.
    """
    own = count // 2 if bidirectional else count
    exact = own // 2

    def bucket(distance: int) -> int:
        if distance < exact:
            return distance
        share = math.log(distance / exact) / math.log(reach / exact)
        return min(own - 1, exact + int(share * (own - exact) + 1e-6))

    ahead = [own + bucket(distance) if bidirectional else 0 for distance in range(1, reach + 1)]
    return [*(bucket(distance) for distance in range(reach, -1, -1)), *ahead]


@op(shape=_attention_shape, ulp=512, pure=False)
def attention(
    q: Array,
    k: Array,
    v: Array,
    sinks: Array | None = None,
    biases: Array | None = None,
    *,
    cache: Any,
    scale: float,
    window: int = 0,
    chunk: int | None = None,
    softcap: float = 0.0,
    bidirectional: bool = False,
    max_bias: float | None = None,
    after_source: bool | None = None,
    reach: int | None = None,
    bias_factor: float | None = None,
) -> Array:
    """Store keys and values, then attend within each sequence: causally, or to all of its positions up to the last.

    Shapes: q [T, H, E], k [T, K, E], v [T, K, F] -> [T, H * F]. A window of W keeps the last W positions, the own one
    counted, or both ways those that are at most W // 2 away; 0 keeps all. Chunks of C positions see nothing of those
    before. `sinks` [H] are scores that each head spends on nothing. softcap > 0 bends scores to cap * tanh(score/cap).
    With `max_bias` each score falls by the distance times its head's slope, and times the factor where there is one. To
    each score its head's one of the `biases` [B, H] is added, by the distance, at most `reach` (see
    `distance_buckets`). With `after_source` keys of a sequence's source, which an encoder has read, are not seen.
    Source: arXiv:1706.03762; slopes: arXiv:2108.12409 (ALiBi); biases: arXiv:1910.10683 (T5).
    """
    cache.append(k, v)
    T, H, _ = q.shape
    y = np.empty((T, H, v.shape[2]), np.float32)  # [T, H, F]
    for rows, positions, keys, values, source in cache.sequences():
        group = H // keys.shape[1]
        keys, values = np.repeat(keys, group, axis=1), np.repeat(values, group, axis=1)  # [N, H, E], [N, H, F]
        scores = np.einsum("the,nhe->htn", q[rows], keys) * np.float32(scale)  # [H, T, N]
        if softcap:
            scores = np.float32(softcap) * np.tanh(scores / np.float32(softcap))
        distance = positions[:, None] - np.arange(keys.shape[0])[None, :]  # [T, N]
        if max_bias is not None:
            slopes = np.array(alibi_slopes(H, max_bias, bias_factor or 1.0), np.float32)[:, None, None]  # [H, 1, 1]
            scores = scores - slopes * np.abs(distance).astype(np.float32)
        if biases is not None and reach is not None:
            buckets = np.array(distance_buckets(len(biases), reach, bidirectional=bidirectional))
            scores = scores + biases.T[:, buckets[reach + np.clip(-distance, -reach, reach)]]
        hidden = np.zeros_like(distance, bool) if bidirectional else distance < 0
        if after_source:
            hidden |= np.arange(keys.shape[0])[None, :] < source
        if window:
            hidden |= np.abs(distance) > window // 2 if bidirectional else distance >= window
        if chunk:
            hidden |= np.arange(keys.shape[0])[None, :] < (positions // chunk * chunk)[:, None]
        scores = np.where(hidden, np.float32(-np.inf), scores)
        lost = np.full((H, 1, 1), -np.inf, np.float32) if sinks is None else sinks[:, None, None]  # [H, 1, 1]
        top = np.maximum(scores.max(axis=-1, keepdims=True), lost)
        weights = np.exp(scores - top)
        weights /= weights.sum(axis=-1, keepdims=True) + np.exp(lost - top)
        y[rows] = np.einsum("htn,nhf->thf", weights, values)
    return y.reshape(T, -1)


def _store_shape(k: Tensor, v: Tensor, *, cache: CacheSlot) -> list[Shape]:
    require(k.shape[:2] == v.shape[:2], f"keys {k.shape} and values {v.shape} differ in heads")
    return []


@op(shape=_store_shape, pure=False)
def store(k: Array, v: Array, *, cache: Any) -> tuple[()]:
    """Keep keys and values of a source, for decoders to attend to. Shapes: k [T, K, E], v [T, K, F]; no result."""
    cache.append(k, v)
    return ()


def _cross_shape(q: Tensor, *, cache: CacheSlot, key_heads: int, value_width: int, scale: float) -> Shape:
    require(int(q.shape[1]) % key_heads == 0, f"{q.shape[1]} query heads do not share {key_heads} key heads evenly")
    return (q.shape[0], int(q.shape[1]) * value_width)


@op(shape=_cross_shape, ulp=512, pure=False)
def cross_attention(q: Array, *, cache: Any, key_heads: int, value_width: int, scale: float) -> Array:
    """Attend to the whole source of each sequence, whose keys and values were stored before.

    Shapes: q [T, H, E] -> [T, H * F]; the cache holds K key heads. Source: arXiv:1706.03762.
    """
    T, H, _ = q.shape
    y = np.empty((T, H, value_width), np.float32)  # [T, H, F]
    cache.heads = key_heads
    for rows, _, keys, values, source in cache.sequences():
        group = H // key_heads
        keys, values = (np.repeat(part[:source], group, axis=1) for part in (keys, values))  # [N, H, E], [N, H, F]
        scores = np.einsum("the,nhe->htn", q[rows], keys) * np.float32(scale)  # [H, T, N]
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        y[rows] = np.einsum("htn,nhf->thf", weights, values)
    return y.reshape(T, -1)
