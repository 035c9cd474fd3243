"""Experts: native products against their definition, and that a row's bits depend on that row alone."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from held_archive import HeldArchive, make_step

from pacos.backends import Backend, reference
from pacos.backends.cpu import CpuBackend, isas, open_backend
from pacos.errors import ShapeError
from pacos.ir import ops
from pacos.ir.graph import Inputs, WeightTable
from pacos.ir.passes import optimise
from pacos.ir.plan import Plan, trace_model
from pacos.types import PageLayout

VOCAB, WIDTH, HIDDEN, EXPERTS, USED = 300, 256, 256, 5, 2
NO_CACHE = PageLayout(64, (), ())
SHAPES: dict[str, tuple[int, ...]] = {
    "embedding": (VOCAB, WIDTH),
    "router": (EXPERTS, WIDTH),
    "gate": (EXPERTS, HIDDEN, WIDTH),
    "up": (EXPERTS, HIDDEN, WIDTH),
    "down": (EXPERTS, WIDTH, HIDDEN),
}
# Types of gate and up, and of down; those of MXFP4 have biases.
MIXES = [("Q4_K", "Q6_K"), ("Q8_0", "Q4_K"), ("F32", "F16"), ("MXFP4", "Q8_0")]


def mixture(inputs: Inputs, weights: WeightTable) -> Any:
    """One layer of experts between an embedding and its output."""
    x = ops.embed(inputs.tokens, weights["embedding"])
    shares, chosen = ops.route(ops.linear(x, weights["router"]), None, used=USED, normalise=True)
    gate = ops.expert_linear(x, chosen, weights["gate"], weights.get("gate.bias"))
    up = ops.expert_linear(x, chosen, weights["up"])
    y = ops.expert_linear(ops.silu(gate) * up, chosen, weights["down"], weights.get("down.bias"))
    return ops.take(ops.weigh(y, shares), inputs.outputs)


def an_archive(gate: str, down: str) -> HeldArchive:
    rng = np.random.default_rng(4)
    arrays = {f"{name}.weight": rng.standard_normal(shape, np.float32) * 0.2 for name, shape in SHAPES.items()}
    if gate == "MXFP4":
        arrays |= {
            "gate.bias": rng.standard_normal((EXPERTS, HIDDEN)),
            "down.bias": rng.standard_normal((EXPERTS, WIDTH)),
        }
    types = {"gate.weight": gate, "up.weight": gate, "down.weight": down}
    return HeldArchive(arrays, {**types, "gate.bias": "F16"})


def a_program(backend: Backend, archive: HeldArchive, max_tokens: int = 130) -> Any:
    plan = optimise(trace_model("mixture", mixture, archive.entries()))
    return backend.compile(plan, backend.upload(archive, plan.weight_names()), backend.pages(4, NO_CACHE), max_tokens)


def rows_of(program: Any, tokens: list[int]) -> np.ndarray:
    step = make_step([(tokens, range(len(tokens)), [0, 1, 2])])
    return np.array(program.run(step), np.float32).reshape(len(tokens), WIDTH)


def tokens_of(count: int, seed: int = 1) -> list[int]:
    return [int(one) for one in np.random.default_rng(seed).integers(0, VOCAB, count)]


@pytest.fixture(scope="module", params=isas())
def backend(request: pytest.FixtureRequest) -> Iterator[CpuBackend]:
    opened = open_backend(threads=2, isa=request.param, activations="f32")
    yield opened
    opened.close()


@pytest.mark.parametrize(("gate", "down"), MIXES)
def test_exact_products_agree_with_the_definition(gate: str, down: str, backend: CpuBackend) -> None:
    archive = an_archive(gate, down)
    tokens = tokens_of(40)
    expected, found = (rows_of(a_program(one, archive), tokens) for one in (reference.open_backend(), backend))
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) <= 5e-6


@pytest.mark.parametrize(("gate", "down"), MIXES)
def test_neighbours_chunks_threads_and_instruction_sets_change_no_bit(gate: str, down: str) -> None:
    archive, tokens = an_archive(gate, down), tokens_of(64)
    seen = set()
    for threads, isa in [(1, isas()[0]), *((2, isa) for isa in isas())]:
        opened = open_backend(threads=threads, isa=isa)
        program = a_program(opened, archive)
        whole = rows_of(program, tokens)
        cut = [rows_of(program, tokens[a:b]) for a, b in ((0, 1), (1, 3), (3, 14), (14, 30), (30, 64))]
        assert np.concatenate(cut).tobytes() == whole.tobytes()
        among = rows_of(program, tokens_of(9, 2) + tokens[:20] + tokens_of(30, 3))
        assert among[9:29].tobytes() == whole[:20].tobytes()
        seen.add(whole.tobytes())
        opened.close()
    assert len(seen) == 1


def test_the_input_is_grouped_once_for_gate_and_up() -> None:
    plan = optimise(trace_model("mixture", mixture, an_archive("Q4_K", "Q6_K").entries()))
    assert [node.op for node in plan.nodes].count("expert_linears") == 1
    assert [node.op for node in plan.nodes].count("expert_linear") == 1


def test_a_row_that_is_no_number_still_names_experts_that_exist(backend: CpuBackend) -> None:
    archive = HeldArchive({"scores.weight": np.full((4, 6), np.nan, np.float32)})

    def routed(inputs: Inputs, weights: WeightTable) -> Any:
        shares, chosen = ops.route(weights["scores"], None, used=3, groups=2, groups_used=1, score="sigmoid")
        return ops.weigh(ops.heads(ops.mul(chosen, chosen), width=3), ops.columns(shares, start=0, stop=1))

    plan = trace_model("routed", routed, archive.entries())
    chosen = replace(plan, result=next(node.outputs[1] for node in plan.nodes if node.op == "route"))
    program = backend.compile(chosen, backend.upload(archive, ("scores.weight",)), backend.pages(1, NO_CACHE), 1)
    raw = array("f", program.run(make_step([([0], [0], [0])]))).tobytes()
    found = np.frombuffer(raw, np.int32).reshape(4, 3)
    assert ((found >= 0) & (found < 6)).all() and all(len(set(row)) == 3 for row in found.tolist())


def test_experts_of_another_router_are_refused(backend: CpuBackend) -> None:
    """Native code trusts numbers of experts, so their source must be known."""
    arrays = {"scores.weight": np.zeros((2, 9), np.float32), "w.weight": np.zeros((4, 16, 16), np.float32)}
    archive = HeldArchive({**arrays, "x.weight": np.zeros((2, 16), np.float32)})

    def mixed(inputs: Inputs, weights: WeightTable) -> Any:
        shares, chosen = ops.route(weights["scores"], None, used=2)
        return ops.weigh(ops.expert_linear(weights["x"], chosen, weights["w"]), shares)

    plan: Plan = trace_model("mixed", mixed, archive.entries())
    with pytest.raises(ShapeError, match="chosen among others"):
        backend.compile(plan, backend.upload(archive, plan.weight_names()), backend.pages(1, NO_CACHE), 1)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"used": 9}, "9 of 8 experts"),
        ({"used": 1, "groups": 3}, "groups of 8"),
        ({"used": 3, "groups": 4, "groups_used": 1}, "3 of 8 experts in 1 of 4"),
        ({"used": 1, "score": "luck"}, "'luck'"),
        ({"used": 1, "groups": 2, "group_best": 9}, "best 9"),
    ],
)
def test_a_route_that_cannot_be_is_refused(given: dict[str, Any], problem: str) -> None:
    archive = HeldArchive({"scores.weight": np.zeros((2, 8), np.float32)})
    with pytest.raises(ShapeError, match=problem):
        trace_model("bad", lambda inputs, weights: ops.route(weights["scores"], None, **given)[0], archive.entries())
