"""`pacos run --repl`: each line goes into the prompt's template, and the text grows until the context is full."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from pacos.cli import render
from pacos.cli.asking import PLACE
from pacos.errors import ContextFull, PacosError

if TYPE_CHECKING:
    from pacos.cli.growing import Growing
    from pacos.llm import Stream


def answer_lines(text: Growing, template: str, show: Callable[[Stream], object]) -> None:
    """Answer line after line, until they end; `show` prints an answer."""
    for line in _lines():
        if not line.strip():
            continue
        try:
            stream = text.ask(template.replace(PLACE, line))
            show(stream)
            text.add(stream)
        except PacosError as error:
            hint = "Ctrl-D ends" if isinstance(error, ContextFull) else error.hint
            said = render.printable(error.message, 700) + (f"; {hint}" if hint else "")
            render.marked("error:", "red", said)


def _lines() -> Iterator[str]:
    """What is typed, until Ctrl-D or Ctrl-C, or piped in."""
    if not render.stdin_is_terminal():
        yield from (line.rstrip("\r\n") for line in sys.stdin or ())
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # line editing and history for input()
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input(">> ")
    click.echo("", err=True)
