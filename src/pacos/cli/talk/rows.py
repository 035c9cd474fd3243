"""A line of text that grows, broken into rows at words: a row stays as it was drawn, whatever width comes afterwards.

So text is only ever written behind what is there. A terminal that changes its size breaks rows on its own, and tells so
later: what went back over them in the meantime would leave some of them twice, or none.
"""

from __future__ import annotations

import re
from itertools import pairwise

from pacos.cli.talk.canvas import RESET, STYLE, cells

_PIECES = re.compile(f"({STYLE.pattern})")
_WIDE = r"\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff60\uffe0-\uffe6"
_NO_START = "、。，．：；！？）」』】》〉〕］｝…"  # stay at the character before
_UNIT = re.compile(rf"[{_WIDE}][{_NO_START}]*|[^\s{_WIDE}]+[{_NO_START}]*")  # between wide characters lines may break
_WORD_CELLS = 16  # a word that still grows is shown where one so long has room


def part(line: str, start: int, end: int) -> str:
    """Characters of a line with styles, styles not counted, and the styles that they have."""
    found, style, at = "", "", 0
    for piece in _PIECES.split(line):
        if STYLE.fullmatch(piece):
            style = "" if piece == RESET else style + piece
            continue
        text = piece[max(0, start - at) : max(0, end - at)]
        found += style + text + (RESET if style else "") if text else ""
        at += len(piece)
    return found


class Rows:
    """The rows of one line that grows. Units: `columns` of the terminal, of which text takes up to `widest`."""

    def __init__(self, widest: int | None = None) -> None:
        self._widest = widest
        self._start = 0  # of the last row that is begun for good
        self._drawn = 0  # so far it is shown
        self._past = ""  # what rows that were given away show

    def anew(self) -> Rows:
        """For the next line."""
        return Rows(self._widest)

    @property
    def has_ended_one(self) -> bool:
        """Whether a row was given away for good."""
        return self._start > 0

    def grow(
        self, line: str, columns: int, *, sure: int | None = None, whole: bool = False
    ) -> tuple[list[str], list[str]]:
        """Rows that are whole now and were not before, and those that go on.

        `sure` is where something begins that may yet look otherwise, `whole` says that nothing comes any more.
        """
        plain = STYLE.sub("", line)
        if not (plain + " ").startswith(self._past):  # it became something else: shown again from there, none is lost
            pairs = enumerate(zip(plain, self._past, strict=False))
            same = next((i for i, (one, other) in pairs if one != other), None)
            self._start = self._drawn = plain[:same].rfind(" ") + 1
        sure = len(plain) + 1 if sure is None or sure > len(plain) else plain.rfind(" ", 0, sure) + 1
        first = self._start
        starts, end = self._broken(plain, columns, whole)
        kept = [start for start in starts if start < sure]
        self._start = kept[-1] if kept else first
        self._drawn = self._start + len(plain[self._start : min(end, sure)].rstrip())
        self._past = plain[: self._start]
        bounds = [first, *starts, end]
        rows = [part(line, one, one + len(plain[one:other].rstrip())) for one, other in pairwise(bounds)]
        return rows[: len(kept)], rows[len(kept) :]

    def _broken(self, plain: str, columns: int, whole: bool) -> tuple[list[int], int]:
        """Where more rows begin, and the end of what is shown."""
        width = columns if self._widest is None else min(columns, self._widest)
        starts: list[int] = []
        used, end = cells(plain[self._start : self._drawn]), self._drawn
        if used <= columns:  # else the terminal, now narrower, broke the row itself, and the text goes on from there
            used, end = 0, self._start
        for found in _UNIT.finditer(plain, end):
            gap, size = cells(plain[end : found.start()]), cells(found[0])
            room = width - (used and (used - 1) % columns + 1)
            stays = found.end() <= self._drawn or (self._start < found.start() == self._drawn and not gap)
            if used and gap + size > room and not stays:
                starts.append(found.start())
                used, gap = 0, 0
            elif used and not whole and found.end() == len(plain) and found.start() >= self._drawn:
                least = size + 2 if found[0][0] >= "\u1100" else max(size, min(_WORD_CELLS, width // 2))
                if gap + least > room:
                    break
            used, end = used + gap + size, found.end()
        return starts, end
