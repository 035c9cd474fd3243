"""What a model thinks before it answers: its markers, and a limit for it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a family of models marks its thoughts; the first of several markers is the one to write.

    signs: a template with all texts of one of these rows is of this kind. wrappers: markers around the answer
    itself, which are not part of it.
    """

    name: str
    signs: tuple[tuple[str, ...], ...]
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    wrappers: tuple[str, ...] = ()

    @property
    def markers(self) -> tuple[str, ...]:
        """All its markers."""
        return (*self.opens, *self.closes, *self.wrappers)


KINDS = (
    Thinking(
        "harmony",
        (("<|channel|>", "<|message|>"),),
        ("<|channel|>analysis<|message|>",),
        ("<|end|><|start|>assistant", "<|end|>"),
    ),
    Thinking(
        "command-r7b",
        (("<|START_THINKING|>", "<|END_THINKING|>"),),
        ("<|START_THINKING|>",),
        ("<|END_THINKING|>",),
        ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    Thinking("seed", (("<seed:think>",),), ("<seed:think>",), ("</seed:think>",)),
    Thinking("magistral", (("[THINK]", "[/THINK]"),), ("[THINK]",), ("[/THINK]",)),
    Thinking("apertus", (("<|inner_prefix|>",),), ("<|inner_prefix|>",), ("<|inner_suffix|>",)),
    Thinking("gemma", (("<|channel>", "<channel|>"),), ("<|channel>thought\n", "<|channel>"), ("<channel|>",)),
    Thinking(
        "granite",
        (("<think>", "<response>"), ("enable_thinking", "<response></response>")),
        ("<think>",),
        ("</think>",),
        ("<response>", "</response>"),
    ),
    Thinking(
        "granite-plain",
        (("Here is my thought process", "Here is my response"),),
        ("Here is my thought process:", "Here's my thought process:"),
        ("Here is my response:", "Here's my response:"),
    ),
    Thinking("hunyuan", (("<think>", "<answer>"),), ("<think>",), ("</think>",), ("<answer>", "</answer>")),
    Thinking(
        "apriel",
        (("[BEGIN FINAL RESPONSE]",),),
        ("Here are my reasoning steps:",),
        ("[BEGIN FINAL RESPONSE]",),
        ("[END FINAL RESPONSE]",),
    ),
    Thinking("thought", (("<thought>", "</thought>"),), ("<thought>",), ("</thought>",)),
    Thinking("think", (("<think>",), ("</think>",)), ("<think>",), ("</think>",)),
)


def recognise_thinking(template: str) -> Thinking | None:
    """How a model with this chat template marks thoughts; None when it does not."""
    return next((kind for kind in KINDS if any(all(sign in template for sign in row) for row in kind.signs)), None)


def is_opened(thinking: Thinking, prompt: str) -> bool:
    """Whether a prompt ends inside a thought that it began."""
    tail = prompt[-4096:].rstrip()
    return any(tail.endswith(marker.rstrip()) for marker in thinking.opens)


class Constraint(Protocol):
    """What may come next; see `grammar.TokenConstraint`."""

    def mask(self) -> memoryview[int] | None:
        """Bits of the tokens that may come next; None for all."""

    def accept(self, token: int) -> None:
        """Go on past a token."""


class ThinkingBudget:
    """Ends a thought after so many tokens, by allowing nothing but its end; below that an inner constraint decides.

    opens, closes: token ids of the markers; `message` comes before the end that is written here. `pieces` gives
    the bytes of tokens, control tokens by name. The end waits
    while the inner constraint does not allow it, or while a character is unfinished.
    """

    def __init__(
        self,
        inner: Constraint | None,
        budget: int,
        *,
        vocab_size: int,
        opens: Sequence[Sequence[int]],
        closes: Sequence[int],
        opened: bool,
        pieces: Callable[[Sequence[int]], bytes],
        message: Sequence[int] = (),
    ) -> None:
        self._inner = inner
        self._left = budget
        self._opens = tuple(pieces(ids).lstrip() for ids in opens)
        self._closes = (*message, *closes)
        self._close = pieces(closes)
        self._pieces = pieces
        self._words = -(-vocab_size // 32)
        self._seen = b""  # of the answer while it may yet begin a thought; then the end of the thought so far
        self._state = "thinking" if opened else "waiting"
        self._forced = 0

    def mask(self) -> memoryview[int] | None:
        """Bits of the tokens that may come next; None for all."""
        mask = self._inner.mask() if self._inner is not None else None
        if self._state != "thinking" or self._left > 0 or (not self._forced and self._is_between()):
            return mask
        token = self._closes[self._forced]
        if mask is not None and not mask[token // 32] >> token % 32 & 1:
            return mask
        words = array("I", bytes(4 * self._words))
        words[token // 32] = 1 << token % 32
        return memoryview(words)

    def _is_between(self) -> bool:
        """Whether a character is unfinished, or an end that the model writes itself; that one not for long."""
        begun = any(self._seen.endswith(self._close[:count]) for count in range(1, len(self._close)))
        return bool(_unfinished(self._seen)) or (begun and self._left > -len(self._close))

    def accept(self, token: int) -> None:
        """Go on past a token."""
        if self._inner is not None:
            self._inner.accept(token)
        if self._state == "waiting":
            self._seen = (self._seen + self._pieces([token])).lstrip()
            if any(self._seen.startswith(marker) for marker in self._opens):
                self._state, self._seen = "thinking", b""
            elif not any(marker.startswith(self._seen) for marker in self._opens):
                self._state = "done"
        elif self._state == "thinking":
            self._seen = (self._seen + self._pieces([token]))[-len(self._close) - 64 :]
            fits = self._left <= 0 and token == self._closes[self._forced]
            self._forced = self._forced + 1 if fits else 0
            self._left -= 1
            if self._close in self._seen or self._forced == len(self._closes):
                self._state = "done"


def _unfinished(data: bytes) -> bytes:
    """The bytes at the end that begin a character and do not finish it."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            return data[-back:] if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else b""
        if byte < 0x80:
            return b""
    return b""
