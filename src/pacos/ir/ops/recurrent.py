"""Recurrences over a sequence: short convolutions, state-space scans, delta rules, RWKV's attention.

Each op goes on from the state that its sequence had after the step before, and leaves the next one. Tokens are taken
one by one in order of position, so that a prompt at once and token by token are the same computation.
Shapes: T tokens in the step, C channels, L taps, H heads, K key heads, G groups, D width of a head's result, N width of
a state's row.
"""

from __future__ import annotations

import math
from typing import Any

from pacos.ir.graph import Shape, Tensor, require
from pacos.ir.registry import op, sample
from pacos.lazy import np

Array = Any

TAPS_MAX = 16
ROW_WIDTH_MAX = 1024  # of a state's row


def _channels(w: Tensor) -> int:
    return math.prod(int(size) for size in w.shape[:-1])


def _conv_shape(x: Tensor, w: Tensor, bias: Tensor | None, **_: Any) -> Shape:
    channels, taps = _channels(w), int(w.shape[-1])
    require(len(w.shape) >= 2 and len(x.shape) == 2, f"{w.name} must be [channels, taps], it is {w.shape}")
    require(x.shape[1] == channels, f"{w.name} is {w.shape}, its input has {x.shape[1]} channels")
    require(2 <= taps <= TAPS_MAX, f"{w.name} has {taps} taps, 2 to {TAPS_MAX} are possible")
    require(bias is None or bias.shape == (channels,), f"{w.name} is {w.shape}, its bias is of another width")
    return x.shape


@op(shape=_conv_shape, state=lambda x, w, *_: _channels(w) * (int(w.shape[-1]) - 1), ulp=64)
def short_conv(x: Array, w: Array, bias: Array | None, *, state: Any) -> Array:
    """Convolve each channel with its own taps, the last of which meets the token itself; before the text are zeros.

    Shapes: x [T, C], w [C, L] (axes of 1 between or before are no matter), bias [C] or None -> [T, C]. The state holds
    the last L - 1 rows.
    Source: arXiv:2312.00752.
    """
    y = np.empty(x.shape, np.float32)
    L = w.shape[-1]
    w = w.reshape(-1, L)
    for rows, before in state.sequences((L - 1, x.shape[1])):
        window = np.concatenate([before, x[rows]])  # [L - 1 + T, C]
        T = x[rows].shape[0]
        y[rows] = sum(window[j : j + T] * w[:, j] for j in range(L)) + (0 if bias is None else bias)
        before[:] = window[T:]
    return y


@op(shape=lambda x, **_: x.shape, state=lambda x: int(x.shape[1]), ulp=0)
def token_before(x: Array, *, state: Any) -> Array:
    """Each row's predecessor; zeros before the first. Shapes: [T, D] -> [T, D]. Source: arXiv:2305.13048."""
    y = np.empty(x.shape, np.float32)
    for rows, before in state.sequences((1, x.shape[1])):
        window = np.concatenate([before, x[rows]])
        y[rows] = window[:-1]
        before[:] = window[-1:]
    return y


def _check_rows(*operands: Tensor) -> None:
    for one in operands:
        width = int(one.shape[-1])
        require(width <= ROW_WIDTH_MAX, f"{one.name}: a state's rows are {width} wide, at most {ROW_WIDTH_MAX}")


def _selective_shape(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, a: Tensor, **_: Any) -> Shape:
    N = a.shape[1] if len(a.shape) == 2 else 0
    require(a.shape == (x.shape[1], N), f"{a.name} is {a.shape}, the scan has {x.shape[1]} channels")
    require(dt.shape == x.shape, f"the scan has steps {dt.shape} for rows {x.shape}")
    require(
        b.shape == c.shape == (x.shape[0], N), f"{a.name} is {a.shape}, what goes in and out is {b.shape}, {c.shape}"
    )
    _check_rows(a)
    return x.shape


@op(shape=_selective_shape, state=lambda x, dt, b, c, a: int(a.shape[0]) * int(a.shape[1]), ulp=512)
def selective_scan(x: Array, dt: Array, b: Array, c: Array, a: Array, *, state: Any) -> Array:
    """Mamba's scan: h = exp(dt a) h + dt x b, y = h c, for every channel.

    Shapes: x and dt [T, C], b and c [T, N], a [C, N] -> [T, C]. Source: arXiv:2312.00752.
    """
    y = np.empty(x.shape, np.float32)
    for rows, h in state.sequences(a.shape):
        for t in range(rows.start, rows.stop):
            h[:] = h * np.exp(dt[t, :, None] * a) + (dt[t] * x[t])[:, None] * b[t]
            y[t] = h @ c[t]
    return y


