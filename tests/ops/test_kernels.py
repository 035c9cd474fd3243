"""Every op, every declared sample, every instruction set of this machine, against the op's own numpy body."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from held_archive import ONE_TOKEN, HeldArchive

from pacos.backends.cpu import CpuBackend, isas, open_backend
from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.plan import Plan, trace_op
from pacos.ir.registry import OPS, Integers, Sample
from pacos.types import PageLayout

NO_CACHE = PageLayout(64, (), ())
SAMPLES = [(name, number) for name, op in sorted(OPS.items()) for number in range(len(op.samples))]


@pytest.fixture(scope="module", params=isas())
def backend(request: pytest.FixtureRequest) -> Iterator[CpuBackend]:
    opened = open_backend(threads=2, isa=request.param)
    yield opened
    opened.close()


def run(backend: CpuBackend, plan: Plan, archive: HeldArchive) -> np.ndarray:
    """The plan's result as one flat array."""
    program = backend.compile(plan, backend.upload(archive, tuple(archive.tensors)), backend.pages(1, NO_CACHE), 1)
    try:
        return np.array(program.run(ONE_TOKEN), np.float32)
    finally:
        program.close()


def operands_of(sample: Sample, seed: int) -> list[np.ndarray | None]:
    rng = np.random.default_rng(seed)
    made: list[np.ndarray | None] = []
    for operand in sample.operands:
        if operand is None:
            made.append(None)
        elif isinstance(operand, Integers):
            made.append(rng.integers(0, operand.high, operand.shape).astype(np.int32))
        else:
            made.append(rng.standard_normal(operand, dtype=np.float32))
    return made


def apply(name: str, operands: list[np.ndarray | None], attributes: dict[str, Any]) -> tuple[Plan, HeldArchive]:
    """A plan of one op on operands that are weights of an archive."""
    held = HeldArchive({f"x{i}": operand for i, operand in enumerate(operands) if operand is not None})
    entries = held.entries()

    def call(*tensors: Any, **given: Any) -> Any:
        waiting = iter(tensors)
        return getattr(ops, name)(*(None if operand is None else next(waiting) for operand in operands), **given)

    return trace_op(call, entries, **attributes), held


def assert_close(found: np.ndarray, expected: np.ndarray, ulp: float) -> None:
    size = np.abs(expected).max(initial=0.0)
    error = np.abs(found.reshape(expected.shape).astype(np.float64) - expected).max(initial=0.0)
    assert error <= max(ulp, 2) * np.finfo(np.float32).eps * size, f"error {error}, size {size}"


@pytest.mark.parametrize(("name", "number"), SAMPLES, ids=[f"{name}-{number}" for name, number in SAMPLES])
def test_kernel_agrees_with_its_definition(name: str, number: int, backend: CpuBackend) -> None:
    sample = OPS[name].samples[number]
    operands, attributes = operands_of(sample, number), dict(sample.attributes)
    expected = OPS[name].body(*operands, **attributes)
    first = expected[0] if isinstance(expected, tuple) else expected
    found = run(backend, *apply(name, operands, attributes))
    if OPS[name].ulp == 0:
        assert np.array_equal(found.reshape(first.shape), first)
    assert_close(found, np.asarray(first), OPS[name].ulp)


GATED = ("silu_mul", "gelu_mul", "gelu_tanh_mul")
ELEMENTWISE = ["silu", "gelu", "gelu_tanh", *GATED, "softcap", "scale", "add", "mul"]
ATTRIBUTES: dict[str, dict[str, float]] = {"softcap": {"cap": 30.0}, "scale": {"factor": -1.7}}


def arguments_of(name: str, x: np.ndarray) -> list[np.ndarray | None]:
    return [x, x[:, ::-1].copy()] if name in (*GATED, "add", "mul") else [x]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_over_their_whole_range(name: str, backend: CpuBackend) -> None:
    """Tiny, huge and negative values, each to a few ulp of its own result.

    What e is raised to inside gelu is rounded to f32 before, which costs a few ulp times its size.
    """
    sizes = np.float32(10) ** np.arange(-30, 3, 0.01, dtype=np.float32)
    x = np.concatenate([sizes, -sizes, np.linspace(-100, 100, 8001, dtype=np.float32), [0.0]]).astype(np.float32)[None]
    arguments, attributes = arguments_of(name, x), ATTRIBUTES.get(name, {})
    found = run(backend, *apply(name, arguments, attributes)).astype(np.float64)
    wide = [argument.astype(np.float64) for argument in arguments if argument is not None]
    exact = exactly(name, *wide, **attributes)[0]
    error = np.abs(found - exact) / np.maximum(np.spacing(np.abs(exact).astype(np.float32)), 1e-37)
    allowed = 8 + 3 * np.abs(0.8 * (x + 0.045 * x.astype(np.float64) ** 3)) if "gelu" in name else 4
    assert np.all((error <= allowed) | (np.abs(exact) < 1e-34))


