"""Block formats of weights: one folder per format holds its layout in Python and in C++.

A format is found by its folder, so a new one is a new folder and no list to edit. Importing this package does not
import numpy; converting data does.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pacos import native
from pacos.errors import FormatError, NativeError, ShapeError, UnsupportedModel
from pacos.lazy import np
from pacos.quants.block import BlockFormat

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pacos.quants.block import Bytes, Floats

__all__ = ["BlockFormat", "block_format", "block_formats", "dequantize", "quantize", "repack", "row_bytes"]

_NUMBER, _COUNT, _DATA = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
_NOT_FINITE = -2  # as in pacos.h
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
    if (
        pack is fmt.quantize
        and _native("pacos_pack", [_NUMBER, _DATA, _COUNT, _DATA])(
            fmt.type_id, values.ctypes.data, values.size, out.ctypes.data
        )
        == 0
    ):
        return out.tobytes()
    with np.errstate(all="ignore"):
        for part in _chunks(rows.shape[0], fmt.block):
            out[part] = pack(rows[part])
    return out.tobytes()


def repack(
    source: str, data: bytes | memoryview | NDArray[Any], shape: Sequence[int], target: str, importance: Any = None
) -> Bytes:
    """Blocks of one format from those of another, flat: `quantize` of what `dequantize` gives, without much memory.

    Errors: as theirs; FormatError for weights that are NaN or infinite, which would spoil their whole blocks.
    """
    old, new = block_format(source), block_format(target)
    count = math.prod(shape)
    raw = np.frombuffer(data, np.uint8)
    needed = count // shape[-1] * row_bytes(source, shape[-1]) if count else 0
    if raw.size != needed:
        raise FormatError(f"{source} weights of shape {tuple(shape)} need {needed} bytes, found {raw.size}")
    if importance is None or new.weighted is None:
        out = np.empty(count // shape[-1] * row_bytes(target, shape[-1]) if count else 0, np.uint8)
        convert = _native("pacos_repack", [_NUMBER, _DATA, _NUMBER, _DATA, _COUNT])
        done = convert(old.type_id, raw.ctypes.data, new.type_id, out.ctypes.data, count)
        if done == 0:
            return out
        if done == _NOT_FINITE:
            raise _not_finite()
    values = np.empty(tuple(shape), np.float32)
    widen = _native("pacos_dequantize", [ctypes.c_char_p, _NUMBER, _DATA, _DATA, _COUNT])
    if widen(None, old.type_id, raw.ctypes.data, values.ctypes.data, count) != 0:
        values = dequantize(source, raw, shape)
    if not np.isfinite(values).all():
        raise _not_finite()
    return np.frombuffer(quantize(target, values, importance), np.uint8)


def _not_finite() -> FormatError:
    return FormatError("weights are NaN or infinite", hint="the model is damaged, or was saved from a failed training")


def _native(name: str, arguments: list[Any]) -> Callable[..., int]:
    """A function of the library, or one that can nothing."""
    try:
        return native.function(name, ctypes.c_int32, arguments)
    except NativeError:  # the definitions do the same, slowly
        return lambda *_: -1


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
