"""Low-rank adapters beside a model's weights: the plan computes w x + scale * B (A x), each sequence has scales.

A pass over any plan does it, so no family knows of adapters. A row whose scale is 0 gives the bits of the model alone.
DoRA's pairs add a share of w x too (hub/dora.py).
Source: arXiv:2106.09685 (LoRA); tensor names and scales as in llama.cpp's adapter files.
Shapes: r rank, N outputs, D inputs, V vocabulary, X experts; A [r, D] and B [N, r], of experts [X, r, D] and [X, N, r],
of the embedding A [V, r].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.ir.graph import Node, Shape, Value
from pacos.ir.plan import Plan
from pacos.lazy import np
from pacos.native import address_of
from pacos.types import Archive, TensorEntry

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
SCALES = "scales"
_IN_MEMORY = -1
_WEIGHT_PLACE = {"linear": 1, "embed": 1, "expert_linear": 2}


@dataclass(frozen=True, slots=True)
class Factor:
    """One of the two matrices of an adapter's pair, in any type that a tensor may have."""

    shape: tuple[int, ...]
    type: str
    data: memoryview


@dataclass(frozen=True, slots=True)
class Pair:
    """What an adapter adds to one tensor, times `factor`, which is alpha over rank.

    DoRA's has lengths of rows [N]; `made` reads the tensor and gives A, B, the shares of w x to add, and the bias.
    """

    a: Factor
    b: Factor
    factor: float
    magnitudes: Factor | None = None
    made: Callable[[], tuple[Factor, ...]] | None = None

    @property
    def rank(self) -> int:
        """The width between the two."""
        return self.b.shape[-1]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Pairs by the names of the tensors that they change, and how strongly they act unless somebody says otherwise.

    `wholes` stand in place of tensors, weights and their biases; between 0 and 1 is a mixture.
    """

    path: Path
    scale: float
    pairs: Mapping[str, Pair]
    wholes: Mapping[str, Factor] = field(default_factory=dict)


class AdaptedArchive:
    """A model's tensors, and those of its adapters under names of their own."""

    def __init__(self, base: Archive, adapters: Sequence[Adapter]) -> None:
        self.path = base.path
        self.metadata: Mapping[str, Any] = base.metadata
        self._base = base
        self._factors = {
            name: factor
            for number, adapter in enumerate(adapters)
            for target, pair in adapter.pairs.items()
            for name, factor in zip(_names(number, target), _parts(pair), strict=False)
        }
        for number, adapter in enumerate(adapters):
            self._factors |= {_name_of_whole(number, name): one for name, one in adapter.wholes.items()}
        added = {
            name: TensorEntry(name, one.shape, one.type, _IN_MEMORY, 0, len(one.data))
            for name, one in self._factors.items()
        }
        self.tensors: Mapping[str, TensorEntry] = {**base.tensors, **added}

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor."""
        return self._factors[name].data if name in self._factors else self._base.data(name)

    def address(self, name: str) -> int:
        """Address of a tensor's first byte."""
        return address_of(self._factors[name].data) if name in self._factors else self._base.address(name)

    def close(self) -> None:
        """Release the model's files."""
        self._base.close()


def _names(number: int, target: str) -> tuple[str, str, str, str]:
    a, b, own, bias = (f"adapter.{number}.{target}.lora_{part}" for part in ("a", "b", "own", "bias"))
    return a, b, own, bias


def _name_of_whole(number: int, target: str) -> str:
    return f"adapter.{number}.{target}.whole"


def _parts(pair: Pair) -> tuple[Factor, ...]:
    return pair.made() if pair.made is not None else (pair.a, pair.b)


def in_memory(values: Any) -> Factor:
    """An array as F32."""
    whole: Any = np.ascontiguousarray(values, np.float32)
    return Factor(whole.shape, "F32", memoryview(whole).cast("B"))


def bias_of(target: str) -> str:
    """The name of what is added to the product with a matrix."""
    return target.removesuffix("weight") + "bias"


def adapted(plan: Plan, adapters: Sequence[Adapter], tensors: Mapping[str, TensorEntry]) -> Plan:
    """The plan with the adapters' products added; `tensors` are the model's own. See `check_fits`."""
    if not adapters:
        return plan
    made = _Additions(plan, adapters, tensors)
    nodes = [new for node in plan.nodes for new in made.nodes_for(node)]
    return replace(plan, values=tuple(made.values), nodes=(*made.first, *nodes))


