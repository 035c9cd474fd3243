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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos import quants
from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats

BLOCK = 32
FLOAT_TYPES = ("F32", "F16", "BF16")
_PIECE_VALUES = 1 << 22
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # the column of each nibble of a word, low nibble first
# Block types of one scale, and the range of their codes.
_CENTRED = (("Q4_0", -8, 7), ("Q5_0", -16, 15), ("Q8_0", -128, 127))


# ---- whole numbers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Codes:
    """w = step * code; both are made of the file for a range of rows.

    Shapes: codes [end - begin, D], steps [end - begin, G] f32, groups [D], or None for equal runs.
    """

    shape: tuple[int, ...]
    kind: str
    codes: Callable[[int, int], NDArray[Any]]
    steps: Callable[[int, int], Floats]
    groups: NDArray[Any] | None = None

    def floats(self, begin: int, end: int) -> Floats:
        """Code times step."""
        codes, steps = self.codes(begin, end).astype(np.float32), self.steps(begin, end)
        if self.groups is not None:
            return codes * steps[:, self.groups]
        by_group = codes.reshape(*steps.shape, -1) * steps[:, :, None]
        return by_group.reshape(codes.shape)

    def blocks(self, kind: str, begin: int, end: int) -> Bytes:
        """Codes in the type's layout, each block with its group's step."""
        steps = self.steps(begin, end)
        d = steps.repeat(self.shape[1] // BLOCK // steps.shape[1], axis=1).astype("<f2").view(np.uint8)
        codes = self.codes(begin, end).reshape(end - begin, -1, BLOCK)
        d = d.reshape(*codes.shape[:2], 2)
        if kind == "Q8_0":
            return np.concatenate([d, codes.astype(np.int8).view(np.uint8)], axis=2).reshape(end - begin, -1)
        raised = (codes + (16 if kind == "Q5_0" else 8)).astype(np.uint8)
        parts = [d, np.packbits(raised >> np.uint8(4), axis=2, bitorder="little")] if kind == "Q5_0" else [d]
        low = raised & np.uint8(15)
        parts.append(low[:, :, :16] | low[:, :, 16:] << np.uint8(4))
        return np.concatenate(parts, axis=2).reshape(end - begin, -1)


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

    def floats(self, begin: int, end: int) -> Floats:
        """Float times scale."""
        rows = np.arange(begin, end)
        tiles_of_rows = -(-self.shape[-2] // self.tile[0])
        at = rows // self.shape[-2] * tiles_of_rows + rows % self.shape[-2] // self.tile[0]
        scales = self.scales[at]
        if scales.shape[1] > 1:
            scales = scales.repeat(self.tile[1], axis=1)[:, : self.shape[-1]]
        found: Floats = self.values[self.raw[begin:end]] * scales
        return found


# ---- MXFP4 -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FourBitFloats:
    """MXFP4 with neighbours in one byte. Shapes: codes [R, G, 16] u8, exponents [R, G] u8."""

    shape: tuple[int, ...]
    kind: str
    codes: Bytes
    exponents: Bytes

    def floats(self, begin: int, end: int) -> Floats:
        """Level times power."""
        return quants.dequantize("MXFP4", self.blocks("MXFP4", begin, end), (end - begin, self.shape[-1]))

    def blocks(self, kind: str, begin: int, end: int) -> Bytes:
        """The same codes and exponents in GGUF's order, in which code i and code i + 16 share a byte."""
        codes = self.codes[begin:end]
        apart = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], BLOCK)
        joined = apart[:, :, :16] | apart[:, :, 16:] << 4
        return np.concatenate([self.exponents[begin:end, :, None], joined], axis=2).reshape(end - begin, -1)


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

    def blocks(self, kind: str, begin: int, end: int) -> Bytes:
        """Codes in the type's layout; TQ2_0 rounds the step to F16."""
        return np.frombuffer(quants.quantize(kind, self.floats(begin, end)), np.uint8)


@dataclass(frozen=True, slots=True)
class Rounded:
    """Weights that training went on from, each rounded to -1, 0 or 1 times the mean of their sizes.

    Shapes: whole [N, D].
    """

    shape: tuple[int, ...]
    kind: str
    whole: Callable[[], Floats]

    def floats(self, begin: int, end: int) -> Floats:
        """The rounded weights."""
        whole = self.whole()
        step = np.float32(max(float(np.mean(np.abs(whole))), 1e-5))
        return np.clip(np.round(whole[begin:end] / step), -1, 1) * step

    def blocks(self, kind: str, begin: int, end: int) -> Bytes:
        """The same in the type's layout; TQ2_0 rounds the step to F16."""
        return np.frombuffer(quants.quantize(kind, self.floats(begin, end)), np.uint8)


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

    def floats(self, begin: int, end: int) -> Floats:
        """Rows in f32."""
        cells = np.ascontiguousarray(self.cells(begin, end))
        return quants.dequantize(self.kind, cells.view(np.uint8).reshape(-1), cells.shape)


# ---- any of them ---------------------------------------------------------------------------------------------------

Packed = Codes | Eights | FourBitFloats | Joined | Ternary | Rounded


def rows_of(packed: Packed, kind: str) -> Iterator[Any]:
    """The tensor piece by piece as rows of this type: one of floats, or the block type that is the tensor's `kind`."""
    rows = math.prod(packed.shape[:-1])
    step = max(1, _PIECE_VALUES // max(1, packed.shape[-1]))
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        if isinstance(packed, Joined) and kind == packed.kind != "F32":
            yield np.ascontiguousarray(packed.cells(begin, end)).view(np.uint8)
            continue
        if kind not in FLOAT_TYPES and not isinstance(packed, Eights | Joined):
            yield packed.blocks(kind, begin, end)
            continue
        values = packed.floats(begin, end)
        yield values if kind == "F32" else np.frombuffer(quants.quantize(kind, values), np.uint8)
