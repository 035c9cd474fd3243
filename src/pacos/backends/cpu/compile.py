"""Turn a plan into the arrays of C structures that make a native program.

Every address and size that native code will trust is proved here, every shape in operands.py.
Shapes: a value is [rows, heads, width] to native code; rows are fixed, or the step's ("T"), or its outputs ("R").
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pacos import native, quants
from pacos.backends import OpTime
from pacos.backends.cpu.arena import Lifetime, place
from pacos.backends.cpu.operands import Operands, Seen, number_of
from pacos.backends.cpu.pages import CpuPages
from pacos.errors import ShapeError, UnsupportedModel
from pacos.ir.graph import Node, Value
from pacos.ir.ops.attention import alibi_slopes, distance_buckets
from pacos.ir.ops.moe import SCORES
from pacos.ir.plan import Plan

_ROWS = {"T": -1, "R": -2}
_ARENA, _WEIGHT = 0, 1
_INPUTS = {"tokens": 2, "positions": 3, "outputs": 4, "types": 5, "scales": 6}
_I32 = 26  # ggml type id
_VIEWS = ("heads", "columns", "flat")
# By element: a result may take its operand's place.
_IN_PLACE = frozenset(
    (
        *("add", "mul", "scale", "softcap", "silu", "gelu", "gelu_tanh", "sigmoid", "softplus", "exp"),
        *("silu_mul", "gelu_mul", "gelu_tanh_mul", "clamped_silu_mul"),
        *("relu", "relu_squared", "clip", "xielu"),
    )
)
_NUMBERS = (
    *("eps", "factor", "cap", "start", "alpha", "limit", "length", "scale", "rise", "fall", "slope", "most", "offset"),
    *("row", "deviations", "column"),
)
# Operands that native code counts on, None included.
_OPERANDS = {
    **{"linear": 3, "layer_norm": 3, "rope_angles": 2, "route": 2, "expert_linear": 4, "attention": 5},
    **{"rms_norm": 2, "short_conv": 3},
}


class CValue(ctypes.Structure):
    """pacos_value of pacos.h."""

    _fields_ = (
        ("place", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("kind", "type", "rows", "heads", "width", "unused")),
    )


class CInstruction(ctypes.Structure):
    """pacos_instruction of pacos.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("op", "first_operand", "inputs", "results")),
        ("attributes", ctypes.c_double * 8),
        ("table", ctypes.c_void_p),
    )


class CLayer(ctypes.Structure):
    """pacos_layer of pacos.h."""

    _fields_ = (
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("key_page_bytes", ctypes.c_int64),
        ("value_page_bytes", ctypes.c_int64),
    )


