"""Block formats of weights: one folder per format holds its layout in Python and in C++.

A format is found by its folder, so a new one is a new folder and no list to edit. Importing this package does not
import numpy; converting data does.
"""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pacos.errors import FormatError, ShapeError, UnsupportedModel
from pacos.lazy import np
from pacos.quants.block import BlockFormat

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pacos.quants.block import Floats

__all__ = ["BlockFormat", "block_format", "block_formats", "dequantize", "quantize", "row_bytes"]

_CHUNK_WEIGHTS = 1 << 19  # keeps the temporaries of a conversion within the last-level cache


@functools.cache
def block_formats() -> tuple[BlockFormat, ...]:
    """Every known format, by ascending type id."""
    names = [found.name for found in pkgutil.iter_modules(__path__) if found.ispkg]
    formats = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in names]
    return tuple(sorted(formats, key=lambda fmt: fmt.type_id))


@functools.cache
def block_format(name_or_id: str | int) -> BlockFormat:
    """The format of that ggml name ("Q4_K", any case) or type id.

    Errors: UnsupportedModel when no folder describes it.
    """
    wanted = name_or_id.upper() if isinstance(name_or_id, str) else name_or_id
    for fmt in block_formats():
        if wanted in (fmt.name, fmt.type_id):
            return fmt
    known = " ".join(fmt.name for fmt in block_formats())
    raise UnsupportedModel(f"weights of type {name_or_id} are not supported", hint=f"supported types: {known}")


def row_bytes(name: str | int, columns: int) -> int:
    """Bytes of one row of `columns` weights.

    Errors: ShapeError when the row is not a whole number of blocks.
    """
    fmt = block_format(name)
    if columns < 0 or columns % fmt.block:
        raise ShapeError(f"a row of {columns} weights is not a whole number of {fmt.name} blocks of {fmt.block}")
    return columns // fmt.block * fmt.block_bytes


def dequantize(name: str | int, data: bytes | bytearray | memoryview | NDArray[Any], shape: Sequence[int]) -> Floats:
    """The weights in `data` as f32 of `shape` (rows first).

    Errors: FormatError when `data` has not exactly the bytes that the shape needs.
    """
    fmt = block_format(name)
    columns = shape[-1] if len(shape) else 1
    count = math.prod(shape)
    needed = count // columns * row_bytes(fmt.name, columns) if columns else 0
    raw = np.frombuffer(data, dtype=np.uint8) if needed else np.zeros(len(data), dtype=np.uint8)
    if raw.size != needed:
        raise FormatError(f"{fmt.name} weights of shape {tuple(shape)} need {needed} bytes, found {raw.size}")
    blocks = raw.reshape(-1, fmt.block_bytes)
    out = np.empty((blocks.shape[0], fmt.block), dtype=np.float32)
    with np.errstate(all="ignore"):
        for part in _chunks(blocks.shape[0], fmt.block):
            out[part] = fmt.dequantize(blocks[part])
    return out.reshape(tuple(shape))


def quantize(name: str | int, array: ArrayLike, importance: ArrayLike | None = None, *, quick: bool = False) -> bytes:
    """Pack `array` (any float type, rows first) into the format's blocks.

    The importance of the columns weighs their errors; formats without a search, or without weights in it, pay no heed.
    `quick` takes the shorter search of the formats that have one, as pages of keys and values are quantized.
    Shapes: [..., K], [K]. Errors: ShapeError when a row is not a whole number of blocks.
    """
    fmt = block_format(name)
    values = np.ascontiguousarray(array, dtype=np.float32)
    row_bytes(fmt.name, values.shape[-1] if values.ndim else 1)
    if importance is not None and fmt.weighted is not None:
        return _weighted(fmt, values.reshape(-1, values.shape[-1]), np.asarray(importance, np.float32))
    rows = values.reshape(-1, fmt.block)
    out = np.empty((rows.shape[0], fmt.block_bytes), dtype=np.uint8)
    pack = fmt.quick if quick and fmt.quick is not None else fmt.quantize
    with np.errstate(all="ignore"):
        for part in _chunks(rows.shape[0], fmt.block):
            out[part] = pack(rows[part])
    return out.tobytes()


def _weighted(fmt: BlockFormat, rows: Floats, importance: Floats) -> bytes:
    columns = rows.shape[1]
    if fmt.weighted is None or importance.shape != (columns,):
        raise ShapeError(f"importance of {importance.shape} columns for rows of {columns} weights")
    out = np.empty((rows.size // fmt.block, fmt.block_bytes), np.uint8)
    blocks = columns // fmt.block
    with np.errstate(all="ignore"):
        for part in _chunks(len(rows), columns):
            given = np.broadcast_to(importance, rows[part].shape)
            out[part.start * blocks : part.stop * blocks] = fmt.weighted(rows[part], given)
    return out.tobytes()


def _chunks(blocks: int, block: int) -> Iterator[slice]:
    step = max(1, _CHUNK_WEIGHTS // block)
    return (slice(start, start + step) for start in range(0, blocks, step))
