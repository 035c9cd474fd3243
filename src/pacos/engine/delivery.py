"""Tell consumers that have no thread of their own: once a step, all news of the step together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pacos.engine.sequence import Sequence


class Listener(Protocol):
    """Who consumes sequences without waiting for each in a thread, such as an event loop."""

    def notify(self, sequences: list[Sequence]) -> None:
        """There is something new in these; called on the engine's thread, where nothing may wait."""


class Delivery:
    """The news of a step, on the engine's thread alone."""

    def __init__(self) -> None:
        self._news: dict[Listener, list[Sequence]] = {}

    def note(self, sequence: Sequence) -> None:
        """A sequence has something new; who takes it in a thread of its own need not be told."""
        listener = sequence.listener
        if listener is not None:
            self._news.setdefault(listener, []).append(sequence)

    def flush(self) -> None:
        """Tell each listener once."""
        if self._news:
            news, self._news = self._news, {}
            for listener, sequences in news.items():
                listener.notify(sequences)
