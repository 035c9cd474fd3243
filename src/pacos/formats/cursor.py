"""A position in a mapped file that never passes its end."""

from __future__ import annotations

import struct
from typing import Any

from pacos.errors import FormatError
from pacos.formats.mapped import MappedFile
from pacos.formats.wording import sized

INCOMPLETE = "download incomplete or file damaged? the file has {} bytes"
DAMAGED = "is the file damaged?"


class Cursor:
    """Read numbers and strings one behind the other; `where` names the part of the file for messages.

    `order` is "<" for little-endian numbers, ">" for big-endian ones; `wide` says that lengths and counts have 64 bits.
    """

    __slots__ = ("at", "file", "order", "size", "view", "where", "wide")

    def __init__(self, file: MappedFile) -> None:
        self.file, self.view, self.size = file, file.view, file.size
        self.at = 0
        self.where = "the header"
        self.order = "<"
        self.wide = True

    def error(self, problem: str, hint: str | None = None) -> FormatError:
        """The error for what was just read."""
        return FormatError(f"{self.file.shown}: {problem}, in {self.where} before byte {self.at}", hint=hint)

    def take(self, nbytes: int) -> int:
        """Where the next bytes start; they are passed. Errors: FormatError when the file ends before."""
        start = self.at
        left = self.size - start
        if nbytes > left:
            needed = f"{sized(nbytes)} needed at byte {start}, {left} left"
            problem = f"{self.file.shown}: the file ends inside {self.where}: {needed}"
            raise FormatError(problem, hint=INCOMPLETE.format(self.size))
        self.at = start + nbytes
        return start

    def number(self, letter: str) -> Any:
        """The next number, of a type of `struct`."""
        return struct.unpack_from(self.order + letter, self.view, self.take(struct.calcsize(self.order + letter)))[0]

    def u32(self) -> int:
        """The next 32 bits."""
        return int(self.number("I"))

    def u64(self) -> int:
        """The next 64 bits."""
        return int(self.number("Q"))

    def length(self) -> int:
        """The next length or count."""
        return self.u64() if self.wide else self.u32()

    def string(self, limit: int, what: str) -> bytes:
        """The bytes of a string of at most `limit` bytes, behind its length."""
        length = self.length()
        if limit < length <= self.size - self.at:
            raise self.error(f"{what} of {length} bytes is longer than the limit of {limit}", DAMAGED)
        start = self.take(length)
        return bytes(self.view[start : start + length])