def _grouped_shape(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, a: Tensor, **_: Any) -> Shape:
    H, G = int(x.shape[1]), int(b.shape[1])
    require(dt.shape == (x.shape[0], H), f"the scan has {H} heads and steps {dt.shape}")
    require(a.shape in ((H,), (H, 1)), f"{a.name} is {a.shape}, the scan has {H} heads")
    require(
        b.shape == c.shape and b.shape[0] == x.shape[0] and H % G == 0,
        f"{H} heads do not share what is {b.shape} and {c.shape} evenly",
    )
    _check_rows(b)
    return (x.shape[0], H * int(x.shape[2]))


@op(
    shape=_grouped_shape,
    state=lambda x, dt, b, c, a: int(x.shape[1]) * int(x.shape[2]) * int(b.shape[2]),
    ulp=512,
)
def grouped_scan(x: Array, dt: Array, b: Array, c: Array, a: Array, *, state: Any) -> Array:
    """Mamba 2's scan: h = exp(dt a) h + dt x b, y = h c, with one decay a head; heads of a group share b and c.

    Shapes: x [T, H, D], dt [T, H], b and c [T, G, N], a [H] or [H, 1] -> [T, H * D]. Source: arXiv:2405.21060.
    """
    T, H, D = x.shape
    group = H // b.shape[1]
    b, c = np.repeat(b, group, axis=1), np.repeat(c, group, axis=1)  # [T, H, N]
    decay = np.exp(dt * a.reshape(-1))  # [T, H]
    y = np.empty((T, H, D), np.float32)
    for rows, h in state.sequences((H, D, b.shape[2])):
        for t in range(rows.start, rows.stop):
            h[:] = h * decay[t, :, None, None] + (dt[t, :, None] * x[t])[:, :, None] * b[t, :, None, :]
            y[t] = np.einsum("hdn,hn->hd", h, c[t])
    return y.reshape(T, -1)


def _delta_shape(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **_: Any) -> Shape:
    H = int(v.shape[1])
    shared = q.shape == k.shape and k.shape[0] == v.shape[0] and H % int(k.shape[1]) == 0
    require(shared, f"{H} heads do not share keys {k.shape} evenly")
    require(beta.shape == (v.shape[0], H), f"{H} heads have strengths {beta.shape}")
    every = (v.shape[0], H, k.shape[2])
    require(g.shape in (every[:2], every), f"{H} heads of keys {k.shape[2]} wide have decays {g.shape}")
    _check_rows(k)
    return (v.shape[0], H * int(v.shape[2]))


@op(
    shape=_delta_shape,
    state=lambda q, k, v, g, beta: int(v.shape[1]) * int(v.shape[2]) * int(k.shape[2]),
    ulp=512,
)
def delta_rule(q: Array, k: Array, v: Array, g: Array, beta: Array, *, state: Any, tiled: bool = False) -> Array:
    """The gated delta rule: h = exp(g) h, h += beta (v - h k) k, y = h q.

    Neighbouring heads share a key head; `tiled`, those whose numbers leave the same rest. Decays are one a head, or one
    for each place of a key.
    Shapes: q and k [T, K, N], v [T, H, D], g [T, H] or [T, H, N], beta [T, H] -> [T, H * D]. Source: arXiv:2412.06464.
    """
    T, H, D = v.shape
    N = k.shape[2]
    head = np.arange(H) % k.shape[1] if tiled else np.arange(H) // (H // k.shape[1])
    q, k = q[:, head], k[:, head]  # [T, H, N]
    decay = np.exp(g.reshape(T, H, -1))  # [T, H, 1] or [T, H, N]
    y = np.empty((T, H, D), np.float32)
    for rows, h in state.sequences((H, D, N)):
        for t in range(rows.start, rows.stop):
            h *= decay[t, :, None, :]
            missing = (v[t] - np.einsum("hdn,hn->hd", h, k[t])) * beta[t, :, None]
            h += missing[:, :, None] * k[t, :, None, :]
            y[t] = np.einsum("hdn,hn->hd", h, q[t])
    return y.reshape(T, -1)


def _same_heads(*operands: Tensor, **_: Any) -> Shape:
    first = operands[0]
    for one in operands:
        require(one.shape == first.shape, f"heads of {one.name} are {one.shape}, those of {first.name} {first.shape}")
    _check_rows(first)
    return (first.shape[0], int(first.shape[1]) * int(first.shape[2]))


