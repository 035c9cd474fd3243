"""The programs of one engine, one for each result that a model's plan can have; all but the first are made when wanted.

They share weights and pages: what one has put into pages, another reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pacos.backends import Program
from pacos.engine.batch import Batch
from pacos.engine.scheduler import Part
from pacos.errors import UsageError


@dataclass(frozen=True, slots=True)
class Lane:
    """A program, and what builds its steps."""

    program: Program
    batch: Batch


class Lanes:
    """Programs by result; `make` compiles one more. Steps of `whole` prompts are never cut for their many rows."""

    def __init__(
        self, result: str, program: Program, make: Callable[[str], Program] | None = None, *, whole: bool = False
    ) -> None:
        self._result = result
        self._whole = whole
        self._made = {result: Lane(program, self.batch(program))}
        self._make = make
        self._lock = threading.Lock()
        self._closed = False

    def prepare(self, result: str) -> Lane:
        """The lane of a result, compiled at first use; from any thread.

        Errors: UsageError when there is none; UnsupportedModel, FormatError and CapacityError of compiling.
        """
        with self._lock:
            if result not in self._made:
                if self._closed:
                    raise UsageError("the engine is closed")
                if self._make is None:
                    raise UsageError(f"this engine gives {self._result}, no {result}")
                program = self._make(result)
                self._made[result] = Lane(program, self.batch(program))
            return self._made[result]

    def batch(self, program: Program) -> Batch:
        """What builds steps of a program."""
        return Batch(program.result_width, program.max_tokens if self._whole else 1)

    def divided(self, parts: list[Part]) -> list[tuple[Lane, list[Part]]]:
        """Parts by the program that is to run them, in order."""
        groups: dict[str, list[Part]] = {}
        for part in parts:
            groups.setdefault(part[0].runs, []).append(part)
        return [(self._made[result], group) for result, group in groups.items()]

    def close(self) -> None:
        """Free the memory of all of them."""
        with self._lock:
            self._closed = True
            for lane in self._made.values():
                lane.program.close()
