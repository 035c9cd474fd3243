"""What rows of logits say of tokens that are there already."""

from __future__ import annotations

from array import array
from collections.abc import Sequence as TokenList

from pacos.engine.sampler import Sampler, log_probabilities
from pacos.native import address_of
from pacos.types import TokenScore


class ScoredRows:
    """Keeps the log-probability that each row gives to the token after it."""

    def __init__(self, tokens: TokenList[int], wanted: TokenList[int]) -> None:
        self.wanted = wanted
        self.scores: list[float] = []
        self._next = array("i", tokens[wanted[0] + 1 :] if wanted else ())

    def take(self, rows: memoryview[float], count: int) -> None:
        """Score the tokens after these rows."""
        done = len(self.scores)
        self.scores += log_probabilities(rows, self._next[done : done + count])


class TopRows:
    """Keeps the log-probability that each row gives to the token after it, and the likeliest tokens."""

    def __init__(self, tokens: TokenList[int], wanted: TokenList[int], top: int, sampler: Sampler) -> None:
        self.wanted = wanted
        self.scores: list[TokenScore] = []
        self._next = tokens[wanted[0] + 1 :] if wanted else ()
        self._top = top
        self._sampler = sampler

    def take(self, rows: memoryview[float], count: int) -> None:
        """Score the tokens after these rows."""
        address, row_bytes = address_of(rows), rows.nbytes // count
        for row in range(count):
            token = self._next[len(self.scores)]
            self.scores.append(self._sampler.score(address + row * row_bytes, token, self._top))