def check_fits(adapters: Sequence[Adapter], plans: Sequence[Plan], tensors: Mapping[str, TensorEntry]) -> None:
    """Refuse adapters with pairs that none of a model's plans can use.

    Errors: FormatError for a pair that does not fit its tensor; UnsupportedModel for one whose tensor the model does
    not multiply by.
    """
    used: dict[str, set[tuple[str, str]]] = {}
    for plan in plans:
        for node in plan.nodes:
            if (found := _target(node, plan.values, tensors)) is not None:
                bias = node.inputs[2] if node.op == "linear" else None
                used.setdefault(found, set()).add((node.op, "" if bias is None else plan.values[bias].name))
    for adapter in adapters:
        for target, pair in adapter.pairs.items():
            where = f"{adapter.path}: the pair for '{target}'"
            entry = tensors.get(target) or (tensors.get(EMBEDDING) if target == OUTPUT else None)
            if entry is None:
                raise FormatError(f"{where}: the model has no such tensor", hint="is it an adapter of another model?")
            if _wanted(target, entry.shape, pair.rank) != (pair.a.shape, pair.b.shape):
                problem = f"{where} is {pair.a.shape} and {pair.b.shape}, the tensor {entry.shape}"
                raise FormatError(problem, hint="is it an adapter of another model?")
            if target not in used:
                raise UnsupportedModel(f"{where}: this model uses that tensor in a way that adapters cannot change")
            if pair.magnitudes is not None:
                _check_magnitudes(where, target, entry.shape, pair, used[target])
        for target, one in adapter.wholes.items():
            _check_whole(f"{adapter.path}: its '{target}'", target, one, tensors, used)


def _check_magnitudes(where: str, target: str, shape: tuple[int, ...], pair: Pair, uses: set[tuple[str, str]]) -> None:
    found = pair.magnitudes.shape if pair.magnitudes is not None else ()
    if found != shape[:1]:
        raise FormatError(f"{where} has magnitudes of shape {found}, the tensor is {shape}")
    if any(op != "linear" or bias not in ("", bias_of(target)) for op, bias in uses):
        hint = "merge it into the model with PEFT, and use that"
        raise UnsupportedModel(f"{where} is DoRA's, which is computed for plain matrices alone", hint=hint)


def _check_whole(
    where: str, target: str, one: Factor, tensors: Mapping[str, TensorEntry], used: Mapping[str, set[tuple[str, str]]]
) -> None:
    entry = tensors.get(target) or (tensors.get(EMBEDDING) if target == OUTPUT else None)
    if entry is None or entry.shape != one.shape:
        needed = "there is no such tensor" if entry is None else f"the model's is {entry.shape}"
        raise FormatError(f"{where} is {one.shape}, {needed}", hint="give the model that the adapter was made of")
    weight = target.removesuffix("bias") + "weight" if target.endswith("bias") else target
    uses = used.get(weight, set())
    if not uses or any(op not in ("linear", "embed") or bias not in ("", bias_of(weight)) for op, bias in uses):
        raise UnsupportedModel(f"{where} replaces what is no plain matrix", hint="merge it into the model with PEFT")


