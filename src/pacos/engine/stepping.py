"""The step that a program computes now, and how it ends early when nobody wants it."""

from __future__ import annotations

import os
import threading

from pacos.backends import Program
from pacos.engine.scheduler import Part
from pacos.errors import Cancelled
from pacos.types import Step


class Stepping:
    """Runs steps on the engine's thread; others interrupt."""

    def __init__(self) -> None:
        self.steps = 0  # that were computed whole
        self.parts: list[Part] = []  # what is computed now
        self._program: Program | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()

    def run(self, program: Program, step: Step, parts: list[Part]) -> memoryview[float]:
        """Run a step that cancelling all its sequences, or closing, cuts short.

        A cancel that comes too late for this step ends the next one, which the engine then repeats.
        Errors: Cancelled, and what the program raises.
        """
        with self._lock:
            if self._unwanted(parts):
                raise Cancelled("nobody wants the step")
            self.parts, self._program = parts, program
        try:
            found = program.run(step)
            self.steps += 1
            return found
        finally:
            with self._lock:
                self.parts = []

    def interrupt(self) -> None:
        """Cut the step short when nobody wants what it computes; from any thread."""
        if os.getpid() != self._process:
            return  # the lock of a fork may be held for ever
        with self._lock:
            if self._program is not None and self._unwanted(self.parts):
                self._program.cancel()

    def close(self) -> None:
        """Want nothing any more."""
        self._closed = True
        self.interrupt()

    def _unwanted(self, parts: list[Part]) -> bool:
        return bool(parts) and (self._closed or all(sequence.cancelled for sequence, _ in parts))
