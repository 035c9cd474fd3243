"""Recurrent ops: kernels against their numpy bodies, and the same bits however tokens are cut and who is there."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from held_archive import HeldArchive

from pacos.backends import reference
from pacos.backends.cpu import isas, open_backend
from pacos.errors import ShapeError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.plan import Plan, state_widths, trace_model
from pacos.types import PageLayout, Step

TOKENS, WIDTH, SLOTS = 64, 48, 8

Model = Callable[[Inputs, WeightTable], Tensor]


def rows(inputs: Inputs, weights: WeightTable, width: int, number: int, factor: float = 1.0) -> Tensor:
    """Random rows for each token, [T, width]."""
    return ops.scale(ops.embed(inputs.tokens, weights[f"table{number}_{width}"]), factor=factor)


def conv(taps: int, bias: bool) -> Model:
    def model(inputs: Inputs, weights: WeightTable) -> Tensor:
        x = rows(inputs, weights, WIDTH, 0)
        return ops.short_conv(x, weights[f"taps{taps}"], weights["bias"] if bias else None, state=inputs.state())

    return model


def before(inputs: Inputs, weights: WeightTable) -> Tensor:
    return ops.token_before(rows(inputs, weights, WIDTH, 0), state=inputs.state())


def selective(N: int) -> Model:
    def model(inputs: Inputs, weights: WeightTable) -> Tensor:
        x, dt = rows(inputs, weights, WIDTH, 0), ops.softplus(rows(inputs, weights, WIDTH, 1))
        b, c = rows(inputs, weights, N, 2), rows(inputs, weights, N, 3)
        return ops.selective_scan(x, dt, b, c, weights[f"decays{N}"], state=inputs.state())

    return model


def grouped(N: int) -> Model:
    def model(inputs: Inputs, weights: WeightTable) -> Tensor:
        x = ops.heads(rows(inputs, weights, WIDTH, 0), width=12)
        b, c = (ops.heads(rows(inputs, weights, 2 * N, one), width=N) for one in (2, 3))
        dt = ops.softplus(rows(inputs, weights, 4, 1))
        return ops.grouped_scan(x, dt, b, c, weights["head_decays"], state=inputs.state())

    return model


def delta(N: int, wide: bool, tiled: bool) -> Model:
    def model(inputs: Inputs, weights: WeightTable) -> Tensor:
        q, k = (ops.l2_norm(ops.heads(rows(inputs, weights, 2 * N, one), width=N), eps=1e-6) for one in (2, 3))
        v = ops.heads(rows(inputs, weights, WIDTH, 0), width=12)
        g = ops.scale(ops.softplus(rows(inputs, weights, 4 * N if wide else 4, 1)), factor=-0.3)
        g = ops.heads(g, width=N) if wide else g
        beta = ops.sigmoid(rows(inputs, weights, 4, 3))
        return ops.delta_rule(q, k, v, g, beta, state=inputs.state(), tiled=tiled)

    return model


def six(inputs: Inputs, weights: WeightTable) -> Tensor:
    r, k, v = (ops.heads(rows(inputs, weights, WIDTH, one, 0.5), width=16) for one in (0, 1, 2))
    g = ops.heads(ops.scale(ops.softplus(rows(inputs, weights, WIDTH, 3)), factor=-0.4), width=16)
    return ops.wkv6(r, k, v, g, weights["bonus"], state=inputs.state())


def seven(inputs: Inputs, weights: WeightTable) -> Tensor:
    r, k, v, a = (ops.heads(rows(inputs, weights, WIDTH, one, 0.5), width=24) for one in (0, 1, 2, 3))
    g = ops.heads(ops.scale(ops.sigmoid(rows(inputs, weights, WIDTH, 1)), factor=-0.6), width=24)
    a = ops.l2_norm(a, eps=1e-6)
    return ops.wkv7(r, g, k, v, a, ops.scale(a, factor=-0.7), state=inputs.state())


MODELS: dict[str, Model] = {
    "conv of 4": conv(4, bias=True),
    "conv of 3": conv(3, bias=False),
    "token before": before,
    "selective scan": selective(16),
    "selective scan, odd": selective(5),
    "grouped scan": grouped(32),
    "grouped scan, odd": grouped(20),
    "delta rule": delta(16, wide=False, tiled=False),
    "delta rule, tiled": delta(24, wide=False, tiled=True),
    "delta rule, wide decays": delta(16, wide=True, tiled=False),
    "wkv 6": six,
    "wkv 7": seven,
}


def archive() -> HeldArchive:
    rng = np.random.default_rng(3)
    arrays = {
        f"table{number}_{width}.weight": rng.standard_normal((TOKENS, width), np.float32)
        for number in range(4)
        for width in (4, 5, 10, 16, 20, 32, 40, 48, 64, 96)
    }
    arrays |= {f"taps{taps}.weight": rng.standard_normal((WIDTH, taps), np.float32) for taps in (3, 4)}
    arrays |= {f"decays{N}.weight": -rng.uniform(0.1, 2, (WIDTH, N)).astype(np.float32) for N in (5, 16)}
    arrays["bias.weight"] = rng.standard_normal(WIDTH, np.float32)
    arrays["head_decays.weight"] = -rng.uniform(0.1, 2, (4, 1)).astype(np.float32)
    arrays["bonus.weight"] = rng.standard_normal((3, 16), np.float32)
    return HeldArchive(arrays)


class Runner:
    """A program of one op; each sequence keeps its state from step to step."""

    def __init__(self, backend: Any, plan: Plan, held: HeldArchive, slots: int = SLOTS) -> None:
        layout = PageLayout(64, (), (), states=state_widths(plan))
        pages = backend.pages(1, layout, slots)
        self.program = backend.compile(plan, backend.upload(held, tuple(held.tensors)), pages, 400)

    def step(self, *parts: tuple[Sequence[int], int, int, int]) -> list[np.ndarray]:
        """Rows for each part: its tokens, the position of the first, slots before and after."""
        tokens = [token for part in parts for token in part[0]]
        positions = [first + i for part, first, *_ in parts for i in range(len(part))]
        starts = [0, *np.cumsum([len(part[0]) for part in parts]).tolist()]
        arrays = (array("i", one) for one in (tokens, positions, starts))
        slots = [array("i", [part[place] for part in parts]) for place in (2, 3)]
        found = self.program.run(Step(*arrays, (array("i"),) * len(parts), array("i"), None, *slots))
        values = np.array(found, np.float32).reshape(len(tokens), -1)
        return [values[a:b] for a, b in pairwise(starts)]


def text(seed: int, count: int) -> list[int]:
    return [int(one) for one in np.random.default_rng(seed).integers(0, TOKENS, count)]


@pytest.fixture(scope="module", params=[*isas(), "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    numpy = request.param == "reference"
    opened = reference.open_backend() if numpy else open_backend(threads=2, isa=request.param)
    yield opened
    opened.close()


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Plan, HeldArchive]:
    held = archive()
    return trace_model("op", MODELS[request.param], held.entries()), held


def test_kernels_agree_with_their_definition_and_with_each_other(case: tuple[Plan, HeldArchive]) -> None:
    parts = (text(1, 150), 0, 0, 1), (text(2, 3), 0, 2, 2)
    expected = np.concatenate(Runner(reference.open_backend(), *case).step(*parts))
    seen = set()
    for isa in isas():
        opened = open_backend(threads=2, isa=isa)
        found = np.concatenate(Runner(opened, *case).step(*parts))
        opened.close()
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)
        seen.add(found.tobytes())
    assert len(seen) == 1


def test_cuts_and_neighbours_change_no_bit(case: tuple[Plan, HeldArchive], backend: Any) -> None:
    """At once, token by token, in pieces that change slots or keep them, and among others."""
    runner, tokens = Runner(backend, *case), text(1, 90)
    (whole,) = runner.step((tokens, 0, 0, 0))
    singly = [runner.step(([token], at, 1 + at % 2, 1 + (at + 1) % 2))[0] for at, token in enumerate(tokens)]
    np.testing.assert_array_equal(np.concatenate(singly), whole)
    cuts = [0, 2, 3, 64, 90]
    pieces = []
    for a, b in pairwise(cuts):
        other = text(a + 9, b)
        pieces.append(runner.step((other, 0, 7, 7), (tokens[a:b], a, 3, 3), (other[:5], 0, 6, 6))[1])
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_state_serves_again_while_its_slot_is_kept(case: tuple[Plan, HeldArchive], backend: Any) -> None:
    runner, tokens = Runner(backend, *case), text(4, 30)
    runner.step((tokens[:20], 0, 0, 0))
    first = runner.step((tokens[20:], 20, 0, 1))[0]
    runner.step((text(5, 10), 20, 0, 2))
    np.testing.assert_array_equal(runner.step((tokens[20:], 20, 0, 3))[0], first)


@pytest.mark.parametrize(("slot", "message"), [(SLOTS, f"slot {SLOTS} of {SLOTS}"), (-1, "slot -1")])
def test_slots_that_are_not_there_are_refused(slot: int, message: str) -> None:
    held = archive()
    runner = Runner(open_backend(threads=1), trace_model("op", before, held.entries()), held)
    with pytest.raises(ShapeError, match=message):
        runner.step(([1], 1, 0, slot))
    step = Step(array("i", [1]), array("i", [0]), array("i", [0, 1]), (array("i"),), array("i"))
    with pytest.raises(ShapeError, match="says no slots"):
        runner.program.run(step)
