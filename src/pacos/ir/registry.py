"""The @op decorator: one Python function is the definition, the reference and the source of plan nodes.

Operands (positional) are arrays or traced values, a tuple counts as its parts; attributes (keyword only) are plain
hashable data. Called with any traced operand, an op records a node; otherwise its numpy body runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import ShapeError
from pacos.ir.graph import Shape, Tensor, Trace, walk


@dataclass(frozen=True, slots=True)
class Integers:
    """A sample operand of whole numbers below `high`."""

    shape: tuple[int, ...]
    high: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Operands (shapes of random f32 arrays, Integers, or None) and attributes that exercise an op."""

    operands: tuple[tuple[int, ...] | Integers | None, ...]
    attributes: tuple[tuple[str, Any], ...] = ()


def sample(*operands: tuple[int, ...] | Integers | None, **attributes: Any) -> Sample:
    """Write a Sample the way the op is called."""
    return Sample(operands, tuple(attributes.items()))


@dataclass(frozen=True, slots=True)
class Op:
    """What the registry knows of an op; `ulp` is the error that a kernel may show, in units of the result's size.

    `state` gives the floats that a sequence carries from step to step for it, from its operands' shapes.
    """

    name: str
    body: Callable[..., Any]
    shape: Callable[..., Shape | list[Shape]]
    ulp: float
    samples: tuple[Sample, ...] = field(default=())
    pure: bool = True
    state: Callable[..., int] | None = None


OPS: dict[str, Op] = {}


def op(
    *,
    shape: Callable[..., Any],
    ulp: float = 8,
    samples: Sequence[Sample] = (),
    pure: bool = True,
    state: Callable[..., int] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a numpy function as an op; see the module's docstring."""

    def register(body: Callable[..., Any]) -> Callable[..., Any]:
        entry = Op(body.__name__, body, shape, ulp, tuple(samples), pure and state is None, state)
        OPS[entry.name] = entry

        @functools.wraps(body)
        def call(*operands: Any, **attributes: Any) -> Any:
            traced = list(walk(operands))
            if not traced:
                return body(*operands, **attributes)
            return _record(entry, traced[0].trace, operands, attributes)

        return call

    return register


def _record(entry: Op, trace: Trace, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    for operand in operands:
        if operand is not None and not isinstance(operand, Tensor):
            raise ShapeError(f"{entry.name}: operand {operand!r} is not traced")
    attributes = {**(entry.body.__kwdefaults__ or {}), **attributes}
    shapes = entry.shape(*operands, **attributes)
    plain = tuple(sorted(attributes.items()))
    if isinstance(shapes, list):
        return trace.apply(entry.name, operands, plain, shapes)
    return trace.apply(entry.name, operands, plain, [shapes])[0]
