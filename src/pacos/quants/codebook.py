"""Read a format's codebook: the vectors of levels that its indices stand for.

`grid.txt` beside a format says "<width> of <levels>"; then follows a bit for each vector that can be made of them, in
base 85, low bit first, in ascending order of the vectors read as numbers (the first level is the lowest digit). Set
bits are the codebook, in order. Imports the standard library only: build/compile.py runs it for the tables in C++.
"""

from __future__ import annotations

import base64
from pathlib import Path


def read_codebook(path: Path) -> list[list[int]]:
    """The vectors of the codebook, each with its levels in order of the weights."""
    head, *lines = path.read_text(encoding="ascii").split("\n")
    width, _, *levels = head.split()
    bits = int.from_bytes(base64.b85decode("".join(lines)), "little")
    numbers = (number for number in range(len(levels) ** int(width)) if bits >> number & 1)
    return [[int(levels[number // len(levels) ** i % len(levels)]) for i in range(int(width))] for number in numbers]
