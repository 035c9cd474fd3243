"""The searches of scales: native code gives the bits of the numpy definitions, and both ggml's blocks, byte by byte."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ggml_weights
import numpy as np
import pytest

from pacos import native, quants
from pacos.errors import FormatError, NativeError, ShapeError
from pacos.quants import search
from pacos.quants.levels import NONLINEAR
from pacos.quants.search import Grid

GGML = Path(__file__).resolve().parents[1] / "data" / "ggml_blocks.npz"
GRIDS = (Grid(15, -1.0, 0.1, 20), Grid(31, -0.5, 0.1, 15), Grid(3, -0.5, 0.1, 15, absolute=True))


@pytest.fixture(params=["native", "numpy"])
def code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which code searches."""

    def nothing(name: str, *_: Any) -> Callable[..., Any]:
        raise NativeError(f"no {name}")

    if request.param == "numpy":
        monkeypatch.setattr(native, "function", nothing)
    return str(request.param)


NEEDS_NATIVE = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")


@pytest.mark.parametrize(
    ("name", "weighted"),
    [*((name, False) for name in ggml_weights.TYPES), *((name, True) for name in ggml_weights.WEIGHTED)],
)
def test_blocks_are_those_of_ggml(name: str, weighted: bool, code: str) -> None:
    """The bytes were made by ggml (llama-cpp-python 0.3.36) with scripts/ggml-vectors.

    Row 10 has empty groups, after which ggml's IQ3_S puts what follows into wrong places.
    """
    x, importance = ggml_weights.weights(), ggml_weights.importance() if weighted else None
    if code == "numpy" and name in NEEDS_NATIVE:
        with pytest.raises(NativeError):
            quants.quantize(name, x, importance)
        return
    found = np.frombuffer(quants.quantize(name, x, importance), np.uint8)
    with np.load(GGML) as stored:
        wanted = stored[name + " weighted" * weighted]
    found = found.reshape(wanted.shape)
    if name == "IQ3_S":
        read = (quants.dequantize(name, one[10].tobytes(), (512,)) for one in (found, wanted))
        ours, theirs = (np.square(values - x[10]) @ ggml_weights.importance() for values in read)
        assert ours < theirs / 2
        found, wanted = np.delete(found, 10, axis=0), np.delete(wanted, 10, axis=0)
    assert np.array_equal(found, wanted)


def test_importance_lowers_the_error_where_it_counts() -> None:
    x, importance = ggml_weights.weights()[:4], ggml_weights.importance()
    for name in ggml_weights.WEIGHTED:
        errors = [
            (np.square(quants.dequantize(name, quants.quantize(name, x, given), x.shape) - x) @ importance).sum()
            for given in (None, importance)
        ]
        assert errors[1] < errors[0], name
    assert quants.quantize("Q8_0", x, importance) == quants.quantize("Q8_0", x)
    with pytest.raises(ShapeError, match="importance of"):
        quants.quantize("Q4_0", x, importance[:500])


def groups(n: int) -> np.ndarray:
    return np.concatenate([ggml_weights.weights().reshape(-1, n), np.full((3, n), np.float32(1e-16))])


@pytest.mark.parametrize("count", [1, 9, 64, 387])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_native_scale_and_minimum_equal_their_definition(grid: Grid, count: int) -> None:
    x = groups(32)[:count]
    weights = np.abs(x) + np.float32(0.01)
    for found, wanted in zip(
        search.scale_and_minimum(x, weights, grid), search.scale_and_minimum_python(x, weights, grid), strict=True
    ):
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("half", [4, 32])
@pytest.mark.parametrize(
    ("there", "definition"),
    [(search.signed_scale, search.signed_scale_python), (search.refined_scale, search.refined_scale_python)],
)
def test_native_scales_equal_their_definition(
    there: Callable[..., Any], definition: Callable[..., Any], half: int
) -> None:
    x = groups(16)
    for found, wanted in zip(there(x, half=half), definition(x, half=half), strict=True):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize(("n", "top"), [(16, 15), (8, 63), (32, 4)])
def test_native_positive_scales_equal_their_definition(n: int, top: int) -> None:
    x = np.abs(groups(n))
    x[:, 3] *= np.float32(-0.7)
    weights = np.abs(groups(n)[::-1]) + np.float32(1e-4)
    for found, wanted in zip(
        search.positive_scale(x, weights, top=top), search.positive_scale_python(x, weights, top=top), strict=True
    ):
        assert np.array_equal(found, wanted)


