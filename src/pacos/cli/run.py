"""`pacos run`: one prompt in, streamed text out."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import (
    Sectioned,
    groups_from,
    read_constraint_files,
    read_text_option,
    with_constraint_files,
    with_options,
)
from pacos.errors import ModelError, ModelNotFound, PacosError, UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions

if TYPE_CHECKING:
    from pacos.llm import LLM, Stream
    from pacos.types import Event

DEFAULT_MODEL = "storyteller"
DEFAULT_PROMPT = "Tell me a story."
_GROUPS = (SamplingOptions, GenerateOptions, ConstraintOptions, ReasoningOptions, LoadOptions)


@click.command(cls=Sectioned)
@click.argument("model", required=False, metavar="[MODEL]")
@click.argument("words", required=False, metavar="[PROMPT]")
@click.option("-m", "--model", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("-p", "--prompt", metavar="TEXT", help="The prompt; - reads standard input.")
@click.option("-f", "--file", metavar="FILE", help="Read the prompt from a file.")
@click.option("-sys", "--system", metavar="TEXT", help="System message put before the prompt.")
@click.option("--raw", is_flag=True, help="Continue the text itself: no chat template.")
@click.option("--parse-special", is_flag=True, help="With --raw: names of special tokens in the prompt count as such.")
@click.option("--chat-template", metavar="NAME|FILE", help="Use this chat template instead of the model's own.")
@click.option("--timings", is_flag=True, help="Print speeds to standard error, also without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead of streaming text.")
@with_constraint_files
@with_options(SamplingOptions, GenerateOptions, ConstraintOptions, ReasoningOptions, LoadOptions)
def command(**given: Any) -> None:
    """Generate text from a prompt.

    MODEL is a GGUF file, a Hugging Face folder or a name; without it, the bundled storyteller answers.
    The prompt comes from the command line, a file, or standard input, which is not read beside the other two; -p - does
    read it. Only generated text goes to standard output.

    Example:  pacos run -p "Tell me a story about a dragon." --seed 1
    """
    from pacos.llm import load

    if given["raw"] and given["chat_template"] is not None:
        raise UsageError("--chat-template has no effect with --raw", hint="drop one of them")
    read_constraint_files(given)
    name, words = _model_and_words(given)
    *groups, reasoning, opening = groups_from(_GROUPS, given, preset_options(name))
    if given["raw"] and reasoning != ReasoningOptions():
        raise UsageError("--reasoning and its like have no effect with --raw", hint="drop one of them")
    prompt = _prompt(words, given["prompt"], given["file"])
    try:
        with render.waiting(f"loading {name} ..."):
            llm = load(name, options=opening, chat_template=given["chat_template"])
    except ModelNotFound as error:
        if given["model"] != name or prompt is not None:
            raise
        raise ModelNotFound(error.message, hint=f"{error.hint}; a prompt of one word needs -p") from None
    with llm:
        groups += [] if given["raw"] or not llm.has_chat_template else [reasoning]
        options = {one: getattr(group, one) for group in groups for one in group.__slots__}
        options["return_progress"] = render.on_terminal()
        stream = _stream(llm, name, prompt, given, options)
        for text in llm.warnings:
            render.warn(text)
        finish = _print_json(llm, stream) if given["as_json"] else _print_text(stream, timings=given["timings"])
        if finish == "length" and options["n_predict"] < 0:
            render.note(f"the context of {llm.context_tokens} tokens is full; --ctx-size makes it larger")
    if finish == "cancelled":
        sys.exit(130)


def preset_options(name: str) -> Mapping[str, Any]:
    """What a model's name gives by default; nothing for a name that leads nowhere, which is told later."""
    from pacos.hub.names import preset_of

    try:
        return preset_of(name).options
    except ModelError:
        return {}