class CPlan(ctypes.Structure):
    """pacos_plan of pacos.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("values", "instructions", "operands", "layers", "states")),
        ("slot_floats", ctypes.c_int64),
        ("arena_bytes", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("values_count", "instructions_count", "layers_count", "result")),
        *((name, ctypes.c_int32) for name in ("max_tokens", "page_tokens", "page_count", "slots", "type_k", "type_v")),
        ("exact_activations", ctypes.c_int32),
    )


@dataclass(slots=True)
class Compiled:
    """What pacos_program_create takes, with everything that must stay alive as long as the program."""

    plan: CPlan
    times: list[OpTime]  # one per instruction, of no seconds yet
    result_rows: int | str
    result_width: int
    logits_bytes: int
    scales_width: int  # adapters whose scales a step gives for each token
    keep: list[Any] = field(default_factory=list)


def compile_plan(
    plan: Plan, address: Callable[[Value], int], pages: CpuPages, max_tokens: int, *, exact: bool = False
) -> Compiled:
    """Lay out values and encode instructions; `exact` keeps activations f32 before quantised matrices.

    Errors: UnsupportedModel for an op or a type that this backend lacks, ShapeError for operands that do not fit.
    """
    compiled = _Compilation(plan, address, pages, max_tokens).compiled()
    compiled.plan.exact_activations = int(exact)
    return compiled


class _Compilation:
    def __init__(self, plan: Plan, address: Callable[[Value], int], pages: CpuPages, max_tokens: int) -> None:
        self._address = address
        self._pages = pages
        self._max_tokens = max_tokens
        self._values = list(plan.values)
        self._nodes = list(plan.nodes)
        self._seen = [self._see(number, value) for number, value in enumerate(self._values)]
        for node in self._nodes:
            if node.op in _VIEWS:
                self._seen[node.outputs[0]] = self._view(node)
        self._nodes = [node for node in self._nodes if node.op not in _VIEWS]
        self._result = self._own_result(plan.result)
        self._tables: list[Any] = []

    # ---- values ----

    def _see(self, number: int, value: Value) -> Seen:
        shape = value.shape
        if value.kind == "weight" and len(shape) > 3:
            shape = (shape[0], *(dim for dim in shape[1:] if dim != 1))
        if not 1 <= len(shape) <= 3 or any(not isinstance(dim, int) for dim in shape[1:]):
            raise UnsupportedModel(f"{value.name} has shape {shape}; up to three axes, of which the first may vary")
        sizes = [int(dim) for dim in shape[1:]]
        if any(size < 1 for size in sizes):
            raise ShapeError(f"{value.name} has an empty axis: {shape}")
        if len(shape) == 1 and value.dtype != "i32" and value.dtype != "I32":  # a vector is one row
            seen = Seen(number, 0, 1, 1, int(shape[0]))
        else:
            heads, width = (sizes[0], sizes[1]) if len(sizes) == 2 else (1, sizes[0] if sizes else 1)
            seen = Seen(number, 0, shape[0], heads, width)
        seen.stride = seen.row_width if value.kind != "node" else -(-seen.row_width // 16) * 16
        return seen

    def _view(self, node: Node) -> Seen:
        source = self._seen[number_of(node, 0)]
        shape = self._values[node.outputs[0]].shape
        if source.heads != 1 and node.op != "flat":
            raise UnsupportedModel(f"{node.op} of heads", hint="take columns before heads")
        offset = source.offset + (int(node.attribute("start")) if node.op == "columns" else 0)
        heads, width = (int(shape[1]), int(shape[2])) if node.op == "heads" else (1, int(shape[1]))
        return Seen(source.root, offset, source.rows, heads, width, source.stride)

    def _own_result(self, result: int) -> int:
        """The result must be rows without gaps that a node has written."""
        seen = self._seen[result]
        viewed = any(other.root == result for number, other in enumerate(self._seen) if number != result)
        if self._values[seen.root].kind == "node" and seen.root == result and not viewed:
            seen.stride = seen.row_width
            return result
        self._values.append(Value("node", "copy", self._values[result].shape, "f32"))
        self._seen.append(Seen(len(self._seen), 0, seen.rows, seen.heads, seen.width, seen.row_width))
        self._nodes.append(Node("copy", (result,), (), (len(self._values) - 1,)))
        return len(self._values) - 1

    def _rows(self, rows: int | str) -> int:
        return rows if isinstance(rows, int) else self._max_tokens

    def _places(self) -> tuple[dict[int, int], int, int]:
        """Offsets of all values that nodes write, the buffer's size, and the bytes of the result in it."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for i, node in enumerate(self._nodes):
            for number in node.outputs:
                first[number] = last[number] = i
            for operand in node.inputs:
                if operand is not None:
                    last[self._seen[operand].root] = i
        owners = self._owners(last)
        for number, owner in owners.items():
            last[owner] = max(last[owner], last[number])
        lifetimes = []
        for number, start in first.items():
            seen = self._seen[number]
            if number != self._result and number not in owners:
                lifetimes.append(Lifetime(number, self._rows(seen.rows) * seen.stride * 4, start, last[number]))
        offsets, total = place(lifetimes)
        offsets |= {number: offsets[owner] for number, owner in owners.items()}
        seen = self._seen[self._result]
        offsets[self._result] = total  # behind all others: rows of it that no step asks for are never touched
        size = self._rows(seen.rows) * seen.stride * 4
        return offsets, total + size, size

    def _owners(self, last: dict[int, int]) -> dict[int, int]:
        """Results that take the place of an operand which nobody reads later, and the value whose place it was."""
        owners: dict[int, int] = {}
        for i, node in enumerate(self._nodes):
            if node.op not in _IN_PLACE or node.outputs[0] == self._result:
                continue
            old, new = self._seen[number_of(node, 0)], self._seen[node.outputs[0]]
            same = (old.offset, old.rows, old.row_width, old.stride) == (0, new.rows, new.row_width, new.stride)
            others = (self._seen[number].root for number in node.inputs[1:] if number is not None)
            written = self._values[old.root].kind == "node" and old.root != self._result
            if same and written and last[old.root] == i and old.root not in others:
                owners[node.outputs[0]] = owners.get(old.root, old.root)
        return owners

    def _c_values(self, offsets: dict[int, int]) -> Any:
        made = (CValue * len(self._values))()
        for number, seen in enumerate(self._seen):
            one = made[number]
            root = self._values[seen.root]
            one.stride, one.heads, one.width = seen.stride, seen.heads, seen.width
            one.rows = seen.rows if isinstance(seen.rows, int) else _ROWS[seen.rows]
            if root.kind == "input":
                one.kind = _INPUTS[root.name]
            elif root.kind == "weight":
                one.kind = _WEIGHT
                one.type = _I32 if root.dtype == "I32" else quants.block_format(root.dtype).type_id
                one.place = self._address(root) + seen.offset * 4
                if seen.offset and root.dtype != "F32":
                    raise UnsupportedModel(f"columns of {root.name}, which is {root.dtype}")
            elif seen.root in offsets:
                one.kind, one.place = _ARENA, offsets[seen.root] + seen.offset * 4
        return made

    # ---- instructions ----

    def compiled(self) -> Compiled:
        offsets, total, logits = self._places()
        values = self._c_values(offsets)
        operands: list[int] = []
        instructions = (CInstruction * len(self._nodes))()
        code = native.function("pacos_op_code", ctypes.c_int32, [ctypes.c_char_p])
        known = Operands(self._values, self._seen, self._nodes, self._pages.layout)
        for node, one in zip(self._nodes, instructions, strict=True):
            one.op = code(node.op.encode())
            if one.op < 0:
                raise UnsupportedModel(f"the cpu backend has no op {node.op!r}")
            known.check(node)
            inputs = [-1 if number is None else number for number in node.inputs]
            inputs += [-1] * (_OPERANDS.get(node.op, 0) - len(inputs))
            one.first_operand, one.inputs, one.results = len(operands), len(inputs), len(node.outputs)
            operands += [*inputs, *node.outputs]
            self._encode(node, one)
        numbers = (ctypes.c_int32 * max(1, len(operands)))(*operands)
        layers = self._layers()
        made = CPlan(
            ctypes.addressof(values),
            ctypes.addressof(instructions),
            ctypes.addressof(numbers),
            ctypes.addressof(layers),
        )
        made.arena_bytes = total
        made.values_count, made.instructions_count = len(values), len(instructions)
        made.layers_count, made.result = len(layers), self._result
        layout = self._pages.layout
        if layout.states:
            made.states, made.slot_floats, made.slots = self._pages.states, self._pages.slot_floats, self._pages.slots
        made.max_tokens, made.page_tokens, made.page_count = self._max_tokens, layout.page_tokens, self._pages.count
        made.type_k, made.type_v = (quants.block_format(name).type_id for name in (layout.type_k, layout.type_v))
        seen = self._seen[self._result]
        times = [self._time(node) for node in self._nodes]
        keep = [values, instructions, numbers, layers, *self._tables]
        scales = sum(int(value.shape[1]) for value in self._values if value.kind == "input" and value.name == "scales")
        return Compiled(made, times, seen.rows, seen.row_width, logits, scales, keep)

    def _time(self, node: Node) -> OpTime:
        operands = tuple(None if number is None else self._values[number] for number in node.inputs)
        results = tuple(self._values[number] for number in node.outputs)
        return OpTime(node.op, operands, results, dict(node.attributes), 0.0)

    def _layers(self) -> Any:
        pages = self._pages
        made = (CLayer * max(1, pages.layout.layers))()
        for i in range(pages.layout.layers):
            made[i] = CLayer(pages.keys[i], pages.values[i], pages.key_page_bytes[i], pages.value_page_bytes[i])
        return made

    def _encode(self, node: Node, one: CInstruction) -> None:
        given = dict(node.attributes)
        numbers: list[float] = []
        if "state" in given:
            numbers = [self._pages.state_places[given.pop("state").number], given.pop("tiled", False)]
        elif node.op == "attention":
            names = ("scale", "window", "softcap", "bidirectional", "chunk", "after_source", "reach")
            numbers = [given["cache"].layer, *(given[name] or 0 for name in names)]
            one.table = self._distances(node, **given)
            given = {}
        elif "cache" in given:
            sizes = ("scale", "key_heads", "value_width")
            numbers = [given.pop("cache").layer, *(given.pop(name) for name in sizes if name in given)]
        elif node.op == "rope_angles":
            spec = given.pop("spec")
            one.table = self._table(spec.frequencies())
            numbers = [spec.magnitude()]
        elif node.op == "rotate":
            style = given.pop("style")
            if style not in ("pairs", "halves"):
                raise UnsupportedModel(f"rotation of style {style!r}")
            numbers = [float(style == "halves")]
        elif node.op == "route":
            given.pop("used")  # the width of its results
            counts = ("groups", "groups_used", "group_best", "normalise", "scale")
            numbers = [SCORES.index(given.pop("score")), *(given.pop(name) for name in counts)]
        else:
            numbers = [given.pop(name) for name in _NUMBERS if name in given]
            given.pop("stop", None)  # of a part: its width says it
        if given:
            raise UnsupportedModel(f"the cpu backend does not know {node.op}'s {', '.join(given)}")
        one.attributes[: len(numbers)] = numbers

    def _distances(self, node: Node, *, max_bias: float | None, reach: int | None, **given: Any) -> int | None:
        """The table of what distances cost: ALiBi's slopes, or which bias of its operand each takes."""
        if max_bias is not None:
            heads = self._seen[number_of(node, 0)].heads
            return self._table(alibi_slopes(heads, max_bias, given["bias_factor"] or 1.0))
        if reach is None:
            return None
        count = self._seen[number_of(node, 4)].rows
        return self._table(distance_buckets(int(count), reach, bidirectional=given["bidirectional"]))

    def _table(self, numbers: Sequence[float]) -> int:
        table = (ctypes.c_double * len(numbers))(*numbers)
        self._tables.append(table)
        return ctypes.addressof(table)
