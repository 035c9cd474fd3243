"""What commands print: text to standard output; progress, notes and timings to standard error, on a terminal only."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from pacos.errors import UsageError
from pacos.types import ContextUse, Timings

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

_MOMENT_SECONDS = 0.4
_LEAST_COLUMNS = 8
_quiet = False
_NUMBER = re.compile(r"([-+]?[\d.]+%?)?")  # or nothing at all
_ACTING = {chr(code) for code in (*range(32), *range(127, 160))}  # control characters


def on_terminal() -> bool:
    """Whether notes and progress have a reader."""
    return sys.stderr is not None and sys.stderr.isatty()


def stdin_is_terminal() -> bool:
    """Whether somebody types; a closed standard input is none."""
    return sys.stdin is not None and sys.stdin.isatty()


def stdout_is_terminal() -> bool:
    """Whether standard output is looked at, and not read by a program."""
    return sys.stdout is not None and sys.stdout.isatty()


def size() -> tuple[int, int]:
    """Columns and rows of the terminal now."""
    try:
        columns, rows = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    except (OSError, ValueError):
        columns, rows = shutil.get_terminal_size()
    return (max(columns, _LEAST_COLUMNS) if columns else 80), (max(rows, 3) if rows else 24)


def at_words(text: str) -> list[str]:
    """The lines of what is said on standard error: on a terminal broken at words, elsewhere one."""
    if not on_terminal():
        return [text]
    return textwrap.wrap(text, size()[0], break_on_hyphens=False, break_long_words=False) or [""]


def styled(text: str, **style: Any) -> str:
    """Text with colour or weight, unless the user wants none (NO_COLOR) or the terminal has none."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, **style)


@contextmanager
def quieted(*, on: bool) -> Iterator[None]:
    """Print no notes meanwhile."""
    global _quiet
    before, _quiet = _quiet, on
    try:
        yield
    finally:
        _quiet = before


def note(text: str, *, always: bool = False) -> None:
    """A dim remark on standard error: on a terminal only, unless it is the only thing that a command says."""
    if (on_terminal() and not _quiet) or always:
        for line in at_words(printable(text)):
            click.echo(styled(line, dim=True) if on_terminal() else line, err=True)


def marked(mark: str, color: str, text: str) -> None:
    """A line on standard error that begins with a coloured mark, such as "error:"."""
    first, *others = at_words(f"{mark} {text}")
    click.echo(styled(mark, fg=color) + first.removeprefix(mark), err=True)
    for line in others:
        click.echo(line, err=True)


def warn(text: str) -> None:
    """A warning on standard error, wherever it goes."""
    marked("warning:", "yellow", printable(text))


def write(text: str) -> None:
    """Generated text, at once; what the stream's encoding lacks is replaced."""
    if sys.stdout is None:
        raise UsageError("standard output is closed", hint="redirect it to a file or to /dev/null")
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


class Speaker:
    """Writes generated text; on a terminal without what would act on it, such as escape sequences."""

    def __init__(self) -> None:
        self._plain = stdout_is_terminal()
        self.at_line_start = True

    def say(self, text: str) -> None:
        """The next piece of an answer."""
        if not text:
            return
        self.at_line_start = text.endswith("\n")
        write(harmless(text) if self._plain else text)

    def think(self, text: str) -> None:
        """The next piece of a thought: dim, on standard error, on a terminal only."""
        if text and on_terminal():
            sys.stderr.write(styled(harmless(text), dim=True))
            sys.stderr.flush()

    def end_line(self) -> None:
        """Begin a new line on a terminal, where the text did not."""
        if self._plain and not self.at_line_start:
            write("\n")
            self.at_line_start = True

    def make_room(self) -> None:
        """Begin a new line for what is said below, where that goes to the same place as the text, such as a log."""
        if not self.at_line_start and _share_a_place(sys.stdout, sys.stderr):
            click.echo("", err=True)


def _share_a_place(one: IO[str] | None, other: IO[str] | None) -> bool:
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno()) if one is not None and other is not None else False
    except (OSError, ValueError):  # no files of the system
        return False


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A dim line on the terminal while something takes longer than a moment; it vanishes afterwards."""
    if not _bars_show():
        yield
        return
    import threading

    shown = threading.Event()

    def show() -> None:
        shown.set()
        sys.stderr.write(styled(printable(text, 70), dim=True))
        sys.stderr.flush()

    timer = threading.Timer(_MOMENT_SECONDS, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown.is_set():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    unicode = sys.stdout is not None and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode, allow_nan=False)
    write(text.encode("utf-8", "replace").decode() + "\n")


def printable(text: str, most: int = 200) -> str:
    """Text from a file made safe for a terminal: control characters escaped, cut to `most` characters."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def harmless(text: str) -> str:
    """Text of a model without what would act on a terminal, such as escape sequences; line breaks and tabs stay."""
    return text if text.isprintable() else "".join(c for c in text if c in "\n\t" or c not in _ACTING)


def timings_line(timings: Timings) -> str:
    """Speed of a generation, in words."""
    cached = f" ({timings.cached_tokens} cached)" if timings.cached_tokens else ""
    return (
        f"prompt {timings.prompt_tokens} tokens{cached}, {timings.prompt_rate:.1f} tokens/s; "
        f"generated {timings.generated_tokens} tokens, {timings.generate_rate:.1f} tokens/s"
    )


