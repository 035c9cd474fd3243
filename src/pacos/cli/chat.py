"""`pacos chat`: a plain conversation, line by line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import groups_from, with_options
from pacos.cli.run import DEFAULT_MODEL, interruptible
from pacos.errors import PacosError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions

if TYPE_CHECKING:
    from pacos.llm import LLM

_HELP = "/clear starts anew, /exit ends (so does Ctrl-D), Ctrl-C stops an answer."


@click.command()
@click.argument("model", required=False, default=DEFAULT_MODEL, metavar="[MODEL]")
@click.option("-sys", "--system", metavar="TEXT", help="System message of the conversation.")
@click.option("--chat-template", metavar="NAME|FILE", help="Use this chat template instead of the model's own.")
@with_options(SamplingOptions, GenerateOptions, LoadOptions)
def command(**given: Any) -> None:
    """Talk with a model, line by line.

    MODEL is a GGUF file, a Hugging Face folder or a name; without it, the bundled storyteller answers.
    """
    from pacos.llm import load

    sampling, generate, opening = groups_from((SamplingOptions, GenerateOptions, LoadOptions), given)
    options = {one: getattr(group, one) for group in (sampling, generate) for one in group.__slots__}
    with load(given["model"], options=opening, chat_template=given["chat_template"]) as llm:
        llm.template  # a broken template is told at the start  # noqa: B018
        for text in llm.warnings:
            render.warn(text)
        render.note(f"{llm.path.name}: {llm.context_tokens} tokens of context. {_HELP}")
        _converse(llm, given["system"], options)


def _converse(llm: LLM, system: str | None, options: dict[str, Any]) -> None:
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    while (line := _read_line()) is not None:
        words = line.strip()
        if words in ("/exit", "/quit", "/bye"):
            return
        if words == "/clear":
            messages = list(start)
        elif words == "/help":
            click.echo(_HELP, err=True)
        elif words.startswith("/"):
            click.echo(f"no command {words.split()[0]!r}. {_HELP}", err=True)
        elif words:
            messages.append({"role": "user", "content": line})
            _answer(llm, messages, options)


def _read_line() -> str | None:
    try:
        if sys.stdin.isatty():
            import readline  # noqa: F401  # line editing and history for input()

            return input("> ")
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    except (EOFError, KeyboardInterrupt):
        click.echo("", err=True)
        return None
    except ImportError:
        return input("> ")


def _answer(llm: LLM, messages: list[dict[str, str]], options: dict[str, Any]) -> None:
    text, timings = "", None
    try:
        for event in interruptible(llm.stream_chat(messages, **options)):
            render.write(event.text)
            text += event.text
            timings = event.timings or timings
    except PacosError as error:
        messages.pop()  # the question stays out of the conversation that could not take it
        click.echo(f"error: {error}", err=True)
        return
    render.write("\n")
    if timings is not None:
        render.note(render.timings_line(timings))
    messages.append({"role": "assistant", "content": text})
