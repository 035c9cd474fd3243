"""Traced values: what an op sees instead of arrays while a model function is turned into a plan.

Shapes: a dimension is an int, or "T" (tokens of the step) or "R" (rows whose logits are wanted).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import FormatError, ShapeError

Dim = int | str
Shape = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A numbered value of a plan: an input of the step, a weight of the file, or a node's output."""

    kind: str  # "input", "weight", "node"
    name: str
    shape: Shape
    dtype: str  # "f32", "i32", or a weight's type in the file: "Q4_K"


@dataclass(frozen=True, slots=True)
class Node:
    """One op application: operands and results are value numbers, attributes are plain data."""

    op: str
    inputs: tuple[int | None, ...]
    attributes: tuple[tuple[str, Any], ...]
    outputs: tuple[int, ...]

    def attribute(self, name: str) -> Any:
        """The attribute of that name; KeyError when the op has none."""
        return dict(self.attributes)[name]


@dataclass(slots=True)
class Trace:
    """The growing list of values and nodes; equal nodes are recorded once."""

    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    _known: dict[Any, tuple[int, ...]] = field(default_factory=dict)
    _named: dict[tuple[str, str], int] = field(default_factory=dict)

    def source(self, kind: str, name: str, shape: Shape, dtype: str) -> Tensor:
        """The input or weight of that name, numbered at its first use."""
        key = (kind, name)
        if key not in self._named:
            self._named[key] = len(self.values)
            self.values.append(Value(kind, name, shape, dtype))
        return Tensor(self, self._named[key])

    def apply(
        self, op: str, inputs: tuple[Tensor | None, ...], attributes: tuple[tuple[str, Any], ...], shapes: list[Shape]
    ) -> tuple[Tensor, ...]:
        """Record a node (or find its equal) and give its results."""
        numbers = tuple(None if tensor is None else tensor.number for tensor in inputs)
        key = (op, numbers, attributes)
        outputs = self._known.get(key)
        if outputs is None:
            outputs = tuple(range(len(self.values), len(self.values) + len(shapes)))
            self.values.extend(Value("node", op, shape, "f32") for shape in shapes)
            self.nodes.append(Node(op, numbers, attributes, outputs))
            self._known[key] = outputs
        return tuple(Tensor(self, number) for number in outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A traced value; arithmetic on it records nodes."""

    trace: Trace
    number: int

    @property
    def shape(self) -> Shape:
        """Dimensions, ints or "T" or "R"."""
        return self.trace.values[self.number].shape

    @property
    def dtype(self) -> str:
        """Element type, or the block type of a weight."""
        return self.trace.values[self.number].dtype

    @property
    def name(self) -> str:
        """Name of the input or weight, or the op that made the value."""
        return self.trace.values[self.number].name

    def __add__(self, other: Tensor) -> Tensor:
        return self.trace.apply("add", (self, other), (), [same_width(self, other)])[0]

    def __mul__(self, other: Tensor) -> Tensor:
        return self.trace.apply("mul", (self, other), (), [same_width(self, other)])[0]


@dataclass(frozen=True, slots=True)
class CacheSlot:
    """The KV cache of one layer, as a plan names it; it prints and compares as its layer number."""

    layer: int


class TracedCache:
    """`inputs.cache[i]` while tracing."""

    def __getitem__(self, layer: int) -> CacheSlot:
        return CacheSlot(layer)


@dataclass(frozen=True, slots=True)
class StateSlot:
    """A part of what a sequence carries from step to step, as a plan names it; parts are numbered as they come."""

    number: int


class Inputs:
    """What a step gives to a model function: traced values.

    Shapes: tokens and positions [T], outputs [R] rows whose result is wanted; cache[layer].
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.tokens = trace.source("input", "tokens", ("T",), "i32")
        self.positions = trace.source("input", "positions", ("T",), "i32")
        self.outputs = trace.source("input", "outputs", ("R",), "i32")
        self.cache = TracedCache()
        self._states = 0

    def state(self) -> StateSlot:
        """A place for one more recurrence of the model to keep its state in."""
        self._states += 1
        return StateSlot(self._states - 1)

    @property
    def types(self) -> Tensor:
        """Which of two texts that are compared each token belongs to. Shapes: [T]."""
        return self._trace.source("input", "types", ("T",), "i32")


class WeightTable:
    """Weights by name as a model function asks for them; "attn_q" means "attn_q.weight".

    Errors: FormatError naming the tensor that the file lacks.
    """

    def __init__(self, trace: Trace, entries: Mapping[str, tuple[Shape, str]], prefix: str = "") -> None:
        self._trace = trace
        self._entries = entries
        self._prefix = prefix

    def block(self, layer: int) -> WeightTable:
        """The weights of one layer."""
        return WeightTable(self._trace, self._entries, f"{self._prefix}blk.{layer}.")

    def under(self, prefix: str) -> WeightTable:
        """The weights whose names begin with the prefix, such as "enc."."""
        return WeightTable(self._trace, self._entries, self._prefix + prefix)

    def _full(self, name: str) -> str:
        return self._prefix + (name if name.endswith((".weight", ".bias", ".scale")) else f"{name}.weight")

    def get(self, name: str) -> Tensor | None:
        """The weight, or None when the file has none of that name."""
        full = self._full(name)
        return self._under(full) if full in self._entries else None

    def _under(self, full: str) -> Tensor:
        if full not in self._entries:
            raise FormatError(f"tensor '{full}' is missing", hint="the file is incomplete or of another architecture")
        shape, dtype = self._entries[full]
        return self._trace.source("weight", full, shape, dtype)

    def bare(self, name: str) -> Tensor:
        """The weight whose name in the file has no ending, such as "blk.0.ssm_a"."""
        return self._under(self._prefix + name)

    def bare_if_any(self, name: str) -> Tensor | None:
        """The same, or None when the file has none of that name."""
        return self.bare(name) if self._prefix + name in self._entries else None

    def __contains__(self, name: str) -> bool:
        return self._full(name) in self._entries

    def __getitem__(self, name: str) -> Tensor:
        return self._under(self._full(name))

    def first(self, *names: str) -> Tensor:
        """The first of the names that the file has."""
        for name in names:
            found = self.get(name)
            if found is not None:
                return found
        raise FormatError(f"none of the tensors {', '.join(names)} is there", hint="the file is incomplete")


def head_input(result: Tensor) -> Tensor:
    """The rows that the last linear op before a result reads: hidden states, when the result is logits.

    Errors: ShapeError when no linear op leads to the result.
    """
    made = {number: node for node in result.trace.nodes for number in node.outputs}
    number: int | None = result.number
    while number in made:
        node = made[number]
        number = node.inputs[0]
        if node.op == "linear" and number is not None:
            return Tensor(result.trace, number)
    raise ShapeError(f"{result.name}: no linear op leads to it")


def require(condition: bool, message: str) -> None:
    """Raise ShapeError with the message unless the condition holds."""
    if not condition:
        raise ShapeError(message)


def walk(value: Any) -> Iterator[Tensor]:
    """Every traced value inside an argument (itself, or inside a tuple or list)."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from walk(part)


def same_width(a: Tensor, b: Tensor) -> Shape:
    """The shape of what comes of two values element by element. Errors: ShapeError when their widths differ."""
    require(a.shape[-1] == b.shape[-1], f"{a.name} {a.shape} and {b.name} {b.shape} differ in width")
    return a.shape
