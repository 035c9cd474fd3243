"""Questions without an editor: piped in, or typed on a terminal that cannot draw (or with --simple-io)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import click

from pacos.cli import render
from pacos.cli.options import TEXT_BYTES_MAX
from pacos.errors import UsageError

QUOTES = '"""'


def plain_questions() -> Iterator[str]:
    """What the user types or pipes in, line by line; those that end in a backslash, or between \"\"\", are one."""
    if sys.stdin is None:
        return
    if render.stdin_is_terminal():
        with suppress(ImportError):
            import readline  # noqa: F401  # line editing and history for input()
        end_by_signals()
        yield from until_ended(_typed_question)
        return
    begun: list[str] = []
    for line in _piped_lines():
        begun.append(line)
        if is_whole(text := "\n".join(begun)):
            yield unquoted(text)
            begun = []
    if begun:
        yield unquoted("\n".join(begun))


def is_whole(text: str) -> bool:
    """Whether a question ends here."""
    if text.lstrip().startswith(QUOTES):
        return text.count(QUOTES) > 1
    return not text.endswith("\\")


def unquoted(text: str) -> str:
    """A question without what held its lines together."""
    if not text.lstrip().startswith(QUOTES):
        return text.replace("\\\n", "\n")
    inner, closed, after = text.lstrip().removeprefix(QUOTES).rpartition(QUOTES)
    return (inner + after if closed else after).strip("\n")


def _piped_lines() -> Iterator[str]:
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # text streams have it
    while line := sys.stdin.readline(TEXT_BYTES_MAX):
        if len(line) == TEXT_BYTES_MAX:
            raise UsageError(f"standard input: a line of more than {TEXT_BYTES_MAX >> 20} MiB")
        yield line.rstrip("\r\n")


def end_by_signals() -> None:
    """Let SIGTERM and SIGHUP end the program at once: readline and others sleep through Python's handlers."""
    for name in ("SIGTERM", "SIGHUP"):  # here nothing is half-written
        if callable(signal.getsignal(getattr(signal, name, signal.SIGINT))) and hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def until_ended(ask: Callable[[], str]) -> Iterator[str]:
    """Lines until Ctrl-D, or Ctrl-C twice in a row."""
    interrupted = False
    while True:
        try:
            line = ask()
        except EOFError:
            click.echo("", err=True)
            return
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            click.echo("", err=True)
            render.note("Ctrl-C again, Ctrl-D or /exit ends")
            continue
        interrupted = False
        yield line


def _typed_question() -> str:
    text = _typed_line("> ")
    while not is_whole(text):
        text += "\n" + _typed_line(". ")
    return unquoted(text)


def _typed_line(prompt: str) -> str:
    if render.stdout_is_terminal():
        return input(prompt)
    click.echo(prompt, nl=False, err=True)  # standard output is for answers alone
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
