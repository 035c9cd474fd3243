"""Sinks for the rows of a sequence: they keep them, or make one vector of them while its steps are computed.

Sums are taken in double precision in order of the tokens, so how a sequence was cut into steps changes nothing.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence as TokenList

from pacos import native
from pacos.errors import NumericalError
from pacos.native import address_of


class CopiedRows:
    """Keeps the rows of some places of a sequence."""

    def __init__(self, wanted: TokenList[int]) -> None:
        self.wanted = wanted
        self.rows = array("f")

    def take(self, rows: memoryview[float], count: int) -> None:
        """Keep rows."""
        self.rows.frombytes(rows.cast("B"))


class PooledRows:
    """Takes the rows that a pooling needs and adds them up; "none" keeps each apart.

    Shapes: hidden states of `tokens` tokens -> a vector f32 [width], or one for each token, one after another.
    """

    def __init__(self, pooling: str, tokens: int) -> None:
        ends = {"cls": range(1), "last": range(tokens - 1, tokens)}
        self.wanted: TokenList[int] = ends.get(pooling, range(tokens))
        self._apart = pooling == "none"
        self._sums = array("d")

    def take(self, rows: memoryview[float], count: int) -> None:
        """Add rows."""
        width = len(rows) // count
        if self._apart:
            self._sums.extend(rows)
            return
        self._sums = self._sums or array("d", bytes(8 * width))
        call = native.function(
            "pacos_rows_add", None, (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        )
        call(address_of(rows), count, width, self._sums.buffer_info()[0])

    def vector(self, normalize: int, dimensions: int) -> array[float]:
        """The mean of the rows, or each of them: cut to its first `dimensions` numbers, then divided by a norm.

        Norms: -1 none, 0 the largest (which becomes 32760), 1 taxicab, 2 euclidean, p any p-norm.
        Errors: NumericalError for hidden states that are not finite.
        """
        rows = len(self.wanted) if self._apart else 1
        divisor = 1.0 if self._apart else float(len(self.wanted))
        width = len(self._sums) // rows
        call = native.function(
            "pacos_normalize",
            ctypes.c_int32,
            (ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int32, ctypes.c_void_p),
        )
        found = array("f", bytes(4 * rows * dimensions))
        start, out = self._sums.buffer_info()[0], found.buffer_info()[0]
        for row in range(rows):
            if call(start + 8 * row * width, dimensions, divisor, normalize, out + 4 * row * dimensions):
                raise NumericalError("the model gave a hidden state that is not a finite number")
        return found
