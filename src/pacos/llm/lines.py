"""Answers that end by their lines: before one that is indented too little, or with one that ends too late."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pacos.llm.stream import Decoder
from pacos.settings import GenerateOptions
from pacos.types import Event


def within_lines(decoder: Decoder, generate: GenerateOptions) -> Decoder:
    """The decoder, within the limits on lines that the options set, if any."""
    if not generate.n_indent and not generate.t_max_predict_ms:
        return decoder
    return LineLimits(decoder, generate.n_indent, generate.t_max_predict_ms / 1000)


class LineLimits:
    """Ends the text of another decoder.

    Blanks that begin a line wait until it is known how many they are. The first line goes on where the prompt ended,
    so it has no indentation of its own. Units: seconds since the first token; 0 of either limit is off.
    """

    def __init__(
        self, inner: Decoder, indent: int, seconds: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._inner = inner
        self._indent = indent
        self._seconds = seconds
        self._clock = clock
        self._began: float | None = None
        self._held = ""  # blanks that begin a line
        self._at_start = False  # of a line

    def push(self, tokens: Sequence[int], finish_reason: str | None) -> Event:
        """What these tokens add."""
        event = self._inner.push(tokens, finish_reason)
        if self._began is None and tokens:
            self._began = self._clock()
        late = self._seconds and "\n" in event.text and self._clock() - (self._began or 0) > self._seconds
        text, short = self._indented(event.text) if self._indent else (event.text, False)
        if event.finish_reason is not None and not short:
            text, self._held = text + self._held, ""
        ended = short or (late and event.finish_reason is None)
        return replace(event, text=text, finish_reason="length" if ended else event.finish_reason)

    def _indented(self, text: str) -> tuple[str, bool]:
        """The text up to a line that is indented too little, and whether there is one."""
        whole, self._held = self._held + text, ""
        start = 0 if self._at_start else _line_after(whole, 0)
        self._at_start = False
        while start is not None:
            end = len(whole) - len(whole[start:].lstrip(" \t"))
            if end - start < self._indent:
                if end < len(whole):
                    return whole[:start], True
                self._at_start, self._held = True, whole[start:]
                return whole[:start], False
            start = _line_after(whole, end)
        return whole, False


def _line_after(text: str, place: int) -> int | None:
    found = text.find("\n", place)
    return found + 1 if found >= 0 else None
