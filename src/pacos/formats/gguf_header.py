"""Read the header of one GGUF file: metadata and the list of tensors, every bound proved before anybody gets a view.

A header is hostile until shown otherwise: counts are capped by the bytes that are there, lengths are compared as
Python integers, which cannot wrap, and nothing is allocated by a number from the header.

Source: ggml's gguf specification (ggml/docs/gguf.md). As llama.cpp does, tensors are required to lie one behind the
other in the order of the header, each padded to the alignment.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats import gguf_types as gt
from pacos.formats.foreign import HEAD_BYTES, wrong_magic
from pacos.formats.mapped import MappedFile
from pacos.formats.string_array import StringArray, strings_end
from pacos.formats.wording import shown, sized
from pacos.types import TensorEntry

_INCOMPLETE = "download incomplete or file damaged? the file has {} bytes"
_DAMAGED = "is the file damaged?"
_BAD_WRITER = "the file is damaged, or its writer was"
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS = {name: struct.Struct("<" + kind.letter) for name, kind in gt.VALUE_TYPES.items()}


@dataclass(slots=True)
class Header:
    """What the header of one file says, checked against the file's size."""

    version: int
    metadata: dict[str, Any] = field(default_factory=dict)
    value_types: dict[str, str] = field(default_factory=dict)
    tensors: list[TensorEntry] = field(default_factory=list)
    alignment: int = gt.DEFAULT_ALIGNMENT
    warnings: list[str] = field(default_factory=list)


def read_header(file: MappedFile, part: int) -> Header:
    """Metadata and tensors of one file, with every tensor proved to lie inside it.

    Errors: FormatError, UnsupportedModel.
    """
    cursor = _Cursor(file)
    header = Header(_read_version(cursor))
    tensor_count = _read_count(cursor, "tensors", gt.MAX_TENSORS, gt.MIN_TENSOR_ENTRY_BYTES)
    key_count = _read_count(cursor, "metadata keys", gt.MAX_METADATA_KEYS, gt.MIN_METADATA_ENTRY_BYTES)
    if tensor_count == key_count == 0:
        raise FormatError(f"{file.shown}: the file holds neither metadata nor tensors", hint="download it again")
    for _ in range(key_count):
        _read_pair(cursor, header)
    header.alignment = _alignment(file, header)
    _read_tensors(cursor, header, tensor_count, part)
    return header


