"""A plan: the flat list of nodes that a model function leaves behind, with its text and its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pacos.errors import ShapeError
from pacos.ir.graph import Inputs, Node, Shape, Tensor, Trace, Value, WeightTable
from pacos.ir.registry import OPS


@dataclass(frozen=True, slots=True)
class Plan:
    """Nodes over numbered values, in an order that can run; `result` is the logits' number."""

    name: str
    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    result: int

    def text(self) -> str:
        """The plan as readable lines; equal text means equal computation (golden files hold it)."""
        weights = sum(value.kind == "weight" for value in self.values)
        lines = [f"plan {self.name}: {len(self.nodes)} nodes, {weights} weights"]
        for node in self.nodes:
            targets = ", ".join(f"%{number}" for number in node.outputs)
            operands = ", ".join(self._operand(number) for number in node.inputs)
            attributes = "".join(f"; {key}={_show(value)}" for key, value in node.attributes if _says(value))
            shapes = " ".join(_show_shape(self.values[number].shape) for number in node.outputs)
            call = f"{node.op}({operands}{attributes})"
            lines.append(f"{targets} = {call} {shapes}" if targets else call)
        lines.append(f"return {self._operand(self.result)}")
        return "\n".join(lines) + "\n"

    def _operand(self, number: int | None) -> str:
        if number is None:
            return "-"
        value = self.values[number]
        if value.kind == "node":
            return f"%{number}"
        return value.name if value.kind == "input" else f"{value.name}:{value.dtype}{_show_shape(value.shape)}"

    def validate(self) -> None:
        """Check that every operand is made before it is used and every number exists.

        Errors: ShapeError naming the node.
        """
        made = {number for number, value in enumerate(self.values) if value.kind != "node"}
        for node in self.nodes:
            for number in node.inputs:
                if number is not None and number not in made:
                    raise ShapeError(f"plan {self.name}: {node.op} uses %{number} before it is made")
            made.update(node.outputs)
        if self.result not in made:
            raise ShapeError(f"plan {self.name}: the result %{self.result} is never made")

    def weight_names(self) -> tuple[str, ...]:
        """Names of the tensors that the plan reads."""
        used = {number for node in self.nodes for number in node.inputs}
        return tuple(v.name for number, v in enumerate(self.values) if v.kind == "weight" and number in used)


def state_widths(plan: Plan) -> tuple[int, ...]:
    """Floats of each part of the state that a sequence carries from step to step; empty when the model has none."""
    found: dict[int, int] = {}
    for node in plan.nodes:
        floats = OPS[node.op].state
        if floats is not None:
            operands = (None if number is None else plan.values[number] for number in node.inputs)
            found[node.attribute("state").number] = floats(*operands)
    return tuple(found[number] for number in sorted(found))


def _says(value: Any) -> bool:
    return value is not None and value is not False  # what is absent or off is not written


def _show_shape(shape: Shape) -> str:
    return "[" + ", ".join(str(dim) for dim in shape) + "]"


def _show(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def trace_model(
    name: str, model: Callable[..., Tensor], entries: Mapping[str, tuple[Shape, str]], *options: Any
) -> Plan:
    """Run a model function on traced values and give its plan.

    Shapes: `entries` maps tensor names to (shape, type) as the file has them.
    Errors: FormatError for a missing tensor, ShapeError for one of the wrong shape.
    """
    trace = Trace()
    result = model(Inputs(trace), WeightTable(trace, entries), *options)
    plan = Plan(name, tuple(trace.values), tuple(trace.nodes), result.number)
    plan.validate()
    return plan


def trace_op(function: Callable[..., Any], operands: Mapping[str, tuple[Shape, str]], **attributes: Any) -> Plan:
    """A plan of one op whose operands are weights: how kernels are tested against their definitions.

    Shapes: every operand and result is fixed; the result is the op's first output.
    """
    trace = Trace()
    tensors = [trace.source("weight", name, shape, dtype) for name, (shape, dtype) in operands.items()]
    result = function(*tensors, **attributes)
    first = result[0] if isinstance(result, tuple) else result
    plan = Plan("op", tuple(trace.values), tuple(trace.nodes), first.number)
    plan.validate()
    return plan
