"""Read the header of one GGUF file: metadata and the list of tensors, every bound proved before anybody gets a view.

A header is hostile until shown otherwise: counts are capped by the bytes that are there, lengths are compared as
Python integers, which cannot wrap, and nothing is allocated by a number from the header.

Source: ggml's gguf specification (ggml/docs/gguf.md). As llama.cpp does, tensors are required to lie one behind the
other in the order of the header, each padded to the alignment.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats import gguf_types as gt
from pacos.formats.cursor import DAMAGED, INCOMPLETE, Cursor
from pacos.formats.foreign import HEAD_BYTES, wrong_magic
from pacos.formats.mapped import MappedFile
from pacos.formats.string_array import StringArray, strings_end
from pacos.formats.wording import shown, sized
from pacos.types import TensorEntry

_BAD_WRITER = "the file is damaged, or its writer was"
_BIG_ENDIAN_VERSIONS = {int.from_bytes(version.to_bytes(4, "little")): version for version in gt.VERSIONS}


@dataclass(slots=True)
class Header:
    """What the header of one file says, checked against the file's size."""

    version: int
    metadata: dict[str, Any] = field(default_factory=dict)
    value_types: dict[str, str] = field(default_factory=dict)
    tensors: list[TensorEntry] = field(default_factory=list)
    alignment: int = gt.DEFAULT_ALIGNMENT
    big_endian: bool = False
    warnings: list[str] = field(default_factory=list)


def read_header(file: MappedFile, part: int) -> Header:
    """Metadata and tensors of one file, with every tensor proved to lie inside it.

    Errors: FormatError, UnsupportedModel.
    """
    cursor = Cursor(file)
    header = Header(_read_version(cursor), big_endian=cursor.order == ">")
    tensor_count = _read_count(cursor, "tensors", gt.MAX_TENSORS, gt.MIN_TENSOR_ENTRY_BYTES)
    key_count = _read_count(cursor, "metadata keys", gt.MAX_METADATA_KEYS, gt.MIN_METADATA_ENTRY_BYTES)
    if tensor_count == key_count == 0:
        raise FormatError(f"{file.shown}: the file holds neither metadata nor tensors", hint="download it again")
    for _ in range(key_count):
        _read_pair(cursor, header)
    header.alignment = _alignment(file, header)
    _read_tensors(cursor, header, tensor_count, part)
    return header


def _read_version(cursor: Cursor) -> int:
    """The file's version, after its magic."""
    name = cursor.file.shown
    head = bytes(cursor.view[:HEAD_BYTES])
    if not head.startswith(gt.MAGIC):
        raise wrong_magic(name, head, "a GGUF file")
    cursor.at = len(gt.MAGIC)
    version = cursor.u32()
    if version in _BIG_ENDIAN_VERSIONS:
        cursor.order, version = ">", _BIG_ENDIAN_VERSIONS[version]
    cursor.wide = version > 1
    if version in gt.VERSIONS:
        return version
    raise FormatError(f"{name}: GGUF version {version}, needed is 1 to 3", hint="damaged, or newer than this Pacos")


