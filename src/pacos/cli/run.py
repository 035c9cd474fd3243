"""`pacos run`: one prompt in, streamed text out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import groups_from, read_text_option, with_options
from pacos.errors import UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions

if TYPE_CHECKING:
    from pacos.llm import LLM
    from pacos.types import Event, Timings

DEFAULT_MODEL = "storyteller"
DEFAULT_PROMPT = "Tell me a story."


@click.command()
@click.argument("model", required=False, metavar="[MODEL]")
@click.argument("words", required=False, metavar="[PROMPT]")
@click.option("-m", "--model", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("-p", "--prompt", metavar="TEXT", help="The prompt; - reads standard input.")
@click.option("-f", "--file", metavar="FILE", help="Read the prompt from a file.")
@click.option("-sys", "--system", metavar="TEXT", help="System message put before the prompt.")
@click.option("--raw", is_flag=True, help="Continue the text itself: no chat template.")
@click.option("--parse-special", is_flag=True, help="With --raw: names of special tokens in the prompt count as such.")
@click.option("--chat-template", metavar="NAME|FILE", help="Use this chat template instead of the model's own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead of streaming text.")
@with_options(SamplingOptions, GenerateOptions, LoadOptions)
def command(**given: Any) -> None:
    """Generate text from a prompt.

    MODEL is a GGUF file, a Hugging Face folder or a name; without it, the bundled storyteller answers.
    The prompt comes from the command line, a file, or standard input. Only generated text goes to standard output.

    Example:  pacos run -p "Tell me a story about a dragon." --seed 1
    """
    from pacos.llm import load

    sampling, generate, opening = groups_from((SamplingOptions, GenerateOptions, LoadOptions), given)
    name, words = _model_and_words(given)
    prompt = _prompt(words, given["prompt"], given["file"])
    with load(name, options=opening, chat_template=given["chat_template"]) as llm:
        for text in llm.warnings:
            render.warn(text)
        tokens = _prompt_tokens(llm, name, prompt, given)
        options = {one: getattr(group, one) for group in (sampling, generate) for one in group.__slots__}
        events = llm.stream(tokens, **options)
        finish = _print_json(llm, tokens, events) if given["as_json"] else _print_text(events)
    if finish == "cancelled":
        sys.exit(130)


def _model_and_words(given: dict[str, Any]) -> tuple[str, str | None]:
    first, second, named = given["model"], given["words"], given["model_option"]
    if named is not None:
        if second is not None:
            raise UsageError("the model is given twice", hint="drop --model or the first argument")
        return named, first
    if first is not None and second is None and " " in first.strip() and not Path(first).exists():
        return DEFAULT_MODEL, first  # a lone argument of several words is a prompt
    return first or DEFAULT_MODEL, second


def _prompt(words: str | None, prompt: str | None, file: str | None) -> str | None:
    given = [text for text in (words, prompt, file) if text is not None]
    if len(given) > 1:
        raise UsageError("the prompt is given more than once", hint="use one of PROMPT, --prompt and --file")
    if file is not None:
        return read_text_option(file, "--file")
    text = words if words is not None else prompt
    if text == "-" or (text is None and not sys.stdin.isatty()):
        piped = read_text_option("-", "standard input")
        return piped.rstrip("\n") or None
    return text


def _prompt_tokens(llm: LLM, name: str, prompt: str | None, given: dict[str, Any]) -> list[int]:
    if given["raw"] or not llm.has_chat_template:
        if given["system"]:
            raise UsageError("--system needs a chat template", hint="drop --raw, or give --chat-template")
        return llm.tokenize(prompt or "", parse_special=given["parse_special"])
    if prompt is None:
        if name != DEFAULT_MODEL:
            raise UsageError("there is no prompt", hint='give -p "TEXT", pipe text in, or use `pacos chat`')
        prompt = DEFAULT_PROMPT
        render.note(f"no prompt given, using: {prompt}")
    messages = [{"role": "system", "content": given["system"]}] if given["system"] else []
    return llm.chat_tokens([*messages, {"role": "user", "content": prompt}])


def interruptible(events: Iterator[Event]) -> Iterator[Event]:
    """Pass events on; Ctrl-C ends them with a last event "cancelled" instead of an exception."""
    from pacos.types import Event

    try:
        yield from events
    except KeyboardInterrupt:
        yield Event("", finish_reason="cancelled")
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


def _print_text(events: Iterator[Event]) -> str:
    finish, timings, ended_line = "stop", None, True
    for event in interruptible(events):
        if event.text:
            render.write(event.text)
            ended_line = event.text.endswith("\n")
        finish, timings = event.finish_reason or finish, event.timings or timings
    if not ended_line and sys.stdout.isatty():
        render.write("\n")
    if timings is not None:
        render.note(render.timings_line(timings))
    return finish


def _print_json(llm: LLM, prompt: list[int], events: Iterator[Event]) -> str:
    text, tokens = "", list(prompt)
    finish: str = "stop"
    timings: Timings | None = None
    for event in interruptible(events):
        text += event.text
        tokens += event.token_ids
        finish, timings = event.finish_reason or finish, event.timings or timings
    render.as_json(
        {
            "model": str(llm.path),
            "text": text,
            "token_ids": tokens,
            "prompt_tokens": len(prompt),
            "finish_reason": finish,
            "timings": render.timings_data(timings) if timings is not None else None,
        }
    )
    return finish
