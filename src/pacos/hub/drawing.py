"""The plan of a model as data for a drawing: its parts in order, equal layers folded, what each operation reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pacos import quants
from pacos.hub.describe import optimised_plans, weight_facts
from pacos.ir.graph import Node
from pacos.ir.plan import Plan
from pacos.types import Archive, PageLayout

_LAYER = re.compile(r"((?:\w+\.)*?)blk\.(\d+)\.")
_PLACES = ("cache", "state")  # attributes that only say which layer it is


@dataclass(slots=True)
class _Part:
    """Nodes of one layer, or before (`number` -1) or after all layers (-2); `stack` tells encoders from decoders."""

    stack: str
    number: int
    nodes: list[Node] = field(default_factory=list)


def drawing(archive: Archive, layout: PageLayout | None = None) -> dict[str, Any]:
    """Everything that a drawing needs; `layout` is how the model's cache lies, when it is open.

    "parts" are in order of computation, an encoder's first: "layers" are the numbers of layers that are alike, empty
    for what comes before or after all of them; "bytes" and "parameters" count one of them. A tensor that an earlier
    part reads too is "tied" and counts no bytes.
    Units: bytes, numbers. Errors: as `optimised_plans`.
    """
    plans = optimised_plans(archive)
    seen: set[str] = set()
    folded: dict[Any, dict[str, Any]] = {}
    for plan, part in ((one, part) for one in plans for part in _parts(one)):
        operations = [_operation(archive, plan, node, part, seen) for node in part.nodes]
        key = (part.stack, min(part.number, 0), _alike(operations))
        known = folded.setdefault(key, {"stack": part.stack.rstrip("."), "layers": [], "operations": operations})
        known["layers"] += [part.number] if part.number >= 0 else []
    for found in folded.values():
        weights = [weight for one in found["operations"] for weight in one["weights"]]
        found["bytes"] = sum(weight["bytes"] for weight in weights)
        found["parameters"] = sum(math.prod(weight["shape"]) for weight in weights if not weight["tied"])
    unused = [entry for name, entry in archive.tensors.items() if name not in seen]
    return {
        "architecture": archive.metadata.get("general.architecture"),
        "bytes": sum(entry.nbytes for entry in archive.tensors.values()),
        **weight_facts(archive),
        "parts": list(folded.values()),
        "unused": {"tensors": len(unused), "bytes": sum(entry.nbytes for entry in unused)},
        "cache": None if layout is None else cache_bytes(layout),
    }


def cache_bytes(layout: PageLayout) -> dict[str, Any]:
    """What one token takes in the cache, all layers together, and the states of one sequence. Units: bytes."""
    keys = sum(quants.row_bytes(layout.type_k, width) for width in layout.key_width)
    values = sum(quants.row_bytes(layout.type_v, width) for width in layout.value_width)
    return {
        "type_k": layout.type_k,
        "type_v": layout.type_v,
        "layers": sum(1 for width in layout.key_width if width),
        "token_bytes": keys + values,
        "page_tokens": layout.page_tokens,
        "state_bytes": 4 * sum(layout.states),
    }


def _parts(plan: Plan) -> Iterator[_Part]:
    """The plan cut where the layers of the weights change; what reads no weight belongs to what came before."""
    owners = [_owner(plan, node) for node in plan.nodes]
    last = max((place for place, owner in enumerate(owners) if owner is not None), default=-1)
    part = _Part("", -1)
    for place, (node, owner) in enumerate(zip(plan.nodes, owners, strict=True)):
        if owner is not None and owner != (part.stack, part.number):
            yield part
            part = _Part(*owner)
        elif place > last and part.number != -2 and _weights(plan, node):
            yield part
            part = _Part("", -2)
        part.nodes.append(node)
    yield part


def _weights(plan: Plan, node: Node) -> list[str]:
    found = (plan.values[number] for number in node.inputs if number is not None)
    return [value.name for value in found if value.kind == "weight"]


def _owner(plan: Plan, node: Node) -> tuple[str, int] | None:
    """The layer that a node belongs to, if its weights tell; biases of T5's attention are the first one's."""
    if node.op == "attention":
        return None
    found = (_LAYER.match(name) for name in _weights(plan, node))
    return next(((one[1], int(one[2])) for one in found if one), None)


def _operation(archive: Archive, plan: Plan, node: Node, part: _Part, seen: set[str]) -> dict[str, Any]:
    weights = []
    for name in _weights(plan, node):
        entry, tied = archive.tensors[name], name in seen
        seen.add(name)
        short = name.removeprefix(f"{part.stack}blk.{part.number}.").removesuffix(".weight")
        nbytes = 0 if tied else entry.nbytes
        weights.append({"name": short, "shape": entry.shape, "type": entry.type, "bytes": nbytes, "tied": tied})
    said = [(name, value) for name, value in node.attributes if name not in _PLACES and value not in (None, False)]
    return {
        "op": node.op,
        "weights": weights,
        "attributes": {name: value if isinstance(value, int | float | str) else str(value) for name, value in said},
        "shapes": [[str(size) for size in plan.values[number].shape] for number in node.outputs],
        "cached": any(name in _PLACES for name, _ in node.attributes),
    }


def _alike(operations: list[dict[str, Any]]) -> str:
    """Equal for layers that compute alike; the last one takes fewer rows on, and the first makes angles for all."""
    return repr(
        [(one["op"], one["weights"], one["attributes"]) for one in operations if one["weights"] or one["cached"]]
    )
