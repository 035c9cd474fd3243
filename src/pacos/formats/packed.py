"""Weights that other programs have quantized, as they lie in Hugging Face folders: whole numbers or small floats, and
scales that runs of columns share.

Where a block type of GGUF holds the same numbers, the rows are laid out anew in it and no weight changes: codes of at
most eight bits under F16 scales become Q4_0, Q5_0 or Q8_0 by their range. Others become floats.
Source: GPTQModel's and AutoAWQ's packing, transformers' BitNet integration, compressed-tensors' pack-quantized,
DeepSeek's inference/kernel.py, the OCP 8-bit floating point and Microscaling specifications.
Shapes: R rows of all matrices of a tensor, N rows of one, D columns, G groups of columns.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos import quants
from pacos.formats import unpack
from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats

BLOCK = 32
FLOAT_TYPES = ("F32", "F16", "BF16")
_PIECE_VALUES = 1 << 20
_TOGETHER = 64  # rows that share cache lines of the file
_THREADS_MAX = 8
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # the column of each nibble of a word, low nibble first
# Block types of one scale, and the range of their codes.
_CENTRED = (("Q4_0", -8, 7), ("Q5_0", -16, 15), ("Q8_0", -128, 127))


Fill = Callable[[int, int], None]  # make rows from the first number up to the second one


# ---- whole numbers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Codes:
    """w = step * (code - centre).

    Shapes: packed as its layout says (unpack.py); sides gives centres [N, G] and steps [N, G]; groups [D], or None for
    runs of so many columns.
    """

    shape: tuple[int, ...]
    kind: str
    layout: int
    bits: int
    packed: NDArray[Any]
    sides: Callable[[], tuple[NDArray[Any], NDArray[Any]]]
    groups: NDArray[Any] | None
    run: int

    def filler(self, kind: str, out: Bytes) -> Fill:
        """What makes rows of floats; or of the block type, each block with its group's step."""
        centres, steps = self.sides()
        columns = unpack.Columns(self.shape[-1], self.run, self.groups)
        return unpack.codes(self.packed, self.layout, self.bits, centres, steps, columns, kind, out)


def holding_type(lowest: int, highest: int, scale_type: str, run: int, *, half: bool) -> str:
    """The smallest block type that holds codes of this range exactly, or else the scales' own type.

    `run` is how many neighbouring columns are sure to share a scale, `half` whether F16 holds all scales.
    """
    if half and run and run % BLOCK == 0:
        for kind, least, most in _CENTRED:
            if least <= lowest and highest <= most:
                return kind
    return scale_type if scale_type in FLOAT_TYPES else "F32"


def fits_half(steps: Floats) -> bool:
    """Whether F16 holds all of them without rounding."""
    with np.errstate(over="ignore"):
        return bool((steps.astype(np.float16).astype(np.float32) == steps).all())