def _model_and_words(given: dict[str, Any]) -> tuple[str, str | None]:
    first, second, named = given["model"], given["words"], given["model_option"]
    if named == "" or (first == "" and named is None):
        raise UsageError("the model's name is empty", hint=f"leave it out for {DEFAULT_MODEL}, or give a file")
    if named is not None:
        if second is not None:
            raise UsageError("the model is given twice", hint="drop --model or the first argument")
        return named, first
    if first is not None and second is None and " " in first.strip() and not Path(first).exists():
        return DEFAULT_MODEL, first  # a lone argument of several words is a prompt
    return DEFAULT_MODEL if first is None else first, second


def _prompt(words: str | None, prompt: str | None, file: str | None) -> str | None:
    given = [text for text in (words, prompt, file) if text is not None]
    if len(given) > 1:
        raise UsageError("the prompt is given more than once", hint="use one of PROMPT, --prompt and --file")
    if file is not None:
        return read_text_option(file, "--file")
    text = words if words is not None else prompt
    if text == "-" or (text is None and sys.stdin is not None and not sys.stdin.isatty()):
        piped = read_text_option("-", "standard input")
        return piped.rstrip("\n") or None
    return text


def _stream(llm: LLM, name: str, prompt: str | None, given: dict[str, Any], options: dict[str, Any]) -> Stream:
    if given["raw"] or not llm.has_chat_template:
        if given["system"] is not None:
            raise UsageError("--system needs a chat template", hint="drop --raw, or give --chat-template")
        if not given["raw"]:
            render.note("the model has no chat template: it goes on with the text itself")
        return llm.stream(llm.tokenize(prompt or "", parse_special=given["parse_special"]), **options)
    if given["parse_special"]:
        raise UsageError("--parse-special needs --raw", hint="in a chat only the template makes special tokens")
    if prompt is None:
        if name != DEFAULT_MODEL:
            raise UsageError("there is no prompt", hint='give -p "TEXT", pipe text in, or use `pacos chat`')
        prompt = DEFAULT_PROMPT
        render.note(f"no prompt given, using: {prompt}")
    messages = [{"role": "system", "content": given["system"]}] if given["system"] else []
    return llm.stream_chat([*messages, {"role": "user", "content": prompt}], **options)


def interruptible(stream: Stream) -> Iterator[Event]:
    """Pass events on. Ctrl-C ends them with a last event "cancelled"; pressed again, it ends the program at once."""
    pressed = False

    def stop(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            os._exit(130)
        pressed = True
        stream.cancel()

    on_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, stop) if on_main_thread else None
    try:
        yield _after_the_prompt(stream)
        yield from stream
    finally:
        if on_main_thread:
            signal.signal(signal.SIGINT, before)
        stream.close()


def _after_the_prompt(stream: Stream) -> Event:
    """The first event of the answer; how far the prompt is shows meanwhile."""
    total = len(stream.prompt_token_ids)
    with render.progress("reading", total) as shown:
        for event in stream:
            if event.progress is None:
                return event
            shown(event.progress.computed_tokens)
    raise PacosError("an answer ended without a last event")


def _print_text(stream: Stream, *, timings: bool) -> str:
    speaker = render.Speaker()
    finish, spent, use = "stop", None, None
    for event in interruptible(stream):
        speaker.think(event.reasoning)
        speaker.say(event.text)
        finish, spent, use = event.finish_reason or finish, event.timings or spent, event.context
    speaker.end_line()
    render.tell_context(use)
    if spent is not None and timings:
        click.echo(render.timings_line(spent), err=True)
    elif spent is not None:
        render.note(render.timings_line(spent))
    return finish


def _print_json(llm: LLM, stream: Stream) -> str:
    events = list(interruptible(stream))
    last = events[-1]
    generated = [token for event in events for token in event.token_ids]
    render.as_json(
        {
            "model": str(llm.path),
            "text": "".join(event.text for event in events),
            "reasoning": "".join(event.reasoning for event in events),
            "token_ids": [*stream.prompt_token_ids, *generated],
            "prompt_tokens": len(stream.prompt_token_ids),
            "finish_reason": last.finish_reason,
            "stop_string": last.stop_string,
            "seed": stream.seed,
            "timings": render.timings_data(last.timings) if last.timings is not None else None,
            "context": asdict(last.context) if last.context is not None else None,
        }
    )
    return last.finish_reason or "stop"