def _wanted(target: str, shape: tuple[int, ...], rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if target == EMBEDDING:
        return (shape[0], rank), (shape[1], rank)
    return (*shape[:-2], rank, shape[-1]), (*shape[:-1], rank)


def _target(node: Node, values: Sequence[Value], tensors: Mapping[str, TensorEntry]) -> str | None:
    """The tensor that a node multiplies by, as adapters name it: an embedding that is the output too has two names."""
    place = _WEIGHT_PLACE.get(node.op)
    number = node.inputs[place] if place is not None else None
    if number is None or values[number].kind != "weight":
        return None
    name = values[number].name
    return OUTPUT if node.op == "linear" and name == EMBEDDING and OUTPUT not in tensors else name


class _Additions:
    """New values and nodes while a plan is gone through."""

    def __init__(self, plan: Plan, adapters: Sequence[Adapter], tensors: Mapping[str, TensorEntry]) -> None:
        self.values = list(plan.values)
        self.first: list[Node] = []
        self._adapters = adapters
        self._tensors = tensors
        self._scales = self._value("input", SCALES, ("T", len(adapters)), "f32")
        self._scales_of_outputs: int | None = None

    def nodes_for(self, node: Node) -> Iterator[Node]:
        """The node itself, or with what adapters add to its result."""
        target = _target(node, self.values, self._tensors)
        found = [] if target is None else [(i, one.pairs.get(target)) for i, one in enumerate(self._adapters)]
        pairs = [(i, pair) for i, pair in found if pair is not None]
        wholes = [i for i, one in enumerate(self._adapters) if target in one.wholes]
        if target is None or not (pairs or wholes):
            yield node
            return
        shape = self.values[node.outputs[0]].shape
        total = self._value("node", node.op, shape, "f32")
        alone = replace(node, outputs=(total,))
        yield alone
        parts = [self._mixed(alone, target, number, shape) for number in wholes]
        for number, pair in pairs:
            product = self._product if pair.magnitudes is None else self._weighed
            parts.append(product(alone, target, number, pair, shape))
        for place, part in enumerate(parts):
            yield from part
            last = place == len(parts) - 1
            result = node.outputs[0] if last else self._value("node", "add", shape, "f32")
            yield Node("add", (total, part[-1].outputs[0]), (), (result,))
            total = result

    def _mixed(self, node: Node, target: str, number: int, shape: Shape) -> list[Node]:
        """Nodes of a tensor that stands in place of the model's: the last one's result is what it gives otherwise."""
        wholes = self._adapters[number].wholes
        weight, *biases = (
            self._value("weight", _name_of_whole(number, name), wholes[name].shape, wholes[name].type)
            for name in (target, bias_of(target))
            if name in wholes
        )
        whole, less, apart, scaled = (
            self._value("node", op, shape, "f32") for op in (node.op, "scale", "add", "scale_rows")
        )
        more = () if node.op == "embed" else (biases[0] if biases else node.inputs[2],)
        return [
            Node(node.op, (node.inputs[0], weight, *more), (), (whole,)),
            Node("scale", (node.outputs[0],), (("factor", -1.0),), (less,)),
            Node("add", (whole, less), (), (apart,)),
            Node("scale_rows", (apart, self._scales_for(shape[0])), (("column", number), ("factor", 1.0)), (scaled,)),
        ]

    def _product(self, node: Node, target: str, number: int, pair: Pair, shape: Shape) -> list[Node]:
        a, b = (
            self._value("weight", name, one.shape, one.type)
            for name, one in zip(_names(number, target), (pair.a, pair.b), strict=False)
        )
        inner_shape = (*shape[:-1], pair.rank)
        inner, scaled = (self._value("node", op, inner_shape, "f32") for op in (node.op, "scale_rows"))
        outer = self._value("node", "linear", shape, "f32")
        scales = self._scales_for(shape[0])
        attributes = (("column", number), ("factor", pair.factor))
        times = Node("scale_rows", (inner, scales), attributes, (scaled,))
        if node.op == "expert_linear":
            x, chosen = node.inputs[:2]
            first, second = (x, chosen, a, None), (scaled, chosen, b, None)
            return [Node(node.op, first, (), (inner,)), times, Node(node.op, second, (), (outer,))]
        narrow = (node.inputs[0], a) if node.op == "embed" else (node.inputs[0], a, None)
        return [Node(node.op, narrow, (), (inner,)), times, Node("linear", (scaled, b, None), (), (outer,))]

    def _weighed(self, node: Node, target: str, number: int, pair: Pair, shape: Shape) -> list[Node]:
        """Nodes of DoRA, of which the last one is added; the node's output is the model's own product."""
        rows, width = shape[0], int(shape[-1])
        names = _names(number, target)
        a, b, own = (
            self._value("weight", *one)
            for one in zip(names, (pair.a.shape, pair.b.shape, (width,)), (pair.a.type, "F32", "F32"), strict=False)
        )
        bias = None if node.inputs[2] is None else self._value("weight", names[3], (width,), "F32")
        inner, outer, apart, weighed, whole, both, scaled = (
            self._value("node", op, one, "f32")
            for op, one in (
                ("linear", (*shape[:-1], pair.rank)),
                ("linear", shape),
                ("heads", (rows, width, 1)),
                ("scale_heads", (rows, width, 1)),
                ("flat", shape),
                ("add", shape),
                ("scale_rows", shape),
            )
        )
        return [
            Node("linear", (node.inputs[0], a, None), (), (inner,)),
            Node("linear", (inner, b, bias), (), (outer,)),
            Node("heads", (node.outputs[0],), (("width", 1),), (apart,)),
            Node("scale_heads", (apart, own), (), (weighed,)),
            Node("flat", (weighed,), (), (whole,)),
            Node("add", (outer, whole), (), (both,)),
            Node("scale_rows", (both, self._scales_for(rows)), (("column", number), ("factor", 1.0)), (scaled,)),
        ]

    def _scales_for(self, rows: int | str) -> int:
        if rows == "T":
            return self._scales
        if self._scales_of_outputs is None:
            outputs = next(n for n, one in enumerate(self.values) if (one.kind, one.name) == ("input", "outputs"))
            made = self._value("node", "take", ("R", len(self._adapters)), "f32")
            self.first.append(Node("take", (self._scales, outputs), (), (made,)))
            self._scales_of_outputs = made
        return self._scales_of_outputs

    def _value(self, kind: str, name: str, shape: Shape, dtype: str) -> int:
        self.values.append(Value(kind, name, shape, dtype))
        return len(self.values) - 1
