"""`pacos chat`: talk with a model; what is said is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.missing import brought, fetch_options
from pacos.cli.options import (
    groups_from,
    read_constraint_files,
    read_text_option,
    template_options,
    with_chat_template,
    with_constraint_files,
    with_options,
)
from pacos.cli.other_flags import TakesOthers
from pacos.cli.run import DEFAULT_MODEL, default_model, habits_of, preset_options
from pacos.cli.session_files import SessionFiles, with_session_files
from pacos.errors import UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, places
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.fetch import FetchOptions

if TYPE_CHECKING:
    from pacos.cli.talk.keeping import Keeper
    from pacos.cli.talk.room import Room
    from pacos.cli.talk.talk import Talk
    from pacos.llm import LLM

_GROUPS = (SamplingOptions, GenerateOptions, ConstraintOptions, ReasoningOptions, LoadOptions)
_LATEST = ""
_COMPUTED_GB = 2.0


@click.command(cls=TakesOthers)
@click.argument("model", required=False, metavar="[MODEL]")
@click.option("-m", "--model", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("-p", "--prompt", metavar="TEXT", help="Answer this and end; - reads standard input.")
@click.option("-sys", "--system", metavar="TEXT", help="System message of the conversation.")
@with_chat_template
@click.option("--resume", is_flag=False, flag_value=_LATEST, metavar="[NAME]", help="Go on with a kept conversation.")
@click.option("--continue", "go_on", is_flag=True, help="Go on with the latest conversation.")
@click.option("--no-save", is_flag=True, help="Keep nothing of what is said, unless /save is typed.")
@click.option("--simple-io", is_flag=True, help="Read and print plain lines, as on a dumb terminal.")
@click.option("--no-markdown", is_flag=True, help="Show answers as they come.")
@click.option("--show-thoughts", is_flag=True, help="Show thoughts unfolded.")
@click.option("-q", "--quiet", is_flag=True, help="Print no banner and no speeds.")
@click.option("--timings", is_flag=True, help="Print speeds after each answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each answer.")
@with_session_files
@with_constraint_files
@with_options(*_GROUPS, FetchOptions)
def command(**given: Any) -> None:
    """Talk with a model.

    MODEL is a GGUF file, a Hugging Face folder or a name; without it, the bundled storyteller answers, or whoever did
    in the conversation that is gone on with. /help lists what can be typed besides questions. Questions can be piped
    in, one a line.

    Example:  pacos chat storyteller --system "You tell short stories."
    """
    from pacos.cli.talk.keeping import Keeper
    from pacos.cli.talk.room import Room
    from pacos.cli.talk.screen import Look, is_capable
    from pacos.sessions import Sessions

    read_constraint_files(given)
    prompt = _prompt(given["prompt"])
    files = SessionFiles.given(given)
    fetch = fetch_options(given)
    keeper = Keeper(Sessions, off=given["no_save"])
    try:
        talk = _begin(given, keeper, fetch)
        can_edit = is_capable() and not given["simple_io"]
        look = Look(markdown=not given["no_markdown"], thoughts=given["show_thoughts"])
        kinds = {name: given[name] for name in ("as_json", "quiet", "timings")}
        with render.quieted(on=given["quiet"]), talk:
            files.known(talk.llm)
            others = partial(brought, fetch=replace(fetch, hf_file=""), quiet=given["quiet"])
            room = Room(talk, look, can_edit=can_edit, **kinds, brought=others)
            if prompt is not None:
                talk.ask(prompt)
                room.answer()
            else:
                room.show_banner()
                if talk.exchanges:
                    room.show_resumed()
                room.run(_questions(room))
            files.end(talk.llm, talk.tokens)
    finally:
        keeper.close()


def _prompt(text: str | None) -> str | None:
    found = read_text_option("-", "standard input").rstrip("\n") if text == "-" else text
    if found is not None and not found.strip():
        raise UsageError("the prompt is empty", hint="give some words, or leave --prompt out")
    return found


def _begin(given: dict[str, Any], keeper: Keeper, fetch: FetchOptions) -> Talk:
    """A new talk, or one that goes on. Errors: those of loading; UsageError for no such conversation."""
    from pacos.cli.talk.keeping import TEMPLATE, TEMPLATE_OPTIONS
    from pacos.cli.talk.talk import Talk
    from pacos.llm import load

    if given["go_on"] and given["resume"]:
        raise UsageError("--continue and --resume are both given", hint="drop one of them")
    name = _LATEST if given["go_on"] else given["resume"]
    kept = None if name is None else keeper.wanted(name)
    model = _model(given) or (kept.model if kept is not None else "") or default_model()
    model = brought(model, fetch, quiet=given["quiet"])
    habits = habits_of(model)
    preset: Mapping[str, Any] = preset_options(model) if kept is None else {**preset_options(model), **kept.parameters}
    *groups, opening = groups_from(_GROUPS, given, preset)

    remembering = opening if given["no_save"] else _remembering(opening)

    def opened(model: str, template: str | None) -> LLM:
        with render.waiting(f"loading {model} ..."):
            try:
                return load(model, options=remembering, chat_template=template)
            except UsageError:  # perhaps the folder cannot be used, or the model leaves nothing to keep
                return load(model, options=opening, chat_template=template)

    template = given["chat_template"]
    if template is None:
        template = kept.parameters.get(TEMPLATE) if kept is not None else habits.template or None
    variables = template_options(given) or (kept.parameters.get(TEMPLATE_OPTIONS, {}) if kept is not None else {})
    llm = opened(model, template)
    options = {one: getattr(group, one) for group in groups for one in group.__slots__}
    talk = Talk(llm, model, keeper, options=options, opener=opened, template=template)
    talk.template_options = variables
    llm.template  # a broken template is told at the start  # noqa: B018
    if kept is not None:
        talk.go_on_with(kept, at_once=given["prompt"] is not None)
    if given["system"] is not None or kept is None:
        talk.system = given["system"] if given["system"] is not None else habits.system_prompt
    given["quiet"] = given["quiet"] or habits.quiet
    return talk


def _remembering(opening: LoadOptions) -> LoadOptions:
    """Keep what is computed of conversations, so that a long one is gone on with at once."""
    if opening.prompt_cache_dir:
        return opening
    chosen = opening.prompt_cache_size != LoadOptions().prompt_cache_size
    size = opening.prompt_cache_size if chosen else _COMPUTED_GB
    return replace(opening, prompt_cache_dir=str(places.computed_folder()), prompt_cache_size=size)


def _model(given: Mapping[str, Any]) -> str | None:
    first, named = given["model"], given["model_option"]
    if first is not None and named is not None:
        raise UsageError("the model is given twice", hint="drop --model or the argument")
    name: str | None = first if named is None else named
    if name == "":
        raise UsageError("the model's name is empty", hint=f"leave it out for {DEFAULT_MODEL}, or give a file")
    return name


def _questions(room: Room) -> Iterator[str]:
    from pacos.cli.talk.editor import edited_questions
    from pacos.cli.talk.plain import plain_questions

    return edited_questions(room) if room.can_edit else plain_questions()
