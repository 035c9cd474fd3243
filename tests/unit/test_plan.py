"""Tracing, plans and passes: what a model function leaves behind, and what passes may change."""

from __future__ import annotations

import pytest

from pacos.errors import FormatError, ShapeError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Shape, Tensor, WeightTable
from pacos.ir.passes import drop_unused, fuse_gated, fuse_linears, optimise
from pacos.ir.plan import Plan, trace_model, trace_op

D, F, V = 8, 16, 5
ENTRIES: dict[str, tuple[Shape, str]] = {
    "token_embd.weight": ((V, D), "Q8_0"),
    "blk.0.norm.weight": ((D,), "F32"),
    "blk.0.gate.weight": ((F, D), "Q4_K"),
    "blk.0.up.weight": ((F, D), "Q4_K"),
    "blk.0.up.bias": ((F,), "F32"),
    "blk.0.down.weight": ((D, F), "Q6_K"),
}


def model(inputs: Inputs, weights: WeightTable) -> Tensor:
    """A gated layer between an embedding and its own transpose."""
    x = ops.embed(inputs.tokens, weights["token_embd"])
    w = weights.block(0)
    h = ops.rms_norm(x, w["norm"], eps=1e-5)
    gate = ops.silu(ops.linear(h, w["gate"]))
    up = ops.linear(ops.rms_norm(x, w["norm"], eps=1e-5), w["up"], w.get("up.bias"))  # the same norm again
    x = x + ops.linear(gate * up, w["down"])
    return ops.linear(ops.take(x, inputs.outputs), weights.first("output", "token_embd"))


def traced() -> Plan:
    return trace_model("toy", model, ENTRIES)


def test_text_is_the_whole_computation() -> None:
    lines = traced().text().splitlines()
    assert lines[0] == "plan toy: 10 nodes, 6 weights"
    assert lines[1] == "%4 = embed(tokens, token_embd.weight:Q8_0[5, 8]) [T, 8]"
    assert lines[2] == "%6 = rms_norm(%4, blk.0.norm.weight:F32[8]; eps=1e-05) [T, 8]"
    assert lines[-2].endswith(", token_embd.weight:Q8_0[5, 8]) [R, 5]")
    assert lines[-1].startswith("return %")
    assert traced().text() == traced().text()


def test_equal_nodes_are_recorded_once() -> None:
    assert sum(node.op == "rms_norm" for node in traced().nodes) == 1


def test_linears_on_one_input_are_joined() -> None:
    plan = fuse_linears(traced())
    joined = [node for node in plan.nodes if node.op == "linears"]
    assert len(joined) == 1 and len(joined[0].outputs) == 2
    assert joined[0].inputs[2] is None, "the gate has no bias"
    assert joined[0].inputs[4] is not None, "up keeps its bias"
    plan.validate()


def test_gate_and_product_are_joined_only_when_nobody_else_needs_the_gate() -> None:
    plan = fuse_gated(fuse_linears(traced()))
    assert [node.op for node in plan.nodes].count("silu_mul") == 1
    assert not any(node.op == "silu" for node in plan.nodes)

    def shared(inputs: Inputs, weights: WeightTable) -> Tensor:
        gate = ops.silu(ops.embed(inputs.tokens, weights["token_embd"]))
        return ops.add(gate * gate, gate)

    kept = fuse_gated(trace_model("shared", shared, ENTRIES))
    assert [node.op for node in kept.nodes] == ["embed", "silu", "mul", "add"]


def test_unused_nodes_go_and_numbers_close_up() -> None:
    def wasteful(inputs: Inputs, weights: WeightTable) -> Tensor:
        x = ops.embed(inputs.tokens, weights["token_embd"])
        ops.silu(x)
        return ops.take(x, inputs.outputs)

    plan = drop_unused(trace_model("wasteful", wasteful, ENTRIES))
    assert [node.op for node in plan.nodes] == ["embed", "take"]
    assert plan.weight_names() == ("token_embd.weight",)
    plan.validate()


def test_optimised_plans_validate_and_keep_the_result() -> None:
    plan = optimise(traced())
    assert plan.values[plan.result].shape == ("R", V)
    assert [n.op for n in plan.nodes] == ["embed", "rms_norm", "linears", "silu_mul", "linear", "add", "take", "linear"]


def test_missing_tensor_is_named() -> None:
    entries = {name: entry for name, entry in ENTRIES.items() if "down" not in name}
    with pytest.raises(FormatError, match=r"blk\.0\.down\.weight"):
        trace_model("toy", model, entries)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ShapeError, match=r"blk\.0\.down\.weight"):
        trace_model("toy", model, {**ENTRIES, "blk.0.down.weight": ((D, F + 1), "F32")})


def test_attributes_are_complete_even_when_defaulted() -> None:
    plan = trace_op(ops.rotate, {"x": ((3, 2, 4), "F32"), "angles": ((3, 4), "F32")}, style="pairs")
    assert plan.nodes[0].attribute("style") == "pairs"


def test_a_plan_that_uses_a_value_too_early_is_refused() -> None:
    plan = traced()
    backwards = Plan(plan.name, plan.values, tuple(reversed(plan.nodes)), plan.result)
    with pytest.raises(ShapeError, match="before it is made"):
        backwards.validate()