def _read_count(cursor: Cursor, what: str, limit: int, entry_bytes: int) -> int:
    """A count that the rest of the file can hold."""
    count = cursor.length()
    if count > limit:
        raise cursor.error(f"{count} {what}, at most {limit} are allowed", DAMAGED)
    if count * (entry_bytes if cursor.wide else entry_bytes // 2) > cursor.size - cursor.at:
        raise cursor.error(f"{count} {what} cannot fit the file", INCOMPLETE.format(cursor.size))
    return count


def _read_pair(cursor: Cursor, header: Header) -> None:
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
        raise cursor.error(f"more than {sized(gt.MAX_METADATA_BYTES)} of metadata", DAMAGED)


def _name(cursor: Cursor, limit: int, what: str) -> str:
    """A key or tensor name: not empty, UTF-8, printable on one line."""
    raw = cursor.string(limit, what)
    if not raw:
        raise cursor.error(f"{what} is empty", DAMAGED)
    name = raw.decode("utf-8", "surrogateescape")
    if not name.isprintable():
        raise cursor.error(f"{what} holds bytes that cannot be printed: {shown(name)}", DAMAGED)
    return name


def _value_type(cursor: Cursor) -> str:
    """The name of the value type that is next."""
    number = cursor.u32()
    kind = gt.VALUE_TYPE_NAMES.get(number)
    if kind is None:
        raise cursor.error(f"value type {number} is unknown, 0 to {max(gt.VALUE_TYPE_NAMES)} exist", DAMAGED)
    return kind


def _scalar(cursor: Cursor, kind: str) -> Any:
    """A single value."""
    if kind == "STRING":
        return cursor.string(gt.MAX_STRING_BYTES, "a string").decode("utf-8", "surrogateescape")
    if kind == "BOOL":
        byte = cursor.view[cursor.take(1)]
        if byte > 1:
            raise cursor.error(f"a bool is 0 or 1, not {byte}", DAMAGED)
        return bool(byte)
    return cursor.number(gt.VALUE_TYPES[kind].letter)


def _read_array(cursor: Cursor) -> tuple[str, Any]:
    """The type of an array's elements, and the array."""
    kind = _value_type(cursor)
    count = cursor.length()
    if kind == "ARRAY":
        raise cursor.error("arrays of arrays are not supported", "no known model has them; is the file damaged?")
    entry = gt.VALUE_TYPES[kind]
    limit = gt.MAX_BOOL_ARRAY_ELEMENTS if kind == "BOOL" else gt.MAX_ARRAY_ELEMENTS
    if count * entry.nbytes > cursor.size - cursor.at:
        problem = f"an array of {count} values of type {kind} cannot fit the file"
        raise cursor.error(problem, INCOMPLETE.format(cursor.size))
    if count > limit:
        raise cursor.error(f"an array of {count} values, at most {limit} are allowed", DAMAGED)
    if kind == "STRING":
        return kind, _string_array(cursor, count)
    start = cursor.take(count * entry.nbytes)
    raw = cursor.view[start : cursor.at]
    if kind == "BOOL":
        if any(byte > 1 for byte in raw):
            raise cursor.error("a bool is neither 0 nor 1", DAMAGED)
        return kind, [bool(byte) for byte in raw]
    values = array(entry.letter)
    values.frombytes(raw)
    if cursor.order == ">":
        values.byteswap()
    return kind, values


def _string_array(cursor: Cursor, count: int) -> StringArray:
    """An array of strings, left where it is if its lengths are of today's form."""
    if cursor.order == ">" or not cursor.wide:
        return _rewritten_strings(cursor, count)
    start = cursor.at
    end = strings_end(cursor.view[start:], count, gt.MAX_STRING_BYTES)
    if end < 0:
        problem = f"string {-1 - end} of {count} passes the end of the file or {gt.MAX_STRING_BYTES} bytes"
        raise cursor.error(problem, INCOMPLETE.format(cursor.size))
    cursor.at = start + end
    return StringArray(cursor.view[start : cursor.at], count)


def _rewritten_strings(cursor: Cursor, count: int) -> StringArray:
    rewritten = bytearray()
    for _ in range(count):
        text = cursor.string(gt.MAX_STRING_BYTES, "a string")
        rewritten += len(text).to_bytes(8, "little") + text
    return StringArray(memoryview(bytes(rewritten)), count)


def _alignment(file: MappedFile, header: Header) -> int:
    """What tensors are aligned to."""
    value = header.metadata.get(gt.ALIGNMENT_KEY, gt.DEFAULT_ALIGNMENT)
    kind = header.value_types.get(gt.ALIGNMENT_KEY, "U32")
    if kind != "U32" or not isinstance(value, int):
        problem = f"{file.shown}: {gt.ALIGNMENT_KEY} must be one U32, not {type(value).__name__} of {kind}"
        raise FormatError(problem, hint=DAMAGED)
    if not 1 <= value <= gt.MAX_ALIGNMENT or value & (value - 1):
        problem = f"{file.shown}: {gt.ALIGNMENT_KEY} is {value}, needed is a power of two up to {gt.MAX_ALIGNMENT}"
        raise FormatError(problem, hint=DAMAGED)
    return value


def _read_tensors(cursor: Cursor, header: Header, count: int, part: int) -> None:
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


def _shape(cursor: Cursor) -> tuple[int, ...]:
    """The tensor's shape, rows first."""
    dimensions = cursor.u32()
    if not 1 <= dimensions <= gt.MAX_DIMENSIONS:
        raise cursor.error(f"{dimensions} dimensions, needed are 1 to {gt.MAX_DIMENSIONS}", DAMAGED)
    shape = tuple(reversed([cursor.length() for _ in range(dimensions)]))
    if max(shape) > gt.MAX_DIMENSION:
        raise cursor.error(f"a dimension of {max(shape)} weights", DAMAGED)
    return shape


def _tensor_size(cursor: Cursor, name: str, shape: tuple[int, ...]) -> tuple[str, int]:
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
        raise cursor.error(problem, DAMAGED)
    blocks = shape[-1] // kind.block
    for rows in shape[:-1]:
        blocks *= rows
    return kind.name, blocks * kind.block_bytes


def _check_offset(cursor: Cursor, offset: int, wanted: int, alignment: int) -> None:
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
