"""Cut blocks into their pieces and put them together: half floats, nibbles, bit planes, six-bit scales.

Shapes: N blocks; every function works on all blocks at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats


def half(blocks: Bytes, offset: int) -> Floats:
    """The half float at `offset` of each block, as f32 [N, 1]."""
    return blocks[:, offset : offset + 2].view("<f2").astype(np.float32)


def half_bytes(values: Floats) -> Bytes:
    """One f32 per block as half floats [N, 2] u8."""
    return values.reshape(-1, 1).astype("<f2").view(np.uint8)


def through_half(values: Floats) -> Floats:
    """Round to half precision and back, as a reader of the file will see the values."""
    return values.astype(np.float16).astype(np.float32)


def integers(values: NDArray[Any], low: int, high: int) -> Floats:
    """Round to the nearest integer within [low, high], as f32; NaN becomes low."""
    rounded: Floats = np.rint(values)
    return np.fmin(np.fmax(rounded, np.float32(low)), np.float32(high))


def truncated(values: Floats, high: int) -> Bytes:
    """Round towards zero within [0, high], as u8; NaN becomes 0."""
    return np.fmin(np.fmax(np.trunc(values), np.float32(0)), np.float32(high)).astype(np.uint8)


def planes(packed: Bytes, bits: int, run: int) -> Bytes:
    """Codes of `bits` bits stored in runs: each `run` bytes hold 8 / bits planes of `run` codes, low bits first.

    Shapes: packed [N, n * run] u8 -> [N, n * (8 // bits) * run] u8.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    codes = packed.reshape(packed.shape[0], -1, 1, run) >> shifts & np.uint8((1 << bits) - 1)
    return codes.reshape(packed.shape[0], -1)


def pack_planes(codes: Bytes, bits: int, run: int) -> Bytes:
    """Inverse of `planes`: codes [N, n * (8 // bits) * run] u8 -> [N, n * run] u8."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    shifted = codes.reshape(codes.shape[0], -1, 8 // bits, run) << shifts
    packed: Bytes = np.bitwise_or.reduce(shifted, axis=2)
    return packed.reshape(codes.shape[0], -1)


def wide(low: Bytes, high: Bytes, bits: int) -> NDArray[Any]:
    """Codes of eight bits in `low` and `bits` more in `high`, which are packed, low bits first."""
    codes: NDArray[Any] = low | planes(high, bits, 1).astype(np.uint16) << 8
    return codes


def pack_wide(codes: NDArray[Any], bits: int) -> tuple[Bytes, Bytes]:
    """Inverse of `wide`."""
    return codes.astype(np.uint8), pack_planes((codes >> 8).astype(np.uint8), bits, 1)


def fifth_bits(packed: Bytes) -> Bytes:
    """32 single bits in 4 bytes, low bit first: [N, 4] u8 -> [N, 32] u8 of 0 or 1."""
    return np.unpackbits(packed, axis=1, bitorder="little")


def six_bit_pairs(packed: Bytes) -> tuple[Bytes, Bytes]:
    """The 8 scales and 8 minimums of 6 bits each that Q4_K and Q5_K store in 12 bytes.

    Shapes: packed [N, 12] u8 -> scales [N, 8] u8, minimums [N, 8] u8.
    """
    low, mid, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 2 & 48)], axis=1)
    minimums = np.concatenate([mid & 63, high >> 4 | (mid >> 2 & 48)], axis=1)
    return scales, minimums


def pack_six_bit_pairs(scales: Bytes, minimums: Bytes) -> Bytes:
    """Inverse of `six_bit_pairs`."""
    low = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    mid = minimums[:, :4] | (minimums[:, 4:] >> 4) << 6
    high = (scales[:, 4:] & 15) | (minimums[:, 4:] & 15) << 4
    return np.concatenate([low, mid, high], axis=1)


def rounded_away(values: Floats) -> Floats:
    """Round to the nearest integer, halves away from zero, as C's roundf does."""
    size = np.abs(values)
    whole = np.floor(size)
    rounded: Floats = np.copysign(whole + np.floor(np.float32(2) * (size - whole)), values)
    return rounded


def ternary(values: Floats) -> tuple[Floats, Bytes]:
    """The largest magnitude d of each block, and codes 0, 1, 2 for the values nearest to -d, 0, d."""
    d = np.abs(values).max(axis=1, keepdims=True)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    return d, (rounded_away(values * inverse) + np.float32(1)).astype(np.uint8)
