"""What a step must at least compute and read: the yardstick under "share of the peak".

Units: operations (a multiplication and an addition are two) and bytes. Activations are not counted: they stay in cache.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pacos import quants
from pacos.engine.room import page_bytes
from pacos.ir.graph import Value
from pacos.ir.plan import Plan
from pacos.types import PageLayout

_FLOATS = ("F32", "F16", "BF16")
_MATRIX_OPS = ("linear", "linears")
_EXPERT_OPS = ("expert_linear", "expert_linears")


@dataclass(frozen=True, slots=True)
class Work:
    """Multiply-adds of quantised and of float matrices, those of attention, and bytes of weights and cache."""

    int8_operations: float = 0.0
    float_operations: float = 0.0
    attention_operations: float = 0.0
    bytes: float = 0.0

    @property
    def operations(self) -> float:
        """All of them."""
        return self.int8_operations + self.float_operations + self.attention_operations

    def __add__(self, other: Work) -> Work:
        return Work(
            self.int8_operations + other.int8_operations,
            self.float_operations + other.float_operations,
            self.attention_operations + other.attention_operations,
            self.bytes + other.bytes,
        )


@dataclass(frozen=True, slots=True)
class StepForm:
    """A step of `sequences` sequences, each with `tokens` new tokens after `depth` old ones; `outputs` rows in all.

    Of an encoder-decoder the first `source` tokens are what the encoder reads.
    """

    tokens: int
    depth: int
    sequences: int
    outputs: int
    source: int = 0

    def rows(self, dimension: int | str) -> int:
        """Rows that a dimension of a plan stands for."""
        if isinstance(dimension, int):
            return dimension
        return self.outputs if dimension == "R" else self.tokens * self.sequences

    def keys(self, window: int, first: int = 0) -> tuple[int, int]:
        """Cached positions read, and pairs of a token and a position that it sees; of all sequences.

        Those before the `first` do not count.
        """
        last = self.depth + self.tokens - first
        reach = window or last
        pairs = sum(min(position + 1, reach) for position in range(self.depth - first, last))
        return min(last, reach + self.tokens - 1) * self.sequences, pairs * self.sequences

    def keys_both_ways(self, window: int) -> tuple[int, int]:
        """The same where every token sees those before and after it, a window half on either side."""
        last = self.depth + self.tokens
        reach = window // 2 if window else last
        ends = ((max(0, own - reach), min(last, own + reach + 1)) for own in range(self.depth, last))
        pairs = sum(end - begin for begin, end in ends)
        return (last - max(0, self.depth - reach)) * self.sequences, pairs * self.sequences

    def all_keys(self, count: int) -> tuple[int, int]:
        """The same where every token sees so many positions."""
        return count * self.sequences, count * self.tokens * self.sequences


def plan_work(plan: Plan, form: StepForm, layout: PageLayout) -> Work:
    """The work of one step of a plan."""
    total = Work()
    for node in plan.nodes:
        operands = [None if number is None else plan.values[number] for number in node.inputs]
        results = [plan.values[number] for number in node.outputs]
        total += op_work(node.op, operands, results, dict(node.attributes), form, layout)
    return total


def op_work(
    op: str,
    operands: Iterable[Value | None],
    results: Collection[Value],
    attributes: Mapping[str, Any],
    form: StepForm,
    layout: PageLayout,
) -> Work:
    """The work of one operation in one step."""
    rows = form.rows(next(iter(results)).shape[0]) if results else 0
    total = Work()
    inputs = [value for value in operands if value is not None]
    for value in inputs:
        if value.kind == "weight" and op in _EXPERT_OPS:
            total += _expert_work(value, rows * int(next(iter(results)).shape[1]))
        elif value.kind == "weight":
            total += _weight_work(op, value, rows)
    if op in ("attention", "cross_attention"):
        total += _attention_work(inputs, attributes, form, layout)
    return total


def _weight_work(op: str, weight: Value, rows: int) -> Work:
    sizes = [int(dim) for dim in weight.shape]
    row = 4 * sizes[-1] if weight.dtype == "I32" else quants.row_bytes(weight.dtype, sizes[-1])
    if op == "embed":
        return Work(bytes=float(row * rows))
    nbytes = float(row * math.prod(sizes[:-1]))
    if op not in _MATRIX_OPS or len(sizes) != 2:
        return Work(bytes=nbytes)
    return _products(weight, 2.0 * sizes[0] * sizes[1] * rows, nbytes)


def _expert_work(weight: Value, slots: int) -> Work:
    """At most each slot reads an expert of its own; which ones share is not known before."""
    experts, *sizes = [int(dim) for dim in weight.shape]
    nbytes = float(quants.row_bytes(weight.dtype, sizes[-1]) * math.prod(sizes[:-1]) * min(experts, slots))
    return _products(weight, 2.0 * math.prod(sizes) * slots, nbytes) if len(sizes) == 2 else Work(bytes=nbytes)


def _products(weight: Value, operations: float, nbytes: float) -> Work:
    if weight.dtype in _FLOATS:
        return Work(float_operations=operations, bytes=nbytes)
    return Work(int8_operations=operations, bytes=nbytes)


def _attention_work(inputs: list[Value], attributes: Mapping[str, Any], form: StepForm, layout: PageLayout) -> Work:
    read, pairs = _keys(attributes, form)
    layer = attributes["cache"].layer
    one = replace(layout, key_width=(layout.key_width[layer],), value_width=(layout.value_width[layer],))
    query = math.prod(int(dim) for dim in inputs[0].shape[1:])
    return Work(attention_operations=4.0 * query * pairs, bytes=page_bytes(one) / layout.page_tokens * read)


def _keys(attributes: Mapping[str, Any], form: StepForm) -> tuple[int, int]:
    """Positions read and pairs of positions, as `StepForm.keys`; cross attention has no window to speak of."""
    if "window" not in attributes:
        return form.all_keys(form.source)
    if attributes.get("bidirectional"):
        return form.keys_both_ways(attributes["window"])
    return form.keys(attributes["window"], form.source if attributes.get("after_source") else 0)
