"""Give every value of a plan its place in one buffer, so that values that are never alive together share memory.

Units: bytes; every place starts on a multiple of 64.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A value that is written by instruction `first` and last read by instruction `last`."""

    value: int
    size: int
    first: int
    last: int


def place(lifetimes: list[Lifetime]) -> tuple[dict[int, int], int]:
    """The offset of each value, and the size of the whole buffer.

    Large values are placed first, each at the lowest offset where nothing that lives at the same time is in the way.
    """
    placed: list[tuple[int, int, Lifetime]] = []  # offset, end, value; by offset
    offsets: dict[int, int] = {}
    for one in sorted(lifetimes, key=lambda one: (-one.size, one.first)):
        size = -(-max(one.size, 1) // _ALIGNMENT) * _ALIGNMENT
        offset = 0
        for start, end, other in placed:
            if other.last < one.first or one.last < other.first:
                continue
            if offset + size <= start:
                break
            offset = max(offset, end)
        insort(placed, (offset, offset + size, one), key=lambda entry: entry[0])
        offsets[one.value] = offset
    return offsets, max((end for _, end, _ in placed), default=0)