class _Cursor:
    """A position in a file that never passes its end; `where` names the key or tensor for messages."""

    __slots__ = ("at", "file", "size", "view", "where")

    def __init__(self, file: MappedFile) -> None:
        self.file, self.view, self.size = file, file.view, file.size
        self.at = 0
        self.where = "the header"

    def error(self, problem: str, hint: str | None = None) -> FormatError:
        return FormatError(f"{self.file.shown}: {problem}, in {self.where} before byte {self.at}", hint=hint)

    def take(self, nbytes: int) -> int:
        """Where the next bytes start; they are passed."""
        start = self.at
        left = self.size - start
        if nbytes > left:
            needed = f"{sized(nbytes)} needed at byte {start}, {left} left"
            problem = f"{self.file.shown}: the file ends inside {self.where}: {needed}"
            raise FormatError(problem, hint=_INCOMPLETE.format(self.size))
        self.at = start + nbytes
        return start

    def u32(self) -> int:
        return int(_U32.unpack_from(self.view, self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack_from(self.view, self.take(8))[0])

    def string(self, limit: int, what: str) -> bytes:
        """The bytes of a string of at most `limit` bytes."""
        length = self.u64()
        if limit < length <= self.size - self.at:
            raise self.error(f"{what} of {length} bytes is longer than the limit of {limit}", _DAMAGED)
        start = self.take(length)
        return bytes(self.view[start : start + length])


def _read_version(cursor: _Cursor) -> int:
    """The file's version, after its magic."""
    name = cursor.file.shown
    head = bytes(cursor.view[:HEAD_BYTES])
    if not head.startswith(gt.MAGIC):
        raise wrong_magic(name, head, "a GGUF file")
    cursor.at = len(gt.MAGIC)
    version = cursor.u32()
    if version in gt.VERSIONS:
        return version
    if version == 1:
        raise FormatError(f"{name}: GGUF version 1 (2023-08), needed is 2 or 3", hint="get a newer file of this model")
    if version & 0xFFFF == 0 and version >> 16 > 0:
        raise FormatError(f"{name}: a big-endian GGUF file", hint="get the little-endian file of this model")
    raise FormatError(f"{name}: GGUF version {version}, needed is 2 or 3", hint="damaged, or newer than this Pacos")


def _read_count(cursor: _Cursor, what: str, limit: int, entry_bytes: int) -> int:
    """A count that the rest of the file can hold."""
    count = cursor.u64()
    if count > limit:
        raise cursor.error(f"{count} {what}, at most {limit} are allowed", _DAMAGED)
    if count * entry_bytes > cursor.size - cursor.at:
        raise cursor.error(f"{count} {what} cannot fit the file", _INCOMPLETE.format(cursor.size))
    return count


def _read_pair(cursor: _Cursor, header: Header) -> None:
    """The next key and its value, into the header."""
    cursor.where = f"metadata key {len(header.metadata) + 1}"
    key = _name(cursor, gt.MAX_KEY_BYTES, "a key")
    cursor.where = f"key {shown(key)}"
    if key in header.metadata:
        raise cursor.error("the key appears twice", _BAD_WRITER)
    kind = _value_type(cursor)
    if kind == "ARRAY":
        kind, header.metadata[key] = _read_array(cursor)
    else:
        header.metadata[key] = _scalar(cursor, kind)
    header.value_types[key] = kind
    if cursor.at > gt.MAX_METADATA_BYTES:
        raise cursor.error(f"more than {sized(gt.MAX_METADATA_BYTES)} of metadata", _DAMAGED)


def _name(cursor: _Cursor, limit: int, what: str) -> str:
    """A key or tensor name: not empty, UTF-8, printable on one line."""
    raw = cursor.string(limit, what)
    if not raw:
        raise cursor.error(f"{what} is empty", _DAMAGED)
    name = raw.decode("utf-8", "surrogateescape")
    if not name.isprintable():
        raise cursor.error(f"{what} holds bytes that cannot be printed: {shown(name)}", _DAMAGED)
    return name


def _value_type(cursor: _Cursor) -> str:
    """The name of the value type that is next."""
    number = cursor.u32()
    kind = gt.VALUE_TYPE_NAMES.get(number)
    if kind is None:
        raise cursor.error(f"value type {number} is unknown, 0 to {max(gt.VALUE_TYPE_NAMES)} exist", _DAMAGED)
    return kind


def _scalar(cursor: _Cursor, kind: str) -> Any:
    """A single value."""
    if kind == "STRING":
        return cursor.string(gt.MAX_STRING_BYTES, "a string").decode("utf-8", "surrogateescape")
    if kind == "BOOL":
        byte = cursor.view[cursor.take(1)]
        if byte > 1:
            raise cursor.error(f"a bool is 0 or 1, not {byte}", _DAMAGED)
        return bool(byte)
    unpack = _SCALARS[kind]
    return unpack.unpack_from(cursor.view, cursor.take(unpack.size))[0]


def _read_array(cursor: _Cursor) -> tuple[str, Any]:
    """The type of an array's elements, and the array."""
    kind = _value_type(cursor)
    count = cursor.u64()
    if kind == "ARRAY":
        raise cursor.error("arrays of arrays are not supported", "no known model has them; is the file damaged?")
    entry = gt.VALUE_TYPES[kind]
    limit = gt.MAX_BOOL_ARRAY_ELEMENTS if kind == "BOOL" else gt.MAX_ARRAY_ELEMENTS
    if count * entry.nbytes > cursor.size - cursor.at:
        problem = f"an array of {count} values of type {kind} cannot fit the file"
        raise cursor.error(problem, _INCOMPLETE.format(cursor.size))
    if count > limit:
        raise cursor.error(f"an array of {count} values, at most {limit} are allowed", _DAMAGED)
    if kind == "STRING":
        return kind, _string_array(cursor, count)
    start = cursor.take(count * entry.nbytes)
    raw = cursor.view[start : cursor.at]
    if kind == "BOOL":
        if any(byte > 1 for byte in raw):
            raise cursor.error("a bool is neither 0 nor 1", _DAMAGED)
        return kind, [bool(byte) for byte in raw]
    values = array(entry.letter)
    values.frombytes(raw)
    return kind, values


def _string_array(cursor: _Cursor, count: int) -> StringArray:
    """An array of strings, left where it is."""
    start = cursor.at
    end = strings_end(cursor.view[start:], count, gt.MAX_STRING_BYTES)
    if end < 0:
        problem = f"string {-1 - end} of {count} passes the end of the file or {gt.MAX_STRING_BYTES} bytes"
        raise cursor.error(problem, _INCOMPLETE.format(cursor.size))
    cursor.at = start + end
    return StringArray(cursor.view[start : cursor.at], count)


def _alignment(file: MappedFile, header: Header) -> int:
    """What tensors are aligned to."""
    value = header.metadata.get(gt.ALIGNMENT_KEY, gt.DEFAULT_ALIGNMENT)
    kind = header.value_types.get(gt.ALIGNMENT_KEY, "U32")
    if kind != "U32" or not isinstance(value, int):
        problem = f"{file.shown}: {gt.ALIGNMENT_KEY} must be one U32, not {type(value).__name__} of {kind}"
        raise FormatError(problem, hint=_DAMAGED)
    if not 1 <= value <= gt.MAX_ALIGNMENT or value & (value - 1):
        problem = f"{file.shown}: {gt.ALIGNMENT_KEY} is {value}, needed is a power of two up to {gt.MAX_ALIGNMENT}"
        raise FormatError(problem, hint=_DAMAGED)
    return value


def _read_tensors(cursor: _Cursor, header: Header, count: int, part: int) -> None:
    """The list of tensors, each with its place in the file."""
    file, seen, at, end = cursor.file, set[str](), 0, 0
    found: list[tuple[str, tuple[int, ...], str, int]] = []
    for index in range(count):
        cursor.where = f"tensor {index + 1} of {count}"
        name = _name(cursor, gt.MAX_TENSOR_NAME_BYTES, "a tensor name")
        cursor.where = f"tensor {shown(name)}"
        if name in seen:
            raise cursor.error("two tensors have this name", _BAD_WRITER)
        if ".." in name.replace("\\", "/").split("/"):
            raise cursor.error("the tensor's name looks like a path", "do not trust this file")
        seen.add(name)
        shape = _shape(cursor)
        type_name, nbytes = _tensor_size(cursor, name, shape)
        _check_offset(cursor, cursor.u64(), at, header.alignment)
        found.append((name, shape, type_name, nbytes))
        if nbytes == 0:
            header.warnings.append(f"{file.shown}: tensor {shown(name)} is empty: shape {shape}")
        end = at + nbytes
        at = end + -end % header.alignment
    start = cursor.at + -cursor.at % header.alignment
    expected = start + end
    if file.size > start + at:
        extra = file.size - start - at
        header.warnings.append(f"{file.shown}: {sized(extra)} behind the last tensor belong to nothing")
    for name, shape, type_name, nbytes in found:
        if start + nbytes > file.size:
            problem = f"{file.shown}: the file ends inside tensor {shown(name)}, which ends at byte {start + nbytes}"
            raise FormatError(problem, hint=f"download incomplete? expected {expected} bytes, the file has {file.size}")
        header.tensors.append(TensorEntry(name, shape, type_name, part, start, nbytes))
        start += nbytes + -nbytes % header.alignment


def _shape(cursor: _Cursor) -> tuple[int, ...]:
    """The tensor's shape, rows first."""
    dimensions = cursor.u32()
    if not 1 <= dimensions <= gt.MAX_DIMENSIONS:
        raise cursor.error(f"{dimensions} dimensions, needed are 1 to {gt.MAX_DIMENSIONS}", _DAMAGED)
    shape = tuple(reversed([cursor.u64() for _ in range(dimensions)]))
    if max(shape) > gt.MAX_DIMENSION:
        raise cursor.error(f"a dimension of {max(shape)} weights", _DAMAGED)
    return shape


def _tensor_size(cursor: _Cursor, name: str, shape: tuple[int, ...]) -> tuple[str, int]:
    """Name of the tensor type that is next, and the bytes that this shape takes in it."""
    number = cursor.u32()
    kind = gt.TENSOR_TYPES.get(number)
    if kind is None:
        removed = gt.REMOVED_TENSOR_TYPES.get(number)
        what = f"type {number} ({removed}), which ggml has removed" if removed else f"the unknown type {number}"
        hint = "get a newer file of this model" if removed else "newer than this Pacos, or damaged"
        raise UnsupportedModel(f"{cursor.file.shown}: tensor {shown(name)} has {what}", hint=hint)
    if shape[-1] % kind.block:
        problem = f"rows of {shape[-1]} weights are not whole {kind.name} blocks of {kind.block}"
        raise cursor.error(problem, _DAMAGED)
    blocks = shape[-1] // kind.block
    for rows in shape[:-1]:
        blocks *= rows
    return kind.name, blocks * kind.block_bytes


def _check_offset(cursor: _Cursor, offset: int, wanted: int, alignment: int) -> None:
    """Refuse a tensor that does not lie right behind the one before it."""
    if offset == wanted:
        return
    if offset % alignment:
        problem = f"the tensor's offset {offset} is no multiple of the alignment {alignment}"
    elif offset < wanted:
        problem = f"the tensor's offset {offset} lies inside an earlier tensor, which ends at {wanted}"
    else:
        problem = f"the tensor's offset {offset} leaves a hole behind the tensor before, which ends at {wanted}"
    raise cursor.error(problem, _BAD_WRITER)