def timings_lines(loaded_seconds: float, timings: Timings) -> list[str]:
    """How long each part of an answer took, in llama.cpp's words and columns. Units: seconds."""
    computed = timings.prompt_tokens - timings.cached_tokens
    runs = max(0, timings.generated_tokens - 1)  # the first token belongs to the prompt
    total = timings.prompt_seconds + timings.generate_seconds
    rows = (
        ("load time", loaded_seconds, ""),
        ("prompt eval time", timings.prompt_seconds, _each(timings.prompt_seconds, computed, "tokens")),
        ("eval time", timings.generate_seconds, _each(timings.generate_seconds, runs, "runs  ")),
        ("total time", total, f" / {computed + runs:5} tokens"),
    )
    lines = [f"{name:>16} = {seconds * 1000:10.2f} ms{more}" for name, seconds, more in rows]
    return [*lines, f"{'cached':>16} = {timings.cached_tokens:10} tokens"] if timings.cached_tokens else lines


def _each(seconds: float, count: int, what: str) -> str:
    each, rate = (seconds * 1000 / count if count else 0.0), (count / seconds if seconds > 0 else 0.0)
    return f" / {count:5} {what} ({each:8.2f} ms per token, {rate:8.2f} tokens per second)"


def tell_context(use: ContextUse | None) -> None:
    """Warn of what a context without room made the model forget."""
    if use is not None and use.cut_tokens:
        warn(f"{use.cut_tokens} tokens of the prompt were left out: the context holds {use.context_tokens}")
    if use is not None and use.shifts:
        times = "once" if use.shifts == 1 else f"{use.shifts} times"
        warn(f"the context of {use.context_tokens} tokens was full {times}, and lost {use.shifted_tokens} older tokens")


def timings_data(timings: Timings) -> dict[str, Any]:
    """Timings as JSON has them."""
    return {
        "prompt_tokens": timings.prompt_tokens,
        "cached_tokens": timings.cached_tokens,
        "prompt_seconds": round(timings.prompt_seconds, 6),
        "prompt_tokens_per_second": round(timings.prompt_rate, 3),
        "generated_tokens": timings.generated_tokens,
        "generate_seconds": round(timings.generate_seconds, 6),
        "generate_tokens_per_second": round(timings.generate_rate, 3),
    }


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Aligned columns on standard output; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(headers[i]), *(_columns_of(row[i]) for row in cells)]) for i in range(len(headers))]
    right = [
        any(row[i] for row in cells) and all(_NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(headers))
    ]
    for line in ([list(headers)], cells):
        for row in line:
            gaps = [" " * (w - _columns_of(c)) for c, w in zip(row, widths, strict=True)]
            padded = (gap + c if r else c + gap for c, gap, r in zip(row, gaps, right, strict=True))
            write("  ".join(padded).rstrip() + "\n")


def _columns_of(text: str) -> int:
    """What a text takes of a terminal's line: ideographs take two places each."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def size_text(count: float) -> str:
    """Bytes in words, in decimal units. Units: bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def ago(seconds: float) -> str:
    """How long ago a moment was, in words. Units: seconds of the epoch."""
    passed = max(0.0, time.time() - seconds)
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if passed >= size:
            count = int(passed // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


class _Bar:
    """A progress bar on standard error that begins to show after a moment, and vanishes at its end."""

    def __init__(self, columns: Callable[[], Sequence[ProgressColumn | str]]) -> None:
        import threading

        self._columns = columns
        self._state: dict[str, Any] = {"description": "", "completed": 0, "total": None}
        self._bar: Progress | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(_MOMENT_SECONDS, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        with self._lock:
            self._bar = Progress(*self._columns(), console=Console(stderr=True), transient=True)
            self._bar.add_task(**self._state)  # what was done before is no part of the speed
            self._bar.start()

    def show(self, title: str, done: float, total: float | None) -> None:
        """How far it is."""
        with self._lock:
            self._state = {"description": printable(title, 40), "completed": done, "total": total}
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], **self._state)

    def end(self) -> None:
        """Take it away."""
        self._timer.cancel()
        self._timer.join()
        if self._bar is not None:
            self._bar.stop()


def _bars_show() -> bool:
    return on_terminal() and os.environ.get("TERM") != "dumb"  # bars move the cursor


@contextmanager
def progress(title: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar for work that takes longer than a moment (nothing without a terminal); call it with the amount done so far.

    Units: with a total of 1, done is a share of the whole; else things are counted.
    """
    if not _bars_show():
        yield lambda done: None
        return

    def columns() -> tuple[ProgressColumn, ...]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = TaskProgressColumn() if total == 1 else MofNCompleteColumn()
        return TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn()

    bar = _Bar(columns)
    bar.show(title, 0, total)
    try:
        yield lambda done: bar.show(title, done, total)
    finally:
        bar.end()


@contextmanager
def transfer() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with bytes, speed and time left (nothing without a terminal).

    Call the result with what is fetched, the bytes done in all and the bytes of all, below 0 where unknown.
    """
    if not _bars_show():
        yield lambda step, done, total: None
        return

    def columns() -> tuple[ProgressColumn, ...]:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        text = TextColumn("{task.description}")
        return text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()

    bar = _Bar(columns)
    try:
        yield lambda step, done, total: bar.show(step.rpartition("/")[2], done, None if total < 0 else total)
    finally:
        bar.end()
