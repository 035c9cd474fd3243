"""Give the native functions that unpack what packed.py describes. Each fills rows of `out`, from any thread.

Shapes: N rows of a matrix, R of all, D columns, G groups of columns; out [R, bytes of a row] u8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos import quants
from pacos.errors import CapacityError, ShapeError
from pacos.lazy import np
from pacos.native import function

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How codes lie: words of 32 bits down the columns [words, N]; across the rows [D, N / 8], interleaved; along them
# [N, words], numbers crossing words or not; or signed bytes [N, D].
DOWN, MIXED, ALONG, SPACED, BYTES = range(5)
_OUT_OF_MEMORY = -2


class _Codes(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("packed", "centres", "steps", "group_of")),
        *((name, ctypes.c_int64) for name in ("rows", "columns", "groups", "run", "words")),
        ("layout", ctypes.c_int32),
        ("bits", ctypes.c_int32),
    )


class _Eights(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("raw", "values", "scales")),
        *((name, ctypes.c_int64) for name in ("columns", "matrix_rows", "tile_rows", "tile_columns")),
    )


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns and the group of each: runs of so many, or as listed [D]."""

    count: int
    run: int
    groups: NDArray[Any] | None


def codes(
    packed: NDArray[Any],
    layout: int,
    bits: int,
    centres: NDArray[Any],
    steps: NDArray[Any],
    columns: Columns,
    kind: str,
    out: NDArray[Any],
) -> Callable[[int, int], None]:
    """Make rows of (code - centre) * step. Shapes: centres and steps [N, G]."""
    words = {DOWN: packed.shape[0], MIXED: 0}.get(layout, packed.shape[-1])
    held = [
        np.ascontiguousarray(packed),
        np.ascontiguousarray(centres, np.int16),
        np.ascontiguousarray(steps, np.float32),
        *([] if columns.groups is None else [np.ascontiguousarray(columns.groups, np.int32)]),
    ]
    addresses = [one.ctypes.data for one in held]
    rows, groups = centres.shape
    given = _Codes(*addresses, *[None] * (4 - len(held)), rows, columns.count, groups, max(1, columns.run), words)
    given.layout, given.bits = layout, bits
    return _filler("pacos_unpack_codes", given, held, kind, out)


def eights(
    raw: NDArray[Any],
    values: NDArray[Any],
    scales: NDArray[Any],
    matrix_rows: int,
    tile: tuple[int, int],
    kind: str,
    out: NDArray[Any],
) -> Callable[[int, int], None]:
    """Make rows of values[byte] * scale.

    Shapes: raw [R, D], values [256], scales [R / N * tiles of rows, tiles of columns].
    """
    held = [np.ascontiguousarray(raw), *(np.ascontiguousarray(one, np.float32) for one in (values, scales))]
    given = _Eights(*(one.ctypes.data for one in held), raw.shape[-1], matrix_rows, *tile)
    return _filler("pacos_unpack_eights", given, held, kind, out)


def _filler(name: str, given: Any, held: Any, kind: str, out: NDArray[Any]) -> Callable[[int, int], None]:
    range_of = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    call = function(name, ctypes.c_int32, [ctypes.c_void_p, ctypes.c_int32, *range_of])
    type_id = quants.block_format(kind).type_id

    def fill(begin: int, end: int) -> None:
        code = call(ctypes.addressof(given), type_id, begin, end, out[begin:end].ctypes.data)
        if code == _OUT_OF_MEMORY:
            raise CapacityError("there is no memory left to unpack weights", hint="close other programs")
        if code:
            raise ShapeError(f"{name} makes no {kind} of {len(held[0])} x {held[0].shape[-1]}")

    return fill


def fours(codes: NDArray[Any], exponents: NDArray[Any], out: NDArray[Any]) -> Callable[[int, int], None]:
    """Make rows of GGUF's MXFP4 blocks. Shapes: codes [R, G, 16], exponents [R, G]."""
    held = np.ascontiguousarray(codes), np.ascontiguousarray(exponents)
    call = function("pacos_unpack_fours", None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p])

    def fill(begin: int, end: int) -> None:
        first, second = (one[begin:end] for one in held)
        call(first.ctypes.data, second.ctypes.data, second.size, out[begin:end].ctypes.data)

    return fill
