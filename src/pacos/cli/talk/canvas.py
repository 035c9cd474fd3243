"""The last lines of a terminal, drawn anew in place: what is finished scrolls away, what may still change stays.

Nothing flickers: lines that stay as they are are not written again, of one that goes on only what is new is, and all
goes out in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

STYLE = re.compile(r"\x1b\[[0-9;]*m")
RESET = "\x1b[0m"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # a terminal that knows them shows all that lies between at once


def cells(line: str) -> int:
    """Columns that a line takes, styles left out."""
    from rich.cells import cell_len

    return cell_len(STYLE.sub("", line))


class Canvas:
    """Lines with styles; `size` tells columns and rows, which may change between two drawings.

    The cursor rests at the end of the last line.
    """

    def __init__(self, write: Callable[[str], object], size: Callable[[], tuple[int, int]]) -> None:
        self._write = write
        self._size = size
        self._tail: list[str] = [""]

    def draw(self, finished: Sequence[str], tail: Sequence[str]) -> None:
        """Put finished lines in place of the tail, and the new tail below them.

        Of a tail that is higher than the screen only the end is shown: what has scrolled away cannot be changed.
        """
        width, height = self._size()
        shown = self._fitting(tail, width, height - 1) or [""]
        lines, old = [*finished, *shown], self._tail
        most = min(len(lines), len(old))
        same = next((i for i in range(most) if lines[i] != old[i]), most)
        self._tail = shown
        if same == len(lines) == len(old):
            return
        more = _addition(old[-1], lines[same]) if same == len(old) - 1 and same < len(lines) else None
        if same == len(old):
            start = "\r\n"
        elif more is not None:
            start, lines[same] = "", more
        else:
            same = min(same, len(lines) - 1)
            up = sum(self._rows(line, width) for line in old[same:]) - 1
            # The first row apart: what is erased from the corner on, all of the screen, may go into its history.
            start = "\r" + (f"\x1b[{up}A\x1b[B\x1b[J\x1b[A" if up else "") + "\x1b[K"
        self._write(_BEGIN + start + "\r\n".join(lines[same:]) + _END)

    def end(self) -> None:
        """Leave what is there, and go to a new line unless at the start of one."""
        if self._tail != [""]:
            self._write("\r\n")
        self._tail = [""]

    def _fitting(self, tail: Sequence[str], width: int, rows: int) -> list[str]:
        kept: list[str] = []
        for line in reversed(tail):
            rows -= self._rows(line, width)
            if rows < 0 and kept:
                break
            kept.append(line)
        return kept[::-1]

    def _rows(self, line: str, width: int) -> int:
        """Rows that a line takes where the terminal breaks it, also after it became narrower."""
        return max(1, -(-cells(line) // max(1, width)))


def _addition(old: str, new: str) -> str | None:
    """What makes the new line of the old one when it is written behind it; None when nothing does."""
    begun = old.removesuffix(RESET)
    if not old or not new.startswith(begun):
        return None
    return "".join(STYLE.findall(begun.rpartition(RESET)[2])) + new[len(begun) :]
