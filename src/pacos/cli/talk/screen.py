"""How an answer is shown while it comes: as Markdown with folded thoughts, as plain text, or not at all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pacos.cli import render

if TYPE_CHECKING:
    from rich.console import Console

_DRAWINGS_PER_SECOND = 30
_FOLDED_LINES = 3  # of a thought that goes on


@dataclass(slots=True)
class Look:
    """What the user chose to see."""

    markdown: bool = True
    thoughts: bool = False  # whether they are shown whole

    def toggle_thoughts(self) -> None:
        """Fold or unfold them."""
        self.thoughts = not self.thoughts


class View:
    """Shows one answer; this one shows nothing, for answers that are printed as a whole."""

    def think(self, text: str) -> None:
        """The next piece of a thought."""

    def say(self, text: str) -> None:
        """The next piece of the answer."""

    def end(self, *, failed: bool = False) -> None:
        """There is no more, perhaps since it `failed`."""


def is_capable() -> bool:
    """Whether the terminal can go back and overwrite what it shows."""
    dumb = os.environ.get("TERM", "" if os.name == "posix" else "windows") in ("dumb", "")
    return render.stdin_is_terminal() and render.stdout_is_terminal() and not dumb


def console() -> Console:
    """What turns text into lines with styles."""
    from io import StringIO

    from rich.console import Console

    colors = Console(file=sys.__stdout__).color_system  # what the terminal itself can show
    return Console(
        file=StringIO(),
        force_terminal=True,
        color_system=colors or "standard",  # type: ignore[arg-type]  # one of its own names
        no_color=True if os.environ.get("NO_COLOR") else None,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )


class PlainView(View):
    """Text as it comes."""

    def __init__(self) -> None:
        self._speaker = render.Speaker()
        self._silent = True

    def think(self, text: str) -> None:
        """Dim, on standard error."""
        self._speaker.think(text)

    def say(self, text: str) -> None:
        """On standard output."""
        self._silent = self._silent and not text
        self._speaker.say(text)

    def end(self, *, failed: bool = False) -> None:
        """Every answer ends its line, an empty one too."""
        if (self._silent and not failed) or not self._speaker.at_line_start:
            render.write("\n")
        self._speaker.at_line_start = True


class PlainLines:
    """The form of MarkdownStream, for text that is shown as it is."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """Lines that this piece finished."""
        *lines, self._rest = (self._rest + text).expandtabs().split("\n")
        return lines

    def growing(self) -> tuple[list[str], list[str]]:
        """No line that stays, and the one that goes on."""
        return [], self.finish()

    def finish(self) -> list[str]:
        """The last line."""
        return [self._rest] if self._rest else []


class AnswerScreen(View):
    """Draws an answer on a terminal, thirty times a second at most; `poll` looks at the keys before each time."""

    def __init__(self, look: Look, console: Console, poll: Callable[[], object] = lambda: None) -> None:
        from pacos.cli.talk.canvas import Canvas
        from pacos.cli.talk.markdown import MarkdownStream
        from pacos.cli.talk.rows import Rows

        self._look = look
        self._poll = poll
        self._console = console
        self._canvas = Canvas(render.write, render.size)
        self._lines = MarkdownStream(console, lambda: render.size()[0]) if look.markdown else PlainLines()
        self._finished: list[str] = []
        self._rows = Rows()  # of a thought's last line
        self._thought = ""
        self._thinking_since: float | None = None
        self._drawn = 0.0

    def think(self, text: str) -> None:
        """Dim; folded, only the end of it is seen."""
        if not text:
            return
        if self._thinking_since is None:
            self._thinking_since, text = time.monotonic(), text.lstrip()
        self._thought += render.harmless(text)
        self.refresh()

    def say(self, text: str) -> None:
        """The next piece of the answer."""
        if not text:
            return
        if self._thinking_since is not None:
            self._end_thought()
            self._finished.append("")
        self._finished += self._lines.feed(render.harmless(text))
        self.refresh()

    def end(self, *, failed: bool = False) -> None:
        """Draw the last of it."""
        self._end_thought()
        self._finished += self._lines.finish()
        self.refresh(last=True)
        self._canvas.end()
        if not failed:
            render.write("\n")  # a blank line before the next question

    def refresh(self, *, last: bool = False) -> None:
        """Draw, unless that was done a moment ago."""
        if not last and time.monotonic() - self._drawn < 1 / _DRAWINGS_PER_SECOND:
            return
        self._poll()
        tail = [] if last else self._tail()
        self._canvas.draw(self._finished, tail)
        self._finished = []
        self._drawn = time.monotonic()

    def _tail(self) -> list[str]:
        if self._thinking_since is not None:
            return self._open_thought() if self._look.thoughts else self._folded_thought(self._thinking_since)
        stay, change = self._lines.growing()
        self._finished += stay
        return change

    def _open_thought(self, *, whole: bool = False) -> list[str]:
        """What may still change of it, empty lines at its end left out; the rest is finished."""
        text = self._thought.rstrip()
        *lines, last = text.split("\n")
        for line in lines:
            self._finished.extend(self._thought_rows(line, whole=True))
            self._rows = self._rows.anew()
        self._thought = last + self._thought[len(text) :]
        return self._thought_rows(last, whole=whole) if last else []

    def _thought_rows(self, line: str, *, whole: bool) -> list[str]:
        """Rows of a line that may still change; those before are finished."""
        stay, change = self._rows.grow(self._dim(line, soft=True)[0], render.size()[0], whole=whole)
        self._finished.extend(stay)
        return change

    def _folded_thought(self, since: float) -> list[str]:
        seconds = time.monotonic() - since
        head = self._dim(f"▾ thinking for {seconds:.0f} s (Ctrl-T unfolds)")
        return [*head, *self._dim(self._thought[-1000:].rstrip())[-_FOLDED_LINES:]]

    def _end_thought(self) -> None:
        if self._thinking_since is None:
            return
        if self._look.thoughts:
            self._finished.extend(self._open_thought(whole=True))
        else:
            seconds = time.monotonic() - self._thinking_since
            self._finished += self._dim(f"▸ thought for {seconds:.1f} s (/thoughts shows it)")
        self._thinking_since, self._thought = None, ""

    def _dim(self, text: str, *, soft: bool = False) -> list[str]:
        from rich.text import Text

        self._console.width = render.size()[0]
        with self._console.capture() as captured:
            self._console.print(Text(text, style="dim"), soft_wrap=soft)
        return captured.get().removesuffix("\n").split("\n")
