"""What happens when a prompt and its answer are more than the context holds.

error      a prompt that does not fit is refused; an answer ends where the context does
truncate   of a prompt that does not fit with its answer, tokens after the first `keep` are left out, the oldest first;
           an answer of n_predict tokens gets the room it asks for up to half a context, one without end a quarter
shift      an answer goes on for ever: of a full context half of what follows the first `keep` tokens is left out, and
           the rest computed again; a prompt that does not fit by itself is cut as above
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence as TokenList

from pacos.errors import ContextFull
from pacos.settings import GenerateOptions
from pacos.types import ContextUse


def check_fit(count: int, context_tokens: int, room: int) -> None:
    """Errors: ContextFull when so many tokens leave less than `room`."""
    if count + room > context_tokens:
        raise ContextFull(
            f"{count} tokens do not fit a context of {context_tokens}",
            hint=f"at most {context_tokens - room} fit; shorten the prompt or raise --ctx-size",
        )


class Window:
    """The part of a text that is in the context."""

    def __init__(self, context_tokens: int, generate: GenerateOptions) -> None:
        self.context_tokens = context_tokens
        self.policy = generate.context_policy
        self._keep = generate.keep
        self._n_predict = generate.n_predict
        self._discard = generate.discard
        self._cut = self._shifts = self._shifted = 0

    @property
    def shifts(self) -> bool:
        """Whether a text goes on when the context is full."""
        return self.policy == "shift" and self._n_predict != 0

    def fit(self, prompt: TokenList[int]) -> array[int]:
        """The tokens of a prompt that are computed.

        Errors: ContextFull for one that does not fit and may not be cut, or when `keep` leaves no room.
        """
        tokens, size = array("i", prompt), self.context_tokens
        asked = 1 if self._n_predict < 0 else self._n_predict
        if self.policy == "error":
            check_fit(len(tokens), size, min(asked, 1))
            return tokens
        if self._keep < 0:
            self._keep = len(tokens)
        bounded = self._n_predict >= 0 and not self.shifts
        room = min(asked, size // 2 if bounded else 1)
        if len(tokens) + room > size:
            tokens = self._cut_to(size - (room if bounded else size // 4), tokens)
        if self.shifts and (self._n_predict < 0 or len(tokens) + asked > size):
            self._check_keep(size - size // 4)
        return tokens

    def _cut_to(self, most: int, tokens: array[int]) -> array[int]:
        self._check_keep(most)
        self._cut = len(tokens) - most
        return tokens[: self._keep] + tokens[self._keep + self._cut :]

    def _check_keep(self, most: int) -> None:
        if self._keep > most:
            problem = f"keep is {self._keep}, which leaves too little of a context of {self.context_tokens} tokens"
            raise ContextFull(problem, hint=f"use at most {most}")

    def shift(self, tokens: array[int]) -> array[int]:
        """Leave out half of what follows the kept tokens, the older half, or as many of these as were asked for."""
        movable = len(tokens) - self._keep
        dropped = min(self._discard, movable - 1) if self._discard else (movable + 1) // 2
        self._shifts += 1
        self._shifted += dropped
        return tokens[: self._keep] + tokens[self._keep + dropped :]

    def use(self, *, full: bool) -> ContextUse:
        """What it came to; `full` says that the answer ended because the context did."""
        return ContextUse(self.policy, self.context_tokens, self._cut, self._shifts, self._shifted, full)
