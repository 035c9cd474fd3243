"""Which bytes of a file are there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Ranges:
    """Stretches [begin, end) of a file, apart from each other and in order."""

    def __init__(self, stretches: Sequence[Sequence[int]] = ()) -> None:
        self.stretches: list[tuple[int, int]] = []
        for begin, end in stretches:
            self.add(begin, end)

    def add(self, begin: int, end: int) -> None:
        """Note that these bytes are there too."""
        if end <= begin:
            return
        before = [one for one in self.stretches if one[1] < begin]
        after = [one for one in self.stretches if one[0] > end]
        touched = self.stretches[len(before) : len(self.stretches) - len(after)]
        begin = min([begin, *(one[0] for one in touched)])
        end = max([end, *(one[1] for one in touched)])
        self.stretches = [*before, (begin, end), *after]

    @property
    def bytes(self) -> int:
        """How many there are."""
        return sum(end - begin for begin, end in self.stretches)

    @property
    def prefix(self) -> int:
        """How many there are from the first one on without a gap."""
        return self.stretches[0][1] if self.stretches and self.stretches[0][0] == 0 else 0

    def missing(self, size: int, most: int) -> Iterator[tuple[int, int]]:
        """What is not there of a file of that size, in pieces of at most so many bytes."""
        begin = 0
        for start, end in [*self.stretches, (size, size)]:
            while begin < start:
                yield begin, min(start, begin + most)
                begin = min(start, begin + most)
            begin = max(begin, end)
