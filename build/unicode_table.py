"""Write src/pacos/text/unicode_data.inc: where each general category of Unicode begins; and unicode_fold.inc: what
characters are without their marks, and in small letters.

Run with the Python whose `unicodedata` has the version wanted, or with the package `unicodedata2` of that
version installed. Tokenizers were trained with Unicode 15, so the table stays at 15.1 until models move on.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

CATEGORIES = (
    "Cn Cc Cf Co Cs Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs"
).split()  # the order of the names in unicode.cpp
TEXT = Path(__file__).parents[1] / "src" / "pacos" / "text"
HEAD = f"// Unicode {unicodedata.unidata_version}. Written by build/unicode_table.py; do not edit.\n"
_HANGUL = range(0xAC00, 0xD7A4)  # their parts follow from their numbers


def table() -> str:
    """The text of the file: one word per range, first code point << 8 | category."""
    words = []
    before = None
    for code in range(0x110000):
        category = CATEGORIES.index(unicodedata.category(chr(code)))
        if category != before:
            words.append(f"0x{code << 8 | category:X}")
            before = category
    lines = [", ".join(words[i : i + 10]) + "," for i in range(0, len(words), 10)]
    return HEAD + "\n".join(lines) + "\n"


def folds() -> str:
    """The text of the other file: rows of a code point and up to three for it, by code point; first without marks."""
    without_marks, small = [], []
    for code in (code for code in range(0x110000) if code not in _HANGUL):
        letter = chr(code)
        parts = unicodedata.normalize("NFD", letter)
        if parts != letter and unicodedata.category(letter) != "Mn":
            without_marks.append((code, [ord(part) for part in parts if unicodedata.category(part) != "Mn"]))
        if letter.lower() != letter:
            small.append((code, [ord(part) for part in letter.lower()]))
    return HEAD + _rows("without_marks", without_marks) + _rows("small", small)


def _rows(name: str, found: list[tuple[int, list[int]]]) -> str:
    rows = [f"{{0x{code:X}, {{{', '.join(f'0x{one:X}' for one in others)}}}}}" for code, others in found]
    lines = [", ".join(rows[i : i + 6]) + "," for i in range(0, len(rows), 6)]
    return f"constexpr Fold {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


if __name__ == "__main__":
    for name, made in (("unicode_data.inc", table()), ("unicode_fold.inc", folds())):
        (TEXT / name).write_text(made, encoding="ascii")
        sys.stderr.write(f"{TEXT / name}: Unicode {unicodedata.unidata_version}\n")
