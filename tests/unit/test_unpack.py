"""Unpacking in the native library: every layout, width and type against the formula in numpy, at uneven sizes."""

from __future__ import annotations

import itertools

import numpy as np
import packed_builder as packing
import pytest

from pacos import quants
from pacos.errors import ShapeError
from pacos.formats import unpack
from pacos.formats.packed import Codes, Eights, FourBitFloats, rows_of

FLOATS = ("F32", "F16", "BF16")


def packed(layout: int, codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes [N, D] as the layout has them."""
    if layout == unpack.DOWN:
        return np.ascontiguousarray(packing.stream(codes, bits).T)
    if layout == unpack.MIXED:
        mixed = np.zeros_like(codes.T)
        for column, place in enumerate(packing.AWQ_PLACES):
            mixed[:, place::8] = codes.T[:, column::8]
        return packing.stream(mixed, 4)
    if layout == unpack.ALONG:
        return packing.stream(np.pad(codes, ((0, 0), (0, -codes.shape[1] % 32))), bits)
    if layout == unpack.SPACED:
        each = 32 // bits
        whole = np.pad(codes, ((0, 0), (0, -codes.shape[1] % each))).reshape(len(codes), -1, each)
        return (whole << np.arange(each) * bits).sum(axis=2).astype(np.uint32).view(np.int32)
    return (codes - 128).astype(np.int8)


def drawn(bits: int, rows: int, columns: int, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.Generator(np.random.PCG64(bits * rows + columns))
    codes = random.integers(0, 1 << bits, (rows, columns))
    centres = random.integers(0, (1 << bits) + 1, (rows, groups))
    return codes, centres, (random.standard_normal((rows, groups)) * 10.0 ** random.integers(-7, 3)).astype(np.float32)


LAYOUTS = [
    *((unpack.DOWN, bits) for bits in (2, 3, 4, 8)),
    (unpack.MIXED, 4),
    *itertools.product((unpack.ALONG, unpack.SPACED), range(2, 9)),
    (unpack.BYTES, 8),
]


@pytest.mark.parametrize(("layout", "bits"), LAYOUTS)
def test_codes_become_floats(layout: int, bits: int) -> None:
    for rows, columns, run in ((72, 352, 32), (8, 96, 96), (136, 64, 8)):
        groups = columns // run
        codes, centres, steps = drawn(bits, rows, columns, groups)
        listed = np.random.Generator(np.random.PCG64(1)).integers(0, groups, columns)
        words = packed(layout, codes, bits)
        for group_of in (None, listed):
            at = np.arange(columns) // run if group_of is None else listed
            expected = (codes - centres[:, at]).astype(np.float32) * steps[:, at]
            sides = centres, steps
            made = Codes((rows, columns), "F32", layout, bits, words, lambda sides=sides: sides, group_of, run)
            for kind in FLOATS:
                found = rows_of(made, kind).reshape(-1)
                np.testing.assert_array_equal(found, np.frombuffer(quants.quantize(kind, expected), np.uint8))


@pytest.mark.parametrize(("layout", "bits"), LAYOUTS)
def test_codes_become_blocks_that_hold_the_same(layout: int, bits: int) -> None:
    codes, _, steps = drawn(bits, 200, 352, 11)
    steps = steps.astype(np.float16).astype(np.float32)
    kinds = [("Q4_0", 8), ("Q5_0", 16), ("Q8_0", 128)]
    for kind, half in kinds[0 if bits <= 4 else 1 if bits == 5 else 2 :]:
        centres = np.full(steps.shape, min(half, 1 << bits - 1))
        made = Codes(
            (200, 352), kind, layout, bits, packed(layout, codes, bits), lambda c=centres: (c, steps), None, 32
        )
        expected = (codes - centres.repeat(32, axis=1)).astype(np.float32) * steps.repeat(32, axis=1)
        found = rows_of(made, kind)
        np.testing.assert_array_equal(quants.dequantize(kind, found.reshape(-1), (200, 352)), expected)


@pytest.mark.parametrize("kind", FLOATS)
def test_every_float_is_rounded_to_even(kind: str) -> None:
    """Around each number of 16 bits: itself, the middle to the next one, and what lies beside the middle."""
    upper = np.arange(1 << 16, dtype=np.uint32)
    half = upper.astype(np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    places = np.concatenate(
        [
            *(half + more for more in (0, 0xFFF, 0x1000, 0x1001)),
            *(upper << 16 | low for low in (0, 0x7FFF, 0x8000, 0x8001)),
        ]
    )
    values = places.astype(np.uint32).view(np.float32).reshape(-1, 256)
    raw = np.arange(256, dtype=np.uint8).reshape(1, 256)
    some = values[:: 1 if kind == "F16" else 5]
    for line in some:
        found = rows_of(Eights((1, 256), kind, raw, line, np.ones((1, 1), np.float32), (1, 256)), kind)
        wide = quants.dequantize(kind, found.reshape(-1), (256,))
        with np.errstate(all="ignore"):
            expected = quants.dequantize(kind, quants.quantize(kind, line), (256,))
        np.testing.assert_array_equal(wide, expected)


@pytest.mark.parametrize("tile", [(16, 64), (1, 300), (150, 300), (64, 1), (7, 11)])
def test_eight_bit_floats_of_several_matrices(tile: tuple[int, int]) -> None:
    random = np.random.Generator(np.random.PCG64(3))
    raw = random.integers(0, 256, (450, 300)).astype(np.uint8)
    values = random.standard_normal(256).astype(np.float32)
    down, across = -(-150 // tile[0]), -(-300 // tile[1])
    scales = random.standard_normal((3 * down, across)).astype(np.float32)
    spread = scales.reshape(3, down, across).repeat(tile[0], axis=1)[:, :150].repeat(tile[1], axis=2)[:, :, :300]
    expected = values[raw] * spread.reshape(450, 300)
    for kind in FLOATS:
        found = rows_of(Eights((3, 150, 300), kind, raw, values, scales, tile), kind)
        np.testing.assert_array_equal(found.reshape(-1), np.frombuffer(quants.quantize(kind, expected), np.uint8))


def test_four_bit_floats() -> None:
    blocks, exponents, weights = packing.mxfp4(np.random.Generator(np.random.PCG64(3)), 300, 96)
    made = FourBitFloats((300, 96), "MXFP4", blocks, exponents)
    for kind in ("MXFP4", *FLOATS):
        found = quants.dequantize(kind, rows_of(made, kind).reshape(-1), (300, 96))
        np.testing.assert_array_equal(found, weights)


def test_what_does_not_fit_is_refused() -> None:
    codes, centres, steps = drawn(4, 8, 64, 4)
    words = packed(unpack.ALONG, codes, 4)
    with pytest.raises(ShapeError):
        rows_of(Codes((8, 64), "Q4_0", unpack.ALONG, 4, words, lambda: (centres, steps), None, 16), "Q4_0")
    with pytest.raises(ShapeError):
        rows_of(Codes((8, 64), "Q4_1", unpack.ALONG, 4, words, lambda: (centres, steps), None, 32), "Q4_1")
