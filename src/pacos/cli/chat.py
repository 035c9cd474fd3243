"""`pacos chat`: a plain conversation, line by line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import TEXT_BYTES_MAX, Sectioned, groups_from, with_options
from pacos.cli.run import DEFAULT_MODEL, interruptible, preset_options
from pacos.errors import ContextFull, PacosError, UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions
from pacos.settings.constraint import ReasoningOptions

if TYPE_CHECKING:
    from pacos.llm import LLM

_HELP = "/clear starts anew, /exit ends (so does Ctrl-D), Ctrl-C stops an answer."

_GROUPS = (SamplingOptions, GenerateOptions, ReasoningOptions, LoadOptions)


@click.command(cls=Sectioned)
@click.argument("model", required=False, default=DEFAULT_MODEL, metavar="[MODEL]")
@click.option("-sys", "--system", metavar="TEXT", help="System message of the conversation.")
@click.option("--chat-template", metavar="NAME|FILE", help="Use this chat template instead of the model's own.")
@with_options(*_GROUPS)
def command(**given: Any) -> None:
    """Talk with a model, line by line.

    MODEL is a GGUF file, a Hugging Face folder or a name; without it, the bundled storyteller answers.
    """
    from pacos.llm import load

    *groups, opening = groups_from(_GROUPS, given, preset_options(given["model"]))
    options = {one: getattr(group, one) for group in groups for one in group.__slots__}
    with render.waiting(f"loading {given['model']} ..."):
        llm = load(given["model"], options=opening, chat_template=given["chat_template"])
    with llm:
        llm.template  # a broken template is told at the start  # noqa: B018
        for text in llm.warnings:
            render.warn(text)
        render.note(f"{llm.path.name}: {llm.context_tokens} tokens of context. {_HELP}")
        _converse(llm, given["system"], options)


def _converse(llm: LLM, system: str | None, options: dict[str, Any]) -> None:
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    for line in _lines():
        words = line.strip()
        if words in ("/exit", "/quit", "/bye"):
            return
        if words == "/clear":
            messages = list(start)
            render.note("a new conversation")
        elif words == "/help":
            click.echo(_HELP, err=True)
        elif words.startswith("/"):
            click.echo(f"no command {render.printable(words.split()[0], 40)!r}. {_HELP}", err=True)
        elif words:
            messages.append({"role": "user", "content": line})
            _answer(llm, messages, options)


def _lines() -> Iterator[str]:
    """What the user types or pipes in, line by line."""
    if sys.stdin is None:
        return
    if not render.stdin_is_terminal():
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # text streams have it
        while line := sys.stdin.readline(TEXT_BYTES_MAX):
            if len(line) == TEXT_BYTES_MAX:
                raise UsageError(f"standard input: a line of more than {TEXT_BYTES_MAX >> 20} MiB")
            yield line.rstrip("\r\n")
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # line editing and history for input()
    for name in ("SIGTERM", "SIGHUP"):  # readline may sleep through Python's handlers, and here nothing is half-written
        if callable(signal.getsignal(getattr(signal, name, signal.SIGINT))) and hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    interrupted = False
    while True:
        try:
            line = _typed_line()
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


def _typed_line() -> str:
    if render.stdout_is_terminal():
        return input("> ")
    click.echo("> ", nl=False, err=True)  # standard output is for answers alone
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _answer(llm: LLM, messages: list[dict[str, str]], options: dict[str, Any]) -> None:
    speaker, text, timings, finish, use = render.Speaker(), "", None, None, None
    try:
        for event in interruptible(llm.stream_chat(messages, **options)):
            speaker.think(event.reasoning)
            speaker.say(event.text)
            text += event.text
            timings, finish, use = event.timings or timings, event.finish_reason, event.context
    except PacosError as error:
        messages.pop()  # the question stays out of the conversation that could not take it
        speaker.end_line()
        hint = f"{error.hint or ''}; /clear starts anew" if isinstance(error, ContextFull) else error.hint
        click.echo(f"error: {error.message}" + (f"; {hint}" if hint else ""), err=True)
        return
    if not speaker.at_line_start or not text:
        render.write("\n")
    render.tell_context(use)
    if timings is not None:
        render.note(render.timings_line(timings))
    if finish == "length" and options["n_predict"] < 0:
        render.note(f"the context of {llm.context_tokens} tokens is full; /clear starts anew")
    if text:
        messages.append({"role": "assistant", "content": text})
    else:
        messages.pop()  # stopped before it began: templates want answers between questions
