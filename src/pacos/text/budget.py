"""What one rendering of a chat template may cost: steps, live characters, size of one string, seconds.

Every loop pass, block, call, filter, comparison and growing operation of a template passes through `tick`, so
time is bounded by steps and, since a step may handle a long string, by the clock that each step reads.
Units: characters and steps.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from pacos.text.marked import Marked, marks_of

STEPS = 1_000_000
SECONDS = 2.0
TEXT_CHARS = 8 * 1024 * 1024  # one string, and the whole output
LIVE_CHARS = 4 * TEXT_CHARS  # all long strings that a template holds at one time
NESTING = 64  # calls inside calls, and data inside data
NUMBER_BITS = 1024
_SHORT_CHARS = 256  # not counted as live: steps bound their number


def new_deadline() -> float:
    """Say until when a rendering that starts now may take."""
    return monotonic() + SECONDS


class Refused(Exception):
    """A template asked for something that is not allowed or costs too much."""


class Held(Marked):
    """A string counted as live until it is freed."""

    __slots__ = ("budget",)
    budget: Budget

    def __del__(self) -> None:
        self.budget.live_chars -= len(self)


class Budget:
    """The account of one rendering; each method raises Refused when it is overdrawn."""

    __slots__ = ("deadline", "live_chars", "steps")

    def __init__(self, deadline: float | None = None) -> None:
        self.steps = STEPS
        self.live_chars = 0
        self.deadline = new_deadline() if deadline is None else deadline

    def tick(self, steps: int = 1) -> bool:
        """Take steps; True, so that it can stand in an expression."""
        self.steps -= steps
        if self.steps < 0:
            raise Refused(f"it takes more than {STEPS:,} steps")
        if monotonic() > self.deadline:
            raise Refused(f"it takes longer than {SECONDS:g} s")
        return True

    def room(self, chars: int) -> None:
        """Ask for room before a string of this length is made."""
        self.tick()
        if chars > TEXT_CHARS:
            raise Refused(f"it makes a string of {chars:,} characters (limit {TEXT_CHARS:,})")

    def keep(self, text: str) -> str:
        """Count a new string, and give it back in a form that uncounts itself."""
        size = len(text)
        if size <= _SHORT_CHARS or isinstance(text, Held):
            self.tick(1 + size // 64)
            return text
        self.room(size)
        if self.live_chars + size > LIVE_CHARS:
            raise Refused(f"it holds more than {LIVE_CHARS:,} characters at a time")
        held = Held(text, marks_of(text))
        held.budget = self
        self.live_chars += size
        return held

    def weigh(self, value: Any, *, printable: bool = False) -> tuple[int, int]:
        """Walk a value as an operation on it would; give its size (nodes plus characters) and its depth.

        Containers may share parts, so that a small one can stand for 2 ** 40 values when printed or compared.
        A node here takes as long as several ordinary steps.
        """
        size = depth = 0
        todo = [(value, 1)]
        while todo:
            item, level = todo.pop()
            depth = max(depth, level)
            if isinstance(item, str):
                self.tick(2 + len(item) // 64)
                size += 1 + len(item)
                continue
            self.tick(4)
            size += 1
            if level > NESTING:
                raise Refused(f"it nests data deeper than {NESTING} levels")
            if isinstance(item, dict):
                todo += [(part, level + 1) for pair in item.items() for part in pair]
            elif isinstance(item, (list, tuple)):
                todo += [(part, level + 1) for part in item]
            elif printable and not _prints(item):
                raise TypeError(f"a {type(item).__name__} has no text")
        return size, depth


def _prints(value: object) -> bool:
    """Tell whether a value's own str() is short and harmless."""
    return value is None or isinstance(value, (bool, int, float)) or type(value).__name__ == "Undefined"


def check_number(value: Any) -> None:
    """Refuse an integer that has grown too long."""
    if isinstance(value, int) and value.bit_length() > NUMBER_BITS:
        raise Refused(f"it makes a number of more than {NUMBER_BITS} bits")
