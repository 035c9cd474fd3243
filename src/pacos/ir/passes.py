"""Optimisations: functions from plan to plan. What a fused op computes is said by the ops that it replaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from pacos.ir.graph import Node, Value
from pacos.ir.plan import Plan
from pacos.ir.registry import OPS

_JOINED = {"linear": "linears", "expert_linear": "expert_linears"}
_SHARED = {"linear": 1, "expert_linear": 2}  # operands before weight and bias
_GATED = {"silu": "silu_mul", "gelu": "gelu_mul", "gelu_tanh": "gelu_tanh_mul"}


def optimise(plan: Plan) -> Plan:
    """Run every pass in order; the result validates."""
    for one in PASSES:
        plan = one(plan)
    plan.validate()
    return plan


def fuse_linears(plan: Plan) -> Plan:
    """Join products with weights on the same input: QKV, gate and up; the input is quantised once for all."""
    groups: dict[object, list[Node]] = defaultdict(list)
    for node in plan.nodes:
        if node.op in _JOINED:
            groups[node.op, node.inputs[: _SHARED[node.op]]].append(node)
    firsts = {group[0].outputs: group for group in groups.values()}
    nodes = []
    for node in plan.nodes:
        if node.op not in _JOINED:
            nodes.append(node)
        elif node.outputs in firsts:
            nodes.append(_joined(firsts[node.outputs]))
    return replace(plan, nodes=tuple(nodes))


def _joined(group: list[Node]) -> Node:
    first = group[0]
    if len(group) == 1:
        return first
    shared = _SHARED[first.op]
    operands = list(first.inputs[:shared])
    for node in group:
        operands += [node.inputs[shared], node.inputs[shared + 1] if len(node.inputs) > shared + 1 else None]
    return Node(_JOINED[first.op], tuple(operands), (), tuple(node.outputs[0] for node in group))


def fuse_gated(plan: Plan) -> Plan:
    """Join an activation and the product that alone uses it."""
    users = _uses(plan)
    made = {number: node for node in plan.nodes for number in node.outputs}
    gone: set[int] = set()
    nodes = []
    for node in plan.nodes:
        gate = made.get(node.inputs[0]) if node.op == "mul" and node.inputs[0] is not None else None
        if gate is not None and gate.op in _GATED and users[gate.outputs[0]] == 1:
            gone.add(gate.outputs[0])
            node = Node(_GATED[gate.op], (gate.inputs[0], node.inputs[1]), (), node.outputs)
        nodes.append(node)
    return replace(
        plan, nodes=tuple(node for node in nodes if not (len(node.outputs) == 1 and node.outputs[0] in gone))
    )


def drop_unused(plan: Plan) -> Plan:
    """Drop nodes whose results nobody reads, and number the values anew."""
    needed = {plan.result}
    kept: list[Node] = []
    for node in reversed(plan.nodes):
        if _has_effects(node) or needed.intersection(node.outputs):
            kept.append(node)
            needed.update(number for number in node.inputs if number is not None)
    kept.reverse()
    used = sorted(needed | {number for node in kept for number in node.outputs})
    renumber = {old: new for new, old in enumerate(used)}
    values: list[Value] = [plan.values[old] for old in used]
    nodes = [
        replace(
            node,
            inputs=tuple(None if number is None else renumber[number] for number in node.inputs),
            outputs=tuple(renumber[number] for number in node.outputs),
        )
        for node in kept
    ]
    return Plan(plan.name, tuple(values), tuple(nodes), renumber[plan.result])


def _has_effects(node: Node) -> bool:
    return node.op in OPS and not OPS[node.op].pure


def _uses(plan: Plan) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for node in plan.nodes:
        for number in node.inputs:
            if number is not None:
                counts[number] += 1
    counts[plan.result] += 1
    return counts


PASSES: tuple[Callable[[Plan], Plan], ...] = (fuse_linears, fuse_gated, drop_unused)
