"""What commands print: text to standard output; progress, notes and timings to standard error, on a terminal only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from pacos.types import Timings


def on_terminal() -> bool:
    """Whether notes and progress have a reader."""
    return sys.stderr.isatty()


def note(text: str) -> None:
    """A dim remark on standard error, on a terminal only."""
    if on_terminal():
        click.echo(click.style(text, dim=True), err=True)


def warn(text: str) -> None:
    """A warning on standard error, wherever it goes."""
    click.echo(click.style("warning: ", fg="yellow") + printable(text), err=True)


def write(text: str) -> None:
    """Generated text, at once and as it is."""
    sys.stdout.write(text.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8"))
    sys.stdout.flush()


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def printable(text: str, most: int = 200) -> str:
    """Text from a file made safe for a terminal: control characters escaped, cut to `most` characters."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def timings_line(timings: Timings) -> str:
    """Speed of a generation, in words."""
    cached = f" ({timings.cached_tokens} cached)" if timings.cached_tokens else ""
    return (
        f"prompt {timings.prompt_tokens} tokens{cached}, {timings.prompt_rate:.1f} tokens/s; "
        f"generated {timings.generated_tokens} tokens, {timings.generate_rate:.1f} tokens/s"
    )


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
    widths = [max([len(headers[i]), *(len(row[i]) for row in cells)]) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]
    for line in ([list(headers)], cells):
        for row in line:
            padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
            click.echo("  ".join(padded).rstrip())


def size_text(count: float) -> str:
    """Bytes in words, in decimal units. Units: bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


@contextmanager
def progress(title: str, total: float) -> Iterator[Any]:
    """A progress bar on standard error (nothing without a terminal); call the result with the amount done so far."""
    if not on_terminal():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
