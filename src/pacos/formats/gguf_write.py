"""Write GGUF files of version 3: streamed, so that a model of any size needs little memory, and atomic.

Metadata values are plain Python values, or have their type spelled out: `{"a.count": U32(5), "a.list": F32([1, 2])}`.
What this writer accepts, the reader accepts: both keep the limits of `gguf_types`.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from pacos.errors import ShapeError, UsageError
from pacos.formats import gguf_types as gt
from pacos.formats.atomic import atomic_file
from pacos.formats.string_array import StringArray
from pacos.formats.wording import shown

BytesLike: TypeAlias = Any  # what memoryview() takes and is contiguous: bytes, array.array, a numpy array
TensorBytes: TypeAlias = BytesLike | Iterable[BytesLike] | Callable[[], BytesLike | Iterable[BytesLike]]

_WRITE_BYTES = 1 << 24
_INTEGERS = (
    ("U32", 0, (1 << 32) - 1),
    ("I32", -(1 << 31), (1 << 31) - 1),
    ("I64", -(1 << 63), (1 << 63) - 1),
    ("U64", 0, (1 << 64) - 1),
)
_LIST_INTEGERS = (_INTEGERS[1], _INTEGERS[0], *_INTEGERS[2:])  # files hold lists of I32, as of token types


class TensorData(NamedTuple):
    """A tensor to write; a plain tuple of the same four will do.

    Shapes: rows first. `type` is ggml's name. The bytes may come in pieces, or from a function that is called when
    their turn comes.
    """

    name: str
    shape: Sequence[int]
    type: str
    data: TensorBytes


def write_gguf(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Iterable[TensorData | tuple[str, Sequence[int], str, TensorBytes]] = (),
    *,
    replace: bool = True,
) -> int:
    """Write the file and return its size in bytes; after any error the old file, or none, is there.

    Plain values: int becomes U32 (else I32, I64, U64), in lists I32 (else U32, I64, U64); float F32; bool; str; an
    array.array keeps its type.
    Errors: UsageError, ShapeError (data of the wrong length), CapacityError (disk full).
    """
    listed = [TensorData(*tensor) for tensor in tensors]
    alignment = _alignment(metadata)
    header, sizes = _header(metadata, listed, alignment)
    header += bytes(-len(header) % alignment)
    total = len(header) + sum(nbytes + -nbytes % alignment for nbytes in sizes)
    with atomic_file(path, total, replace=replace) as stream:
        stream.write(header)
        for tensor, nbytes in zip(listed, sizes, strict=True):
            _write_data(stream, tensor, nbytes)
            stream.write(bytes(-nbytes % alignment))
    return total


def tensor_bytes(name: str, shape: Sequence[int], type_name: str) -> int:
    """Bytes of a tensor of this shape and type.

    Errors: UsageError for an unknown type, ShapeError for a shape that GGUF or the type cannot hold.
    """
    number = gt.TENSOR_TYPE_IDS.get(type_name)
    if number is None:
        known = " ".join(gt.TENSOR_TYPE_IDS)
        raise UsageError(f"tensor {shown(name)}: unknown type {shown(type_name)}", hint=f"known types: {known}")
    kind = gt.TENSOR_TYPES[number]
    if not 1 <= len(shape) <= gt.MAX_DIMENSIONS or not all(0 <= size <= gt.MAX_DIMENSION for size in shape):
        raise ShapeError(f"tensor {shown(name)}: shape {shown(shape)}, needed are 1 to {gt.MAX_DIMENSIONS} sizes")
    if shape[-1] % kind.block:
        problem = f"rows of {shape[-1]} weights are not whole {kind.name} blocks of {kind.block}"
        raise ShapeError(f"tensor {shown(name)}: {problem}")
    blocks = shape[-1] // kind.block
    for size in shape[:-1]:
        blocks *= size
    return blocks * kind.block_bytes


def _alignment(metadata: Mapping[str, Any]) -> int:
    """What tensors shall be aligned to."""
    value = metadata.get(gt.ALIGNMENT_KEY, gt.DEFAULT_ALIGNMENT)
    kind, value = (value.type, value.value) if isinstance(value, gt.TypedValue) else ("U32", value)
    if kind != "U32" or not isinstance(value, int) or not 1 <= value <= gt.MAX_ALIGNMENT or value & (value - 1):
        problem = f"needed is a U32, a power of two up to {gt.MAX_ALIGNMENT}"
        raise UsageError(f"{gt.ALIGNMENT_KEY} is {shown(value)}, {problem}")
    return value


def _header(metadata: Mapping[str, Any], tensors: Sequence[TensorData], alignment: int) -> tuple[bytes, list[int]]:
    """Everything before the data, and the bytes of each tensor."""
    if len(metadata) > gt.MAX_METADATA_KEYS or len(tensors) > gt.MAX_TENSORS:
        raise UsageError(f"{len(metadata)} keys and {len(tensors)} tensors are more than a file may hold")
    parts = [gt.MAGIC, struct.pack("<IQQ", gt.WRITTEN_VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_name(key, gt.MAX_KEY_BYTES, "key"), _value(key, value)]
    if sum(map(len, parts)) > gt.MAX_METADATA_BYTES:
        raise UsageError(f"the metadata is larger than {gt.MAX_METADATA_BYTES} bytes")
    seen: set[str] = set()
    sizes, offset = [], 0
    for name, shape, type_name, _ in tensors:
        if name in seen:
            raise UsageError(f"two tensors are named {shown(name)}")
        seen.add(name)
        sizes.append(tensor_bytes(name, shape, type_name))
        numbers = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        numbers += struct.pack("<IQ", gt.TENSOR_TYPE_IDS[type_name], offset)
        parts += [_name(name, gt.MAX_TENSOR_NAME_BYTES, "tensor name"), numbers]
        offset += sizes[-1] + -sizes[-1] % alignment
    return b"".join(parts), sizes


def _name(name: str, limit: int, what: str) -> bytes:
    """A key or tensor name as the file holds it."""
    encoded = name.encode("utf-8", "surrogatepass")
    if not 1 <= len(encoded) <= limit or not name.isprintable():
        raise UsageError(f"the {what} {shown(name)!r} must be 1 to {limit} bytes of printable text")
    if what == "tensor name" and ".." in name.replace("\\", "/").split("/"):
        raise UsageError(f"the {what} {shown(name)} looks like a path")
    return struct.pack("<Q", len(encoded)) + encoded


def _value(key: str, value: Any) -> bytes:
    """A metadata value as the file holds it, with its type before it."""
    kind, value = (value.type, value.value) if isinstance(value, gt.TypedValue) else ("", value)
    if hasattr(value, "tolist") and not isinstance(value, array):  # numpy
        value = value.tolist()
    if not isinstance(value, str | bytes) and isinstance(value, Sequence | array):
        kind = kind or _list_type(key, value)
        head = struct.pack("<IIQ", gt.VALUE_TYPES["ARRAY"].id, gt.VALUE_TYPES[kind].id, len(value))
        limit = gt.MAX_BOOL_ARRAY_ELEMENTS if kind == "BOOL" else gt.MAX_ARRAY_ELEMENTS
        if len(value) > limit:
            raise UsageError(f"key {shown(key)}: {len(value)} values, at most {limit} are allowed")
        return head + _packed(key, kind, value)
    kind = kind or _scalar_type(key, value)
    return struct.pack("<I", gt.VALUE_TYPES[kind].id) + _packed(key, kind, (value,))


def _packed(key: str, kind: str, values: Sequence[Any] | array[Any]) -> bytes:
    """Values of one type, one behind the other."""
    if kind == "STRING":
        return bytes(values.raw) if isinstance(values, StringArray) else b"".join(_string(key, text) for text in values)
    letter = gt.VALUE_TYPES[kind].letter
    if isinstance(values, array) and values.typecode == letter:
        return values.tobytes()
    if kind == "BOOL" and not all(isinstance(value, bool) for value in values):
        raise UsageError(f"key {shown(key)}: {shown(list(values))} is not of bools")
    try:
        return struct.pack(f"<{len(values)}{letter}", *values)
    except (struct.error, OverflowError, TypeError) as error:
        raise UsageError(f"key {shown(key)}: {shown(list(values))} does not fit type {kind}: {error}") from None


def _string(key: str, text: Any) -> bytes:
    """A string with its length before it; surrogates that stand for raw bytes become these again."""
    if isinstance(text, str):
        try:
            text = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise UsageError(f"key {shown(key)}: {shown(text)} cannot be UTF-8") from None
    if not isinstance(text, bytes):
        raise UsageError(f"key {shown(key)}: {shown(text)} is no string")
    if len(text) > gt.MAX_STRING_BYTES:
        raise UsageError(f"key {shown(key)}: a string of {len(text)} bytes, at most {gt.MAX_STRING_BYTES} are allowed")
    return struct.pack("<Q", len(text)) + text


def _scalar_type(key: str, value: Any) -> str:
    """The type that a plain value gets."""
    if isinstance(value, bool):
        return "BOOL"
    if isinstance(value, int):
        return _integer_type(key, value, value, _INTEGERS)
    if isinstance(value, float):
        return "F32"
    if isinstance(value, str | bytes):
        return "STRING"
    raise UsageError(f"key {shown(key)}: GGUF has no type for {shown(value)} ({type(value).__name__})")


def _list_type(key: str, values: Sequence[Any] | array[Any]) -> str:
    """The type that the elements of a plain list get."""
    if isinstance(values, StringArray):
        return "STRING"
    if isinstance(values, array):
        sign = "F" if values.typecode in "fd" else "I" if values.typecode.islower() else "U"
        return f"{sign}{8 * values.itemsize}"
    kinds = set(map(type, values))
    if not kinds:
        raise UsageError(f"key {shown(key)}: the list is empty", hint="give its type, for example STRING([])")
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return _integer_type(key, min(values), max(values), _LIST_INTEGERS)
    if kinds <= {int, float}:
        return "F32"
    if kinds <= {str, bytes}:
        return "STRING"
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise UsageError(f"key {shown(key)}: GGUF has no type for a list of {names}")


def _integer_type(key: str, low: int, high: int, types: Sequence[tuple[str, int, int]]) -> str:
    """The first type that holds all values from low to high."""
    for name, least, most in types:
        if least <= low and high <= most:
            return name
    raise UsageError(f"key {shown(key)}: no integer type holds {low} to {high}")


def _write_data(stream: BinaryIO, tensor: TensorData, nbytes: int) -> None:
    """The bytes of one tensor, counted."""
    written = 0
    for view in _views(tensor):
        written += len(view)
        if written > nbytes:
            break
        stream.writelines(view[start : start + _WRITE_BYTES] for start in range(0, len(view), _WRITE_BYTES))
    if written != nbytes:
        count = f"more than {nbytes}" if written > nbytes else written
        what = f"{tensor.type} of shape {shown(tuple(tensor.shape))}"
        raise ShapeError(f"tensor {shown(tensor.name)}: {count} bytes of data, {what} needs {nbytes}")


def _views(tensor: TensorData) -> Iterator[memoryview]:
    """The tensor's data as flat bytes, piece by piece."""
    data = tensor.data() if callable(tensor.data) else tensor.data
    try:
        pieces: Iterable[Any] = [memoryview(data)]  # type: ignore[arg-type]  # this is the question
    except TypeError:
        pieces = data
    for piece in pieces:
        try:
            view = memoryview(piece)
            yield view.cast("B") if view.nbytes else memoryview(b"")
        except (TypeError, ValueError) as error:
            raise UsageError(f"tensor {shown(tensor.name)}: the data are not contiguous plain bytes: {error}") from None
