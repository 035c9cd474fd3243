"""Strings that remember which of their characters a chat template wrote itself.

Special tokens in a prompt may come from the template only, never from a message. So each character of a
`Marked` string carries one bit: 1 for markup (a literal of the template, the BOS and EOS text, a known role
name), 0 for data. A plain `str` is data throughout. Nothing here ever sets a bit: results copy the bits of
the characters they are made of, and an operation that is not written here falls back to `str`'s own, whose
result is a plain `str`, hence data. Losing a mark is harmless, gaining one is impossible: that is the whole
proof that a message cannot forge markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MARKUP = b"\x01"
_RUNS = re.compile(rb"\x01+|\x00+")


class Marked(str):
    """A string with one mark per character; hash, equality and methods are those of `str`."""

    __slots__ = ("marks",)
    marks: bytes

    def __new__(cls, text: str, marks: bytes) -> Marked:
        """Join a text and its marks, which must be equally long."""
        self = super().__new__(cls, text)
        self.marks = marks
        return self

    def __str__(self) -> str:
        return self  # str(x) keeps the marks: the output code of a template calls it

    def __iter__(self) -> Iterator[str]:
        return (Marked(char, self.marks[i : i + 1]) for i, char in enumerate(str.__iter__(self)))


def markup(text: str) -> Marked:
    """Mark all of a string as markup."""
    return Marked(str.__str__(text), MARKUP * len(text))


def marks_of(text: str) -> bytes:
    """Give the marks of any string."""
    return text.marks if isinstance(text, Marked) else bytes(len(text))


def join(parts: Iterable[str], separator: str = "") -> str:
    """Join strings as `str.join` does."""
    parts = list(parts)
    text = separator.join(parts)
    if not isinstance(separator, Marked) and not any(isinstance(part, Marked) for part in parts):
        return text
    return Marked(text, marks_of(separator).join([marks_of(part) for part in parts]))


def cut(text: str, where: slice) -> str:
    """Slice as `text[where]` does."""
    piece = str.__getitem__(text, where)
    return Marked(piece, text.marks[where]) if isinstance(text, Marked) else piece


def char(text: str, index: int) -> str:
    """Take one character as `text[index]` does."""
    piece = str.__getitem__(text, index)
    return Marked(piece, bytes((text.marks[index],))) if isinstance(text, Marked) else piece


def repeat(text: str, count: int) -> str:
    """Repeat as `text * count` does."""
    piece = str.__mul__(text, count)
    return Marked(piece, text.marks * count) if isinstance(text, Marked) else piece


def strip(text: str, chars: str | None = None) -> str:
    """Strip both ends as `str.strip` does."""
    return lstrip(rstrip(text, chars), chars)


def lstrip(text: str, chars: str | None = None) -> str:
    """Strip the start as `str.lstrip` does."""
    piece = str.lstrip(text, chars)
    return Marked(piece, text.marks[len(text) - len(piece) :]) if isinstance(text, Marked) else piece


def rstrip(text: str, chars: str | None = None) -> str:
    """Strip the end as `str.rstrip` does."""
    piece = str.rstrip(text, chars)
    return Marked(piece, text.marks[: len(piece)]) if isinstance(text, Marked) else piece


def pieces(text: str, found: Iterable[str]) -> list[str]:
    """Mark substrings of a text that stand in it in this order without overlap.

    Exact when each one is the first occurrence after the end of the one before, which holds for what
    `str.split` gives, with and without a separator.
    """
    if not isinstance(text, Marked):
        return list(found)
    out: list[str] = []
    position = 0
    for piece in found:
        position = str.find(text, piece, position)
        out.append(Marked(piece, text.marks[position : position + len(piece)]))
        position += len(piece)
    return out


def split(text: str, separator: str | None = None, maxsplit: int = -1, *, right: bool = False) -> list[str]:
    """Split as `str.split` does, or as `str.rsplit` does."""
    found = str.rsplit(text, separator, maxsplit) if right else str.split(text, separator, maxsplit)
    if separator is None or not isinstance(text, Marked):
        return pieces(text, found)
    out: list[str] = []
    position = 0
    for piece in found:
        out.append(Marked(piece, text.marks[position : position + len(piece)]))
        position += len(piece) + len(separator)
    return out


def splitlines(text: str, keepends: bool = False) -> list[str]:
    """Split into lines as `str.splitlines` does."""
    out: list[str] = []
    position = 0
    for line, whole in zip(str.splitlines(text, keepends), str.splitlines(text, True), strict=True):
        out.append(cut(text, slice(position, position + len(line))))
        position += len(whole)
    return out


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    """Replace as `str.replace` does."""
    if not isinstance(text, Marked) and not isinstance(new, Marked):
        return str.replace(text, old, new, count)
    if old:
        return join(split(text, old, count), new)
    gaps = len(text) + 1 if count < 0 else min(count, len(text) + 1)
    parts: list[str] = []
    for i in range(gaps):
        parts += [new, cut(text, slice(i, i + 1))]
    return join([*parts, cut(text, slice(gaps, None))])


def recase(text: str, recased: str) -> str:
    """Mark what a change of case made of a text.

    Case mappings never shorten a string, so an equal length means that characters still correspond. A string
    of markup alone stays so at any length; else a changed length loses the marks.
    """
    if not isinstance(text, Marked):
        return recased
    if len(recased) == len(text):
        return Marked(recased, text.marks)
    return markup(recased) if 0 not in text.marks else recased


def runs(parts: Iterable[str]) -> list[tuple[str, bool]]:
    """Split strings laid end to end into maximal runs of markup (True) and data (False)."""
    whole = join(parts)
    if not isinstance(whole, Marked):
        return [(whole, False)] if whole else []
    text = str.__getitem__(whole, slice(None))
    spans = ((match.start(), match.end()) for match in _RUNS.finditer(whole.marks))
    return [(text[start:end], whole.marks[start] == 1) for start, end in spans]