def test_native_level_scales_equal_their_definition() -> None:
    x, weights = groups(32), np.abs(groups(32)[::-1]) + np.float32(1e-4)
    found, wanted = (one(x, weights, NONLINEAR, 7) for one in (search.level_scale, search.level_scale_python))
    assert np.array_equal(found, wanted)


PACKED_IN_PYTHON = {"F32", "Q8_K", *NEEDS_NATIVE}


def packs(name: str) -> bool:
    """Whether native code packs the format."""
    arguments = [ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    pack = native.function("pacos_pack", ctypes.c_int32, arguments)
    return bool(pack(quants.block_format(name).type_id, None, 0, None) == 0)


def hard_rows() -> np.ndarray:
    """Rows of sizes from the tiny to the huge, with zeros of both signs and equals of both signs."""
    rng = np.random.default_rng(21)
    x = rng.standard_normal((200, 512)) * np.exp2(rng.integers(-60, 12, (200, 1)))
    x[50:100] *= np.exp2(rng.integers(-20, 3, (50, 512)))
    x[100:120, ::3] = np.abs(x[100:120, 1:2])
    x[100:120, ::5] *= -1
    x[120:130] = np.where(rng.random((10, 512)) < 0.5, 0.0, x[120:130])
    x[130:132] = 1e-36
    return np.concatenate([x, ggml_weights.weights()]).astype(np.float32)


@pytest.mark.parametrize("fmt", quants.block_formats(), ids=lambda fmt: str(fmt.name))
def test_native_blocks_equal_their_definition(fmt: quants.BlockFormat) -> None:
    assert packs(fmt.name) == (fmt.name not in PACKED_IN_PYTHON)
    if fmt.name in NEEDS_NATIVE:
        return  # their searches have no other definition
    x = hard_rows()
    with np.errstate(all="ignore"):
        wanted = fmt.quantize(x.reshape(-1, fmt.block))
    found = np.frombuffer(quants.quantize(fmt.name, x), np.uint8).reshape(wanted.shape)
    wrong = np.flatnonzero((found != wanted).any(axis=1))
    assert wrong.size == 0, (len(wrong), x.reshape(-1, fmt.block)[wrong[0]])


@pytest.mark.parametrize("target", ["F32", "F16", "Q8_0", "Q4_K", "Q1_0", "IQ3_S"])
@pytest.mark.parametrize("source", ["BF16", "F32", "Q5_1", "Q6_K"])
def test_blocks_become_others(source: str, target: str) -> None:
    shape = (6, 512)
    data = quants.quantize(source, hard_rows()[:6])
    values = quants.dequantize(source, data, shape)
    assert quants.repack(source, data, shape, target).tobytes() == quants.quantize(target, values)
    importance = ggml_weights.importance()
    assert quants.repack(source, data, shape, target, importance).tobytes() == quants.quantize(
        target, values, importance
    )


@pytest.mark.parametrize("target", ["Q4_0", "Q4_K", "IQ3_S", "F16"])
def test_weights_that_are_no_numbers_are_refused(target: str) -> None:
    for wrong in (np.nan, np.inf, -np.inf):
        x = ggml_weights.weights()
        x[3, 100] = wrong
        with pytest.raises(FormatError, match="weights are NaN or infinite"):
            quants.repack("F32", x.tobytes(), x.shape, target)
    with pytest.raises(FormatError, match="need 4096 bytes, found 4095"):
        quants.repack("F32", bytes(4095), (2, 512), target)


def test_a_search_loses_less_than_cutting_the_range() -> None:
    x = groups(32)[:300]
    scale, minimum, codes = search.scale_and_minimum(x, np.ones_like(x), GRIDS[0])
    low = np.minimum(x.min(axis=1, keepdims=True), 0)
    step = np.maximum((x.max(axis=1, keepdims=True) - low) / 15, np.float32(1e-30))
    cut = np.rint((x - low) / step) * step + low
    assert codes.max() == 15
    assert np.square(scale * codes - minimum - x).sum() < 0.9 * np.square(cut - x).sum()


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="groups of 33 weights"):
        search.signed_scale(np.zeros((20, 33), np.float32), half=4)