def _square(first: Tensor, *_: Tensor) -> int:
    return int(first.shape[1]) * int(first.shape[2]) ** 2


def _wkv6_shape(r: Tensor, k: Tensor, v: Tensor, g: Tensor, u: Tensor, **_: Any) -> Shape:
    require(u.shape == r.shape[1:], f"{u.name} is {u.shape}, heads are {r.shape[1:]}")
    return _same_heads(r, k, v, g)


@op(shape=_wkv6_shape, state=_square, ulp=512)
def wkv6(r: Array, k: Array, v: Array, g: Array, u: Array, *, state: Any) -> Array:
    """RWKV 6: y = (h + v u k) r, then h = exp(g) h + v k.

    Shapes: r, k, v and g [T, H, N], u [H, N] -> [T, H * N]. Source: arXiv:2404.05892.
    """
    T, H, N = r.shape
    decay = np.exp(g)
    y = np.empty((T, H, N), np.float32)
    for rows, h in state.sequences((H, N, N)):
        for t in range(rows.start, rows.stop):
            new = v[t, :, :, None] * k[t, :, None, :]
            y[t] = np.einsum("hdn,hn->hd", h + new * u[:, None, :], r[t])
            h[:] = h * decay[t, :, None, :] + new
    return y.reshape(T, -1)


@op(shape=_same_heads, state=_square, ulp=512)
def wkv7(r: Array, g: Array, k: Array, v: Array, a: Array, b: Array, *, state: Any) -> Array:
    """RWKV 7: h = exp(g) h + (h a) b + v k, y = h r.

    Shapes: all [T, H, N] -> [T, H * N]. Source: arXiv:2503.14456.
    """
    T, H, N = r.shape
    decay = np.exp(g)
    y = np.empty((T, H, N), np.float32)
    for rows, h in state.sequences((H, N, N)):
        for t in range(rows.start, rows.stop):
            seen = np.einsum("hdn,hn->hd", h, a[t])
            h[:] = h * decay[t, :, None, :] + seen[:, :, None] * b[t, :, None, :] + v[t, :, :, None] * k[t, :, None, :]
            y[t] = np.einsum("hdn,hn->hd", h, r[t])
    return y.reshape(T, -1)


def _lerp_shape(x: Tensor, y: Tensor, share: Tensor, row: int) -> Shape:
    require(x.shape == y.shape, f"{x.name} {x.shape} and {y.name} {y.shape} differ")
    if share.shape != x.shape:
        rows = math.prod(int(dim) for dim in share.shape[:-1])
        require(share.shape[-1] == x.shape[-1] and row < rows, f"{share.name} is {share.shape}, rows are {x.shape}")
    return x.shape


@op(
    shape=_lerp_shape,
    ulp=8,
    samples=[
        sample((3, 40), (3, 40), (3, 40)),
        sample((3, 33), (3, 33), (4, 1, 1, 33), row=2),
        sample((2, 8), (2, 8), (8,)),
    ],
)
def lerp(x: Array, y: Array, share: Array, *, row: int = 0) -> Array:
    """x + (y - x) share: a mixture, by shares of each place or by one row of a table. Source: arXiv:2404.05892.

    Shapes: x and y [T, D], share [T, D] or [..., D] -> [T, D].
    """
    if share.shape != x.shape:
        share = share.reshape(-1, x.shape[-1])[row]
    return x + (y - x) * share


def _bonus_shape(r: Tensor, k: Tensor, v: Tensor, u: Tensor) -> Shape:
    require(u.shape in (r.shape[1:], (int(r.shape[1]) * int(r.shape[2]),)), f"{u.name} is {u.shape}, heads {r.shape}")
    return _same_heads(r, k, v)


@op(shape=_bonus_shape, ulp=64, samples=[sample((3, 2, 16), (3, 2, 16), (3, 2, 16), (2, 16))])
def head_bonus(r: Array, k: Array, v: Array, u: Array) -> Array:
    """Each head's value times the sum of r k u: what a token gives itself. Source: arXiv:2503.14456.

    Shapes: r, k and v [T, H, N], u [H, N] or [H * N] -> [T, H * N].
    """
    shares = np.sum(r * k * u.reshape(r.shape[1:]), axis=-1, keepdims=True)
    return (v * shares).reshape(r.shape[0], -1)
