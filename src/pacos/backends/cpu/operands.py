"""What native code trusts about the operands of a plan's nodes, proved before a program is made of it.

Shapes: a value is [rows, heads, width]; rows are fixed, or the step's ("T"), or its outputs ("R").
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

from pacos import native, quants
from pacos.errors import ShapeError, UnsupportedModel
from pacos.ir.graph import Node, Value
from pacos.ir.registry import OPS
from pacos.types import PageLayout

EXPERTS_MAX = 1024  # whose scores native code keeps on its stack
_EXPERTS = ("expert_linear", "expert_linears")
_ELEMENTWISE = ("add", "mul", "silu_mul", "gelu_mul", "gelu_tanh_mul", "clamped_silu_mul")


@dataclass(slots=True)
class Seen:
    """How a value of the plan lies in memory: `root` owns the bytes, a view starts `offset` floats into each row."""

    root: int
    offset: int
    rows: int | str
    heads: int
    width: int
    stride: int = 0

    @property
    def row_width(self) -> int:
        """Floats of a row."""
        return self.heads * self.width


class Operands:
    """Checks of operand shapes beyond what the ops themselves have checked."""

    def __init__(
        self, values: Sequence[Value], seen: Sequence[Seen], nodes: Sequence[Node], layout: PageLayout
    ) -> None:
        self._values = values
        self._seen = seen
        self._layout = layout
        routes = [node for node in nodes if node.op == "route"]
        self._experts = {node.outputs[1]: seen[number_of(node, 0)].width for node in routes}  # choice -> of how many

    def check(self, node: Node) -> None:
        """Prove one node's operands. Errors: ShapeError, UnsupportedModel."""
        inputs = [None if number is None else self._seen[number] for number in node.inputs]
        if node.op == "store":
            self._check_cached(node, *(self._seen[number_of(node, place)] for place in range(2)))
            return
        output = self._seen[node.outputs[0]]
        first, other = inputs[0], inputs[1] if len(inputs) > 1 else None
        if node.op in ("linear", "linears"):
            for number in node.inputs[1::2]:
                self._check_matrix(node, number)
            _require(first is not None and first.heads == 1, f"{node.op} of heads")
        elif node.op == "embed":
            self._check_matrix(node, node.inputs[1])
        elif node.op in _EXPERTS:
            self._check_experts(node)
        elif node.op == "route":
            _require(first is not None and first.row_width <= EXPERTS_MAX, f"more than {EXPERTS_MAX} experts")
        elif node.op == "attention":
            self._check_cached(node, *(self._seen[number_of(node, place)] for place in range(1, 3)))
            _require(inputs[0] is not None and inputs[0].rows == "T", "attention whose rows are not the step's tokens")
        elif node.op == "cross_attention" and first is not None:
            heads, width = node.attribute("key_heads"), node.attribute("value_width")
            keys, values = (Seen(first.root, 0, first.rows, heads, one) for one in (first.width, width))
            self._check_cached(node, keys, values)
        elif node.op in OPS and OPS[node.op].state is not None:
            self._check_state(node, first)
        elif node.op in _ELEMENTWISE:
            fits = other is not None and other.row_width in (output.row_width, output.width)
            _require(fits and other is not None and other.rows in (output.rows, 1), f"{node.op} of unequal rows")
        elif node.op in ("rotate", "weigh", "join", "temper", "scale_rows"):
            _require(other is not None and other.rows == output.rows, f"{node.op} by other rows")
        elif node.op == "scale_heads" and self._values[node.inputs[1] or 0].kind != "weight":
            by_row = other is not None and (other.rows, other.row_width) == (output.rows, output.heads)
            _require(by_row, f"{node.op} by other rows")
        if node.op not in ("take", "linears", "expert_linears"):
            _require(first is not None and first.rows == output.rows, f"{node.op} that changes the number of rows")

    def _check_matrix(self, node: Node, number: int | None, axes: int = 2) -> None:
        value = self._values[number] if number is not None else None
        if value is None or value.kind != "weight" or len(value.shape) != axes:
            raise UnsupportedModel(f"{node.op} by something that is no matrix of the file")
        known = native.function("pacos_cpu_has_type", ctypes.c_int32, [ctypes.c_int32])
        if not known(quants.block_format(value.dtype).type_id):
            raise UnsupportedModel(f"tensor '{value.name}' is {value.dtype}, which the cpu backend lacks")

    def _check_experts(self, node: Node) -> None:
        """Numbers of experts come from a route over as many, or are weights, which native code looks at."""
        x, chosen = self._seen[number_of(node, 0)], node.inputs[1]
        for number in node.inputs[2::2]:
            self._check_matrix(node, number, 3)
            experts = self._values[number or 0].shape[0]
            if chosen is not None and self._values[chosen].kind != "weight":
                _require(self._experts.get(chosen) == experts, f"{experts} experts chosen among others")
        _require(chosen is None or self._seen[chosen].rows == x.rows, "experts chosen for other rows")

    def _check_state(self, node: Node, first: Seen | None) -> None:
        floats = OPS[node.op].state
        number, widths = node.attribute("state").number, self._layout.states
        wanted = floats(*(None if one is None else self._values[one] for one in node.inputs)) if floats else 0
        _require(number < len(widths) and widths[number] == wanted, f"{node.op} with a state of other pages")
        _require(first is not None and first.rows == "T", f"{node.op} of rows that are not the step's tokens")

    def _check_cached(self, node: Node, k: Seen, v: Seen) -> None:
        """Keys and values as the pages hold them."""
        layer, layout = node.attribute("cache").layer, self._layout
        _require(k.rows == v.rows == "T", f"{node.op} whose rows are not the step's tokens")
        _require(0 <= layer < layout.layers, f"layer {layer} of a cache of {layout.layers} layers")
        wanted = (k.heads * k.width, k.heads * v.width)
        held = (layout.key_width[layer], layout.value_width[layer])
        _require(wanted == held, f"layer {layer} has keys and values {wanted} wide, its cache {held}")
        for stored, width in ((layout.type_k, k.width), (layout.type_v, v.width)):
            block = quants.block_format(stored).block
            if width % block:
                what = f"a KV cache of type {stored}, whose blocks hold {block} numbers, for heads {width} wide"
                raise UnsupportedModel(what, hint="use F16, BF16 or F32")


def number_of(node: Node, index: int) -> int:
    """The number of an operand that must be there. Errors: ShapeError."""
    number = node.inputs[index]
    if number is None:
        raise ShapeError(f"{node.op} without operand {index}")
    return number


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ShapeError(f"the cpu backend cannot run {what}")
