"""Write src/pacos/text/unicode_data.inc: where each general category of Unicode begins.

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
TARGET = Path(__file__).parents[1] / "src" / "pacos" / "text" / "unicode_data.inc"


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
    head = f"// Unicode {unicodedata.unidata_version}. Written by build/unicode_table.py; do not edit.\n"
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(table(), encoding="ascii")
    sys.stderr.write(f"{TARGET}: Unicode {unicodedata.unidata_version}\n")