def exactly(name: str, x: np.ndarray, y: np.ndarray | None = None, **attributes: float) -> np.ndarray:
    """The op in double precision, in a form without cancellation."""
    with np.errstate(over="ignore"):
        silu = x / (1 + np.exp(-x))
        gelu_tanh = x / (1 + np.exp(-2 * 0.7978845608028654 * (x + 0.044715 * x**3)))
        gelu = x * np.frompyfunc(lambda a: math.erfc(-a / math.sqrt(2)) / 2, 1, 1)(x).astype(np.float64)
    if y is not None:
        gated = {"silu_mul": silu * y, "gelu_mul": gelu * y, "gelu_tanh_mul": gelu_tanh * y, "add": x + y, "mul": x * y}
        return gated[name]
    if name == "softcap":
        return attributes["cap"] * np.tanh(x / attributes["cap"])
    return {"silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh, "scale": x * np.float32(attributes.get("factor", 1))}[
        name
    ]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_place_in_a_row_does_not_matter(name: str, backend: CpuBackend) -> None:
    """The same numbers at another place, in a full vector or in the last few columns, give the same bits."""
    x = np.random.default_rng(5).standard_normal((1, 37), dtype=np.float32) * 3
    y = np.random.default_rng(6).standard_normal((1, 37), dtype=np.float32)
    two = name in (*GATED, "add", "mul")
    attributes = ATTRIBUTES.get(name, {})
    whole = run(backend, *apply(name, [x, y] if two else [x], attributes))
    for start in (1, 7, 16, 36):
        parts = [part[:, start:].copy() for part in ([x, y] if two else [x])]
        assert run(backend, *apply(name, list(parts), attributes)).tobytes() == whole[start:].tobytes()


@pytest.mark.parametrize("width", [1, 15, 16, 17, 100, 4096])
@pytest.mark.parametrize("name", ["rms_norm", "layer_norm"])
def test_norms_of_any_width_are_the_same_everywhere(name: str, width: int) -> None:
    """Odd widths agree with the definition, and every instruction set gives the same bits."""
    rng = np.random.default_rng(width)
    x, w, b = rng.standard_normal((3, width), np.float32) + 1, rng.standard_normal(width), rng.standard_normal(width)
    operands: list[np.ndarray | None] = [x, w.astype(np.float32)]
    operands += [b.astype(np.float32)] if name == "layer_norm" else []
    seen = set()
    for isa in isas():
        opened = open_backend(threads=1, isa=isa)
        found = run(opened, *apply(name, operands, {"eps": 1e-5}))
        opened.close()
        assert_close(found, OPS[name].body(*operands, eps=1e-5), 64)
        seen.add(found.tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize("name", sorted(set(ELEMENTWISE)))
def test_all_instruction_sets_give_the_same_bits(name: str) -> None:
    x = (np.random.default_rng(9).standard_normal((3, 1001)) * 8).astype(np.float32)
    results = set()
    for isa in isas():
        opened = open_backend(threads=1, isa=isa)
        results.add(run(opened, *apply(name, arguments_of(name, x), ATTRIBUTES.get(name, {}))).tobytes())
        opened.close()
    assert len(results) == 1


@pytest.mark.parametrize("bits", [(3, 64), (1, 5000), (70, 24)])
def test_one_row_or_one_head_serves_all(bits: tuple[int, int], backend: CpuBackend) -> None:
    """add and mul take a vector as their second operand."""
    rng = np.random.default_rng(3)
    x, v = rng.standard_normal(bits, np.float32), rng.standard_normal(bits[1]).astype(np.float32)
    for name, expected in (("add", x + v), ("mul", x * v)):
        assert run(backend, *apply(name, [x, v], {})).tobytes() == expected.astype(np.float32).tobytes()


def test_what_is_damaged_stays_visible(backend: CpuBackend) -> None:
    """A value that is not a number is not turned into one."""
    x = np.array([[np.nan, 1.0, -1.0, np.inf]], np.float32)
    for name in ("silu", "gelu", "gelu_tanh", "softcap"):
        assert np.isnan(run(backend, *apply(name, [x], ATTRIBUTES.get(name, {})))[0])


def test_an_unknown_op_is_refused_by_name(backend: CpuBackend) -> None:
    from dataclasses import replace

    plan, held = apply("scale", [np.ones((2, 16), np.float32)], {"factor": 1.0})
    plan = replace(plan, nodes=(replace(plan.nodes[0], op="unheard_of"),))
    with pytest.raises(UnsupportedModel, match="unheard_of"):
        run(backend, plan, held)