def fields(words: NDArray[Any], bits: int) -> Bytes:
    """Numbers of so many bits that follow each other without gaps, low bits first, along the last axis.

    Shapes: [..., n] i32 -> [..., 32 * n / bits] u8.
    """
    raw = np.ascontiguousarray(words).astype("<i4", copy=False).view(np.uint8)
    if bits == 8:
        return raw
    if bits == 4:
        return np.stack([raw & 15, raw >> 4], axis=-1).reshape(*raw.shape[:-1], -1)
    if bits == 2:
        return np.stack([raw >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(*raw.shape[:-1], -1)
    single = np.unpackbits(raw, axis=-1, bitorder="little")
    single = single[..., : single.shape[-1] // bits * bits].reshape(*raw.shape[:-1], -1, bits)
    found: Bytes = (single << np.arange(bits, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)
    return found


def spaced_fields(words: NDArray[Any], bits: int) -> NDArray[Any]:
    """Numbers of which each word holds as many as fit whole, low bits first.

    Shapes: [..., n] i32 -> [..., 32 // bits * n] u8.
    """
    if 32 % bits == 0:
        return fields(words, bits)
    unsigned = words.astype(np.uint32)
    picked = [unsigned >> np.uint32(bits * i) & np.uint32((1 << bits) - 1) for i in range(32 // bits)]
    return np.stack(picked, axis=-1).astype(np.uint8).reshape(*words.shape[:-1], -1)


def awq_columns(words: NDArray[Any]) -> NDArray[Any]:
    """Nibbles of words in AWQ's order, in the order of columns. Shapes: [..., n] i32 -> [..., 8 * n] u8."""
    mixed = fields(words, 4).reshape(*words.shape, 8)
    found = np.empty_like(mixed)
    found[..., _AWQ_ORDER] = mixed
    return found.reshape(*words.shape[:-1], -1)


# ---- floats of eight bits ----------------------------------------------------------------------------------------


def eight_bit_floats(kind: str) -> Floats:
    """The value of each byte. Shapes: [256]."""
    byte = np.arange(256, dtype=np.uint32)
    if kind == "F8_E8M0":
        powers: Floats = np.ldexp(np.float32(1), np.minimum(byte, 254).astype(np.int32) - 127)
        return np.where(byte == 255, np.float32(np.nan), powers)
    if kind == "F8_E5M2":
        return (byte << 8).astype(np.uint16).view(np.float16).astype(np.float32)
    exponent, mantissa = (byte >> 3 & 15).astype(np.int32), (byte & 7).astype(np.float32)
    size = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7))
    size = np.where(byte & 127 == 127, np.nan, size)
    return np.where(byte & 128, -size, size).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Eights:
    """w = scale * float, one scale for each tile of so many rows and columns of a matrix.

    Shapes: raw [R, D] u8, scales [R / N * tiles of rows, tiles of columns] f32, tile (rows, columns).
    """

    shape: tuple[int, ...]
    kind: str
    raw: Bytes
    values: Floats
    scales: Floats
    tile: tuple[int, int]

    def filler(self, kind: str, out: Bytes) -> Fill:
        """What makes rows of floats."""
        return unpack.eights(self.raw, self.values, self.scales, self.shape[-2], self.tile, kind, out)


# ---- MXFP4 -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FourBitFloats:
    """MXFP4 with neighbours in one byte. Shapes: codes [R, G, 16] u8, exponents [R, G] u8."""

    shape: tuple[int, ...]
    kind: str
    codes: Bytes
    exponents: Bytes

    def filler(self, kind: str, out: Bytes) -> Fill:
        """What makes rows of GGUF's blocks, in which code i and code i + 16 share a byte; or of floats."""
        if kind == self.kind:
            return unpack.fours(self.codes, self.exponents, out)

        def fill(begin: int, end: int) -> None:
            blocks = np.empty((end - begin, quants.row_bytes(self.kind, self.shape[-1])), np.uint8)
            unpack.fours(self.codes[begin:end], self.exponents[begin:end], blocks)(0, end - begin)
            out[begin:end] = _encoded(kind, quants.dequantize(self.kind, blocks, (end - begin, self.shape[-1])))

        return fill


# ---- BitNet ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ternary:
    """w = step * code, codes -1, 0 and 1: two bits each in a fourth of the rows, the low bits of the first one.

    Shapes: packed [N / 4, D] u8.
    """

    shape: tuple[int, ...]
    kind: str
    packed: Bytes
    step: float

    def floats(self, begin: int, end: int) -> Floats:
        """Code times step."""
        rows = np.arange(begin, end)
        fourth = len(self.packed)
        shifts = (rows // fourth * 2).astype(np.uint8)[:, None]
        codes = (self.packed[rows % fourth] >> shifts & 3).astype(np.float32) - 1
        return codes * np.float32(self.step)

    def filler(self, kind: str, out: Bytes) -> Fill:
        """What makes rows of any type; TQ2_0 rounds the step to F16."""
        return _filler(self.floats, kind, out)


@dataclass(frozen=True, slots=True)
class Rounded:
    """Weights that training went on from, each rounded to -1, 0 or 1 times the mean of their sizes.

    Shapes: whole [N, D].
    """

    shape: tuple[int, ...]
    kind: str
    whole: Callable[[], Floats]

    def filler(self, kind: str, out: Bytes) -> Fill:
        """What makes rows of any type; TQ2_0 rounds the step to F16."""
        whole = self.whole()
        step = np.float32(max(float(np.mean(np.abs(whole))), 1e-5))
        return _filler(lambda begin, end: np.clip(np.round(whole[begin:end] / step), -1, 1) * step, kind, out)


# ---- parts of a matrix -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """A matrix of floats whose parts, of one size, hold some rows each (axis 0), or some columns (axis 1)."""

    shape: tuple[int, ...]
    kind: str
    parts: tuple[memoryview, ...]
    axis: int

    def cells(self, begin: int, end: int) -> NDArray[Any]:
        """Rows as they are stored."""
        holder = np.dtype("<u4" if self.kind == "F32" else "<u2")
        rows, columns = self.shape
        if self.axis:
            width = columns // len(self.parts)
            return np.concatenate(
                [np.frombuffer(one, holder).reshape(rows, width)[begin:end] for one in self.parts], axis=1
            )
        height = rows // len(self.parts)
        found = []
        for number, one in enumerate(self.parts):
            first = number * height
            if begin < first + height and end > first:
                part = np.frombuffer(one, holder).reshape(height, columns)
                found.append(part[max(0, begin - first) : end - first])
        return np.concatenate(found)

    def filler(self, kind: str, out: Bytes) -> Fill:
        """What makes rows of floats."""

        def fill(begin: int, end: int) -> None:
            cells = np.ascontiguousarray(self.cells(begin, end))
            raw = cells.view(np.uint8).reshape(end - begin, -1)
            out[begin:end] = (
                raw if kind == self.kind else _encoded(kind, quants.dequantize(self.kind, raw, cells.shape))
            )

        return fill


# ---- any of them ---------------------------------------------------------------------------------------------------

Packed = Codes | Eights | FourBitFloats | Joined | Ternary | Rounded


def rows_of(packed: Packed, kind: str) -> Bytes:
    """The rows of a tensor in this type: one of floats, or the block type that is the tensor's `kind`.

    Several threads make them. Shapes: [R, bytes of a row].
    """
    rows, columns = math.prod(packed.shape[:-1]), packed.shape[-1]
    out = np.empty((rows, quants.row_bytes(kind, columns)), np.uint8)
    fill = packed.filler(kind, out)
    step = -(-_PIECE_VALUES // max(1, columns) // _TOGETHER) * _TOGETHER
    begins = range(0, rows, max(_TOGETHER, step))
    with ThreadPoolExecutor(max(1, min(len(begins), _THREADS_MAX, os.cpu_count() or 1))) as pool:
        for made in [pool.submit(fill, begin, min(rows, begin + begins.step)) for begin in begins]:
            made.result()
    return out


def _filler(floats: Callable[[int, int], Floats], kind: str, out: Bytes) -> Fill:
    def fill(begin: int, end: int) -> None:
        out[begin:end] = _encoded(kind, floats(begin, end))

    return fill


def _encoded(kind: str, values: Floats) -> Bytes:
    return np.frombuffer(quants.quantize(kind, values), np.uint8).reshape(len(values), -1)
