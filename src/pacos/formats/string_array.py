"""A GGUF array of strings that stays in the file: 150,000 tokens cost nothing until somebody asks for one.

Native code reads the same bytes by `address` and `nbytes`: u64 length and that many bytes, repeated.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from pacos import native
from pacos.errors import NativeError
from pacos.native import address_of

_LENGTH = struct.Struct("<Q")
_LENGTH_BYTES = _LENGTH.size
_PYTHON_COUNT = 512  # up to here a loop in Python is faster than finding the native library


def strings_end_python(region: memoryview, count: int, max_string_bytes: int, starts: array[int] | None = None) -> int:
    """Offset behind the last of `count` strings, or -1 - i when string i does not fit the region or the limit.

    Appends the offset of each string to `starts`. This is the definition of the native function of the same name.
    """
    unpack, total, at = _LENGTH.unpack_from, len(region), 0
    for i in range(count):
        if total - at < _LENGTH_BYTES:
            return -i - 1
        (length,) = unpack(region, at)
        if starts is not None:
            starts.append(at)
        at += _LENGTH_BYTES
        if length > max_string_bytes or length > total - at:
            return -i - 1
        at += length
    return at


@functools.cache
def _native_strings_end() -> Callable[..., int] | None:
    u64 = ctypes.c_uint64
    try:
        arguments = [ctypes.c_void_p, u64, u64, u64, ctypes.c_void_p]
        return native.function("pacos_gguf_strings_end", ctypes.c_int64, arguments)
    except NativeError:  # a file can be listed without the library; only speed is lost
        return None


def strings_end(region: memoryview, count: int, max_string_bytes: int) -> int:
    """As `strings_end_python`, in native code when there is much to walk."""
    walk = _native_strings_end() if count > _PYTHON_COUNT else None
    if walk is None:
        return strings_end_python(region, count, max_string_bytes)
    return walk(address_of(region), len(region), count, max_string_bytes, None)


def string_starts(region: memoryview, count: int) -> array[int]:
    """Offset of each string in a region that `strings_end` has proved."""
    starts = array("Q")
    walk = _native_strings_end() if count > _PYTHON_COUNT else None
    if walk is None:
        strings_end_python(region, count, len(region), starts)
        return starts
    starts.frombytes(bytes(starts.itemsize * count))
    walk(address_of(region), len(region), count, len(region), starts.buffer_info()[0])
    return starts


class StringArray(Sequence[str]):
    """Strings over the raw bytes of a GGUF array; bytes that are no UTF-8 become surrogates (surrogateescape).

    The bytes must have been proved by `strings_end`. The array keeps its file mapped.
    """

    __slots__ = ("_count", "_starts", "raw")
    __hash__ = None  # type: ignore[assignment]  # it compares equal to lists

    def __init__(self, raw: memoryview, count: int) -> None:
        self.raw = raw
        self._count = count
        self._starts: array[int] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all strings with their lengths."""
        return len(self.raw)

    @property
    def address(self) -> int:
        """Address of the first length, valid as long as this object lives."""
        return address_of(self.raw)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"string {index} of {self._count}")
        return self.encoded(index).decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        unpack, raw, at = _LENGTH.unpack_from, bytes(self.raw), 0  # slices of bytes are faster than of a view
        for _ in range(self._count):
            start = at + _LENGTH_BYTES
            at = start + unpack(raw, at)[0]
            yield raw[start:at].decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringArray):
            return self._count == other._count and self.raw == other.raw
        if isinstance(other, (list, tuple)):
            return len(other) == self._count and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    def __repr__(self) -> str:
        return f"StringArray({self._count} strings, {self.nbytes} bytes)"

    def encoded(self, index: int) -> bytes:
        """The bytes of one string as they are in the file."""
        if self._starts is None:
            self._starts = string_starts(self.raw, self._count)
        at = self._starts[index] + _LENGTH_BYTES
        return bytes(self.raw[at : at + _LENGTH.unpack_from(self.raw, at - _LENGTH_BYTES)[0]])
