"""Mixtures of experts: who computes a token, and matrices of which each row picks some.

Shapes: T rows, X experts, U experts used by a row (its slots, the best first), K input width, N output width, D width.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import ShapeError
from pacos.ir.graph import Shape, Tensor, require, same_width
from pacos.ir.ops.tensor import linear
from pacos.ir.registry import Integers, op, sample
from pacos.lazy import np

Array = Any

SCORES = ("softmax", "sigmoid", "softmax of chosen", "sparse mixer")
_MIXED_SHARE = 0.02  # twice the jitter of Phi 3.5's routers


def _route_shape(
    scores: Tensor, bias: Tensor | None, used: int, score: str, groups: int, groups_used: int, group_best: int, **_: Any
) -> list[Shape]:
    X = int(scores.shape[-1])
    require(score in SCORES, f"route by {score!r}; known: {', '.join(SCORES)}")
    require(X % groups == 0 and 1 <= groups_used <= groups, f"{groups_used} of {groups} groups of {X} experts")
    require(1 <= used <= X // groups * groups_used, f"{used} of {X} experts in {groups_used} of {groups} groups")
    require(groups == 1 or 1 <= group_best <= X // groups, f"the best {group_best} of groups of {X // groups} experts")
    if bias is not None:
        require(bias.shape in ((X,), (1, X)), f"{bias.name} is {bias.shape}, there are {X} experts")
    return [(scores.shape[0], used), (scores.shape[0], used)]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _mixed(scores: Array, chosen: Array) -> Array:
    """The share of each one chosen among those of the others that come near it."""
    weights = np.empty(chosen.shape, scores.dtype)
    left = scores.copy()
    for slot in range(chosen.shape[-1]):
        best = np.take_along_axis(scores, chosen[..., slot : slot + 1], axis=-1)
        far = (best - scores) / np.maximum(np.abs(scores), best) > np.float32(_MIXED_SHARE)
        weights[..., slot] = 1 / np.where(far, 0, np.exp(left - best)).sum(axis=-1)
        np.put_along_axis(left, chosen[..., slot : slot + 1], -np.inf, axis=-1)
    return weights


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _best(x: Array, count: int) -> Array:
    """Places of the largest, the best first; of equal ones the first."""
    return np.argsort(-x, axis=-1, kind="stable")[..., :count]


@op(
    shape=_route_shape,
    ulp=64,
    samples=[
        sample((5, 8), None, used=2, normalise=True),
        sample((3, 16), (16,), used=4, score="sigmoid", groups=4, groups_used=2, normalise=True, scale=2.5),
        sample((3, 16), (1, 16), used=4, normalise=True),
        sample((3, 16), None, used=3, groups=4, groups_used=3, group_best=1),
        sample((4, 6), None, used=2, score="softmax of chosen"),
        sample((64, 16), None, used=2, score="sparse mixer"),
    ],
)
def route(
    scores: Array,
    bias: Array | None = None,
    *,
    used: int,
    score: str = "softmax",
    groups: int = 1,
    groups_used: int = 1,
    group_best: int = 2,
    normalise: bool = False,
    scale: float = 1.0,
) -> tuple[Array, Array]:
    """Choose experts for each row, and say how much of each one's result to take.

    Scores become probabilities by softmax or sigmoid, or after choosing; the sparse mixer's are by softmax over those
    alone that come within a fiftieth of the chosen one. The bias is added to choose, not to weigh.
    Of several groups those with the largest sum of their `group_best` members stay. `normalise` makes a row's weights
    add up to one, before the scale.
    Shapes: scores [T, X], bias [X] or [1, X] or None -> weights [T, U], numbers of experts [T, U] i32; the best first.
    Source: arXiv:2401.04088 (Mixtral), arXiv:2412.19437 (DeepSeek V3: sigmoid, bias, groups), arXiv:2409.12136 (GRIN:
    the sparse mixer).
    """
    shares = {"softmax": _softmax, "sigmoid": _sigmoid}.get(score, lambda x: x)(scores)
    ranks = shares if bias is None else shares + bias
    if groups > 1:
        by_group = ranks.reshape(len(ranks), groups, -1)
        best = np.sort(by_group, axis=-1)[..., -group_best:].sum(axis=-1)
        kept = np.zeros(best.shape, bool)
        np.put_along_axis(kept, _best(best, groups_used), values=True, axis=-1)
        ranks = np.where(kept[..., None], by_group, -np.inf).reshape(ranks.shape)
    chosen = _best(ranks, used)
    weights = np.take_along_axis(shares, chosen, axis=-1)
    if score == "softmax of chosen":
        weights = _softmax(weights)
    elif score == "sparse mixer":
        weights = _mixed(scores, chosen)
    if normalise:
        weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), np.float32(1e-20))
    return weights * np.float32(scale), chosen.astype(np.int32)


def _expert_shape(x: Tensor, chosen: Tensor | None, w: Tensor | None, bias: Tensor | None = None) -> Shape:
    if w is None:
        raise ShapeError("experts: a weight is missing")
    require(len(w.shape) == 3, f"{w.name} must be a stack of matrices, it is {w.shape}")
    X, N, K = w.shape
    slots = X if chosen is None else chosen.shape[1]
    require(x.shape[-1] == K, f"{w.name} is {w.shape}, its input has width {x.shape[-1]}")
    require(len(x.shape) == 2 or x.shape[1] == slots, f"{x.name} {x.shape} has not {slots} slots")
    require(chosen is None or chosen.shape[0] == x.shape[0], f"{x.name} {x.shape} has other rows than its experts")
    if bias is not None:
        require(bias.shape == (X, N), f"{bias.name} is {bias.shape}, {w.name} is {w.shape}")
    return (x.shape[0], slots, N)


@op(
    shape=_expert_shape,
    ulp=64,
    samples=[
        sample((3, 64), Integers((3, 2), 4), (4, 5, 64), None),
        sample((5, 2, 256), Integers((5, 2), 3), (3, 48, 256), (3, 48)),
        sample((3, 4, 64), None, (4, 20, 64), None),
    ],
)
def expert_linear(x: Array, chosen: Array | None, w: Array, bias: Array | None = None) -> Array:
    """Multiply by the matrices of the experts that each row has chosen, and add their biases.

    All slots of a row share its input, or each has its own. Without `chosen`, slot u takes matrix u.
    Shapes: x [T, K] or [T, U, K], chosen [T, U] i32, w [X, N, K], bias [X, N] -> [T, U, N].
    Errors: ShapeError naming the weight.
    """
    slots = np.broadcast_to(np.arange(len(w)), (len(x), len(w))) if chosen is None else chosen
    each = np.broadcast_to(x[:, None] if x.ndim == 2 else x, (*slots.shape, x.shape[-1]))
    y = np.empty((*slots.shape, w.shape[1]), np.float32)
    for expert in np.unique(slots):
        here = slots == expert
        y[here] = linear(each[here], w[expert], None if bias is None else bias[expert])
    return y


def _expert_shapes(x: Tensor, chosen: Tensor | None, *pairs: Tensor | None) -> list[Shape]:
    return [_expert_shape(x, chosen, w, b) for w, b in zip(pairs[::2], pairs[1::2], strict=True)]


@op(
    shape=_expert_shapes,
    ulp=64,
    samples=[sample((3, 64), Integers((3, 2), 4), (4, 5, 64), None, (4, 16, 64), (4, 16))],
)
def expert_linears(x: Array, chosen: Array | None, *pairs: Array | None) -> tuple[Array, ...]:
    """Several expert_linear ops on one input and one choice: the input is quantised and grouped once.

    Shapes: x and chosen as in expert_linear, then weight [X, N, K] and bias [X, N] (or None) in turn.
    """
    return tuple(expert_linear(x, chosen, w, b) for w, b in zip(pairs[::2], pairs[1::2], strict=True))


@op(
    shape=lambda gate, up, alpha, limit: same_width(gate, up),
    ulp=64,
    samples=[sample((3, 64), (3, 64), alpha=1.702, limit=1.5)],
)
def clamped_silu_mul(gate: Array, up: Array, *, alpha: float, limit: float) -> Array:
    """The gated unit of gpt-oss: g * sigmoid(alpha g) * (u + 1), with g at most the limit and u within it.

    Shapes: [T, D], [T, D] -> [T, D].
    """
    g, u = np.minimum(gate, np.float32(limit)), np.clip(up, np.float32(-limit), np.float32(limit))
    return g * _sigmoid(np.float32(alpha) * g) * (u + 1)


def _weigh_shape(y: Tensor, weights: Tensor) -> Shape:
    require(len(y.shape) == 3 and weights.shape == y.shape[:2], f"{y.name} {y.shape} by {weights.shape} weights")
    return (y.shape[0], y.shape[2])


@op(shape=_weigh_shape, ulp=8, samples=[sample((3, 4, 64), (3, 4)), sample((2, 1, 33), (2, 1))])
def weigh(y: Array, weights: Array) -> Array:
    """Add a row's slots, each times its weight, in order. Shapes: y [T, U, D], weights [T, U] -> [T, D]."""
    return np.einsum("tud,tu->td", y, weights)


@op(shape=lambda x, w: (x.shape[0], 1), ulp=64, samples=[sample((3, 64), (64,)), sample((2, 33), (33,))])
def project_once(x: Array, w: Array) -> Array:
    """Multiply rows by a vector. Shapes: x [T, D], w [D] -> [T, 1]."""
    return (x * w).sum(axis=-1, keepdims=True)
