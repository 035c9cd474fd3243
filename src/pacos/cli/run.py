"""`pacos run`: one prompt in, streamed text out."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.asking import read_prompt, read_template
from pacos.cli.growing import Growing
from pacos.cli.missing import brought, fetch_options
from pacos.cli.options import (
    groups_from,
    read_constraint_files,
    template_options,
    with_chat_template,
    with_constraint_files,
    with_options,
)
from pacos.cli.other_flags import TakesOthers
from pacos.cli.session_files import SessionFiles, with_session_files
from pacos.errors import ModelError, ModelNotFound, PacosError, UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.fetch import FetchOptions

if TYPE_CHECKING:
    from pacos.llm import LLM, Stream
    from pacos.settings.habits import TalkOptions
    from pacos.types import Event

DEFAULT_MODEL = "storyteller"
DEFAULT_PROMPT = "Tell me a story."
_GROUPS = (SamplingOptions, GenerateOptions, ConstraintOptions, ReasoningOptions, LoadOptions)


@click.command(cls=TakesOthers)
@click.argument("model", required=False, metavar="[MODEL]")
@click.argument("words", required=False, metavar="[PROMPT]")
@click.option("-m", "--model", "--model-path", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("-p", "--prompt", metavar="TEXT", help="The prompt; - reads standard input.")
@click.option(
    "-f",
    "--file",
    "--prompt-file",
    "files",
    multiple=True,
    metavar="FILE",
    help="Read the prompt from a file; with a prompt, what it is about, or a template with {{PROMPT}}. Repeatable.",
)
@click.option("-R", "--repl", is_flag=True, help="Answer line after line; -p or -f is a template with {{PROMPT}}.")
@click.option("-sys", "--system", metavar="TEXT", help="System message put before the prompt.")
@click.option("--raw", is_flag=True, help="Continue the text itself: no chat template.")
@click.option("--parse-special", is_flag=True, help="With --raw: names of special tokens in the prompt count as such.")
@with_chat_template
@with_session_files
@click.option("--hide-prompt", is_flag=True, help="Do not show the text that --load-session begins from.")
@click.option("--dump-prompt-tokens", is_flag=True, help="Print the tokens of the prompt, and end.")
@click.option("--timings", "--stats", is_flag=True, help="Print speeds to standard error, also without a terminal.")
@click.option("-v", "--verbose", is_flag=True, help="Tell what is loaded, and how long each part took.")
@click.option("-q", "--quiet", is_flag=True, help="Print no notes and no speeds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead of streaming text.")
@with_constraint_files
@with_options(*_GROUPS, FetchOptions)
def command(**given: Any) -> None:
    """Generate text from a prompt.

    MODEL is a GGUF file, a Hugging Face folder or a name; without it, the bundled storyteller answers.
    The prompt comes from the command line, from files, or from standard input; with a prompt, files and what is piped
    in are what it is about. Only generated text goes to standard output.

    Example:  pacos run storyteller "Tell me a story about this." < idea.txt
    """
    read_constraint_files(given)
    name, words = _model_and_words(given)
    name = brought(name, fetch_options(given), quiet=given["quiet"])
    *groups, reasoning, opening = groups_from(_GROUPS, given, preset_options(name))
    _check(given, reasoning)
    habits = habits_of(name)
    template_name = given["chat_template"] or (None if given["raw"] else habits.template or None)
    files = SessionFiles.given(given)
    prompt, template = None, ""
    if given["repl"]:
        template = read_template(words if words is not None else given["prompt"], given["files"])
    else:
        prompt = read_prompt(words, given["prompt"], given["files"], raw=given["raw"])
    began = time.perf_counter()
    with render.quieted(on=given["quiet"] or habits.quiet), _opened(name, given, prompt, opening, template_name) as llm:
        loaded_seconds = time.perf_counter() - began
        if given["verbose"]:
            _tell_loaded(llm)
        groups += [] if given["raw"] or not llm.has_chat_template else [reasoning]
        options = {one: getattr(group, one) for group in groups for one in group.__slots__}
        options["return_progress"] = render.on_terminal()
        kinds = {kind: given[kind] for kind in ("system", "raw", "parse_special")}
        text = Growing(llm, options, files, **kinds, template_options=template_options(given))
        text.check()
        if text.is_chat and text.system is None:
            text.system = habits.system_prompt
        text.begin(show=not given["hide_prompt"])
        for warning in llm.warnings:
            render.warn(warning)
        show = partial(_print, llm, given, loaded_seconds)
        if given["repl"]:
            from pacos.cli.repl import answer_lines

            answer_lines(text, template, show)
            finish = "stop"
        else:
            finish = _answer(text, name, prompt, show, given)
        text.keep()
    if finish == "cancelled":
        sys.exit(130)


def _check(given: Mapping[str, Any], reasoning: ReasoningOptions) -> None:
    """Refuse options that have no effect on each other. Errors: UsageError."""
    if given["raw"] and (given["chat_template"], given["chat_template_kwargs"]) != (None, None):
        raise UsageError("--chat-template and its like have no effect with --raw", hint="drop one of them")
    if given["raw"] and reasoning != ReasoningOptions():
        raise UsageError("--reasoning and its like have no effect with --raw", hint="drop one of them")
    if given["repl"] and given["dump_prompt_tokens"]:
        raise UsageError("--dump-prompt-tokens has no effect with --repl", hint="drop one of them")


def _opened(name: str, given: Mapping[str, Any], prompt: str | None, opening: LoadOptions, template: str | None) -> LLM:
    from pacos.llm import load

    try:
        with render.waiting(f"loading {name} ..."):
            return load(name, options=opening, chat_template=template)
    except ModelNotFound as error:
        if given["model"] != name or prompt is not None or "/" in name:
            raise
        raise ModelNotFound(error.message, hint=f"{error.hint}; a prompt of one word needs -p") from None


def _tell_loaded(llm: LLM) -> None:
    """What the file says about the model, on standard error."""
    from pacos.hub.describe import describe

    facts = describe(llm.archive)
    rows = {**facts["file"], **facts["model"], "file_type": facts["weights"]["file_type"]}
    rows |= {"context": f"{llm.context_tokens} tokens", "cache": render.size_text(llm.cache_bytes)}
    for name, value in rows.items():
        click.echo(f"{name:>16} = {render.printable(str(value))}", err=True)


def _answer(text: Growing, name: str, prompt: str | None, show: Callable[[Stream], Event], given: Any) -> str:
    """Answer the prompt; gives why the answer ended."""
    if prompt is None and text.is_chat:
        if name != DEFAULT_MODEL:
            raise UsageError("there is no prompt", hint='give -p "TEXT", pipe text in, or use `pacos chat`')
        prompt = DEFAULT_PROMPT
        render.note(f"no prompt given, using: {prompt}")
    if given["dump_prompt_tokens"]:
        tokens = text.prompt_tokens(prompt or "")
        click.echo(str(tokens))
        for token in tokens:
            click.echo(f"{text.llm.detokenize([token], special=True)!r}: {token}")
        return "stop"
    stream = text.ask(prompt or "")
    last = show(stream)
    text.add(stream)
    if last.finish_reason == "length" and text.options["n_predict"] < 0:
        render.note(f"the context of {text.llm.context_tokens} tokens is full; --ctx-size makes it larger")
    return last.finish_reason or "stop"


def preset_options(name: str) -> Mapping[str, Any]:
    """Options that a model has by default: what is set for it, what its name gives, what is set for all.

    Nothing comes from a name that leads nowhere, which is told later. Errors: UsageError for settings that are wrong.
    """
    from pacos.hub.names import preset_of
    from pacos.settings.habits import read_habits

    habits = read_habits()
    try:
        named = preset_of(name).options
    except ModelError:
        named = {}
    return {**habits.values, **named, **habits.models.get(name, {})}


def habits_of(name: str) -> TalkOptions:
    """How to talk with a model where the command line says nothing; its name's own system message wins.

    Errors: UsageError for settings that are wrong.
    """
    from pacos.hub.names import preset_of
    from pacos.settings.habits import read_habits

    habits = read_habits()
    found = habits.of(name)
    try:
        named = preset_of(name)
    except ModelError:
        return found
    said = habits.models.get(name, {})
    return replace(
        found,
        system_prompt="" if named.system and "system_prompt" not in said else found.system_prompt,
        template="" if named.template and "template" not in said else found.template,
    )


def default_model() -> str:
    """The model that answers when none is named. Errors: UsageError for settings that are wrong."""
    from pacos.settings.habits import read_habits

    return read_habits().of("").default_model or DEFAULT_MODEL


def _model_and_words(given: dict[str, Any]) -> tuple[str, str | None]:
    first, second, named = given["model"], given["words"], given["model_option"]
    if named == "" or (first == "" and named is None):
        raise UsageError("the model's name is empty", hint=f"leave it out for {DEFAULT_MODEL}, or give a file")
    if named is not None:
        if second is not None:
            raise UsageError("the model is given twice", hint="drop --model or the first argument")
        return named, first
    if first is not None and second is None and " " in first.strip() and not Path(first).exists():
        return default_model(), first  # a lone argument of several words is a prompt
    return default_model() if first is None else first, second


def interruptible(stream: Stream, leave: Callable[[], object] = lambda: None) -> Iterator[Event]:
    """Pass events on. Ctrl-C ends them with a last event "cancelled"; pressed again, it ends the program at once.

    `leave` is called before that.
    """
    pressed = False

    def stop(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            leave()
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


def _print(llm: LLM, given: Mapping[str, Any], loaded_seconds: float, stream: Stream) -> Event:
    """Print an answer and what it took; gives its last event."""
    speaker = render.Speaker()
    last = _print_json(llm, stream) if given["as_json"] else _print_text(speaker, stream)
    if given["timings"] or given["verbose"] or last.context is not None:
        speaker.make_room()
    if not given["as_json"]:
        render.tell_context(last.context)
    if last.timings is not None and given["verbose"]:
        for line in render.timings_lines(loaded_seconds, last.timings):
            click.echo(line, err=True)
    elif last.timings is not None and given["timings"]:
        click.echo(render.timings_line(last.timings), err=True)
    elif last.timings is not None and not given["as_json"]:
        render.note(render.timings_line(last.timings))
    return last


def _print_text(speaker: render.Speaker, stream: Stream) -> Event:
    last = None
    for event in interruptible(stream):
        speaker.think(event.reasoning)
        speaker.say(event.text)
        last = event
    speaker.end_line()
    if last is None:
        raise PacosError("an answer ended without an event")
    return last


def _print_json(llm: LLM, stream: Stream) -> Event:
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
    return last
