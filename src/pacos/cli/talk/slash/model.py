"""Commands that change what answers, and how."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pacos.cli.options import default_text, read_text_option
from pacos.cli.talk.slash import slash, tell
from pacos.cli.talk.slash.text import path_of
from pacos.cli.talk.talk import ANSWER_GROUPS, ANSWER_OPTIONS
from pacos.errors import UsageError
from pacos.settings import LoadOptions, Option, checked, options_of, read
from pacos.settings.constraint import ConstraintOptions
from pacos.settings.option import shown

if TYPE_CHECKING:
    from pacos.cli.talk.room import Room

_SWITCH = ("thoughts", "markdown")  # fields of Look
_NO_CONSTRAINT = {one.name: one.default for one in options_of(ConstraintOptions)}  # at most one is chosen
_NAMED = {"json": '{"type": "object"}', "json-array": '{"type": "array"}'}  # as schemas


def _parameter_values(room: Room, begun: str) -> list[tuple[str, str]]:
    name, blank, _ = begun.partition(" ")
    if not blank:
        return [*((one.name, one.help) for one in ANSWER_OPTIONS.values()), *((name, "on or off") for name in _SWITCH)]
    one = ANSWER_OPTIONS.get(_plain(name))
    if one is None:
        return [(f"{name} {word}", "") for word in ("on", "off")] if name in _SWITCH else []
    choices = one.choices or (("true", "false") if one.kind is bool else ())
    return [(f"{name} {word}", "") for word in (*filter(None, choices), "default")]


@slash("set", "PARAM [VALUE]", values=_parameter_values)
def set_option(room: Room, rest: str) -> None:
    """Change an option of the answers, such as temp; show it, without VALUE.

    "default" as VALUE sets it back. `thoughts` and `markdown`, on or off, say how answers are shown.
    """
    word, _, text = rest.partition(" ")
    name = _plain(word)
    if name in _SWITCH:
        _switch(room, name, text.strip())
        return
    one = _option(name, word)
    talk = room.talk
    if text.strip():
        value = one.default if text.strip() == "default" else checked(one, one.from_text(text.strip()))
        _change(room, _NO_CONSTRAINT if name in _NO_CONSTRAINT else {}, {name: value})
    tell(f"{name} is {shown(talk.options[name])}  (default {default_text(one.default) or 'none'}): {one.help}")


def _plain(word: str) -> str:
    """An option's name, also from its flag or from what others call it."""
    flags = {flag.lstrip("-"): one.name for one in ANSWER_OPTIONS.values() for flag in (*one.flags, one.name)}
    bare = word.lstrip("-")
    return flags.get(bare, flags.get(bare.replace("_", "-"), bare.replace("-", "_")))


def _option(name: str, word: str) -> Option:
    one = ANSWER_OPTIONS.get(name)
    if one is not None:
        return one
    if name in {load.name for load in options_of(LoadOptions)}:
        raise UsageError(f"{name} is settled when a model is opened", hint="give it on the command line")
    near = difflib.get_close_matches(name, [*ANSWER_OPTIONS, *_SWITCH], 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "Tab after /set lists them"
    raise UsageError(f"no parameter {word[:40]!r}", hint=hint)


def _switch(room: Room, name: str, text: str) -> None:
    if text not in ("", "on", "off"):
        raise UsageError(f"{name} is {text[:40]!r}", hint="use on or off")
    if text:
        setattr(room.look, name, text == "on")
    tell(f"{name} is {'on' if getattr(room.look, name) else 'off'}")


def _templates(room: Room, begun: str) -> list[tuple[str, str]]:
    from pacos.text.templates import all_templates

    return [("own", "the model's own"), *((name, "built in") for name in all_templates())]


@slash("template", "[NAME]", values=_templates)
def set_template(room: Room, rest: str) -> None:
    """Show or change the chat template: a name, a file, or own.

    The whole conversation is read anew with it.
    """
    talk = room.talk
    if rest:
        talk.reopen(talk.model, None if rest == "own" else rest)
    tell(f"template: {talk.template or talk.llm.template.name or 'of its own'}")


def _models(room: Room, begun: str) -> list[tuple[str, str]]:
    from pacos.hub.store import BUNDLED, Store

    return [*((model.name, model.source) for model in Store().models()), *((name, "bundled") for name in BUNDLED)]


@slash("model", "[NAME]", values=_models, paths=True)
def set_model(room: Room, rest: str) -> None:
    """Show or change the model; the conversation goes on with it. One that is not here can be pulled."""
    talk = room.talk
    if rest:
        talk.reopen(str(path_of(rest)) if path_of(rest).exists() else room.bring(rest), None)
    room.show_banner()


@slash("grammar", "[FILE]", paths=True, values=lambda room, begun: [(word, "") for word in (*_NAMED, "off")])
def set_grammar(room: Room, rest: str) -> None:
    """Have answers obey a grammar in GBNF from a file, or be json or a json-array; off ends that."""
    if rest in _NAMED:
        _change(room, _NO_CONSTRAINT, {"json_schema": _NAMED[rest]})
    elif rest:
        text = "" if rest == "off" else read_text_option(str(path_of(rest)), "/grammar")
        _change(room, _NO_CONSTRAINT, {"grammar": text})
    _tell_constraint(room)


@slash("schema", "[FILE]", paths=True, values=lambda room, begun: [("off", "")])
def set_schema(room: Room, rest: str) -> None:
    """Have answers obey a JSON schema from a file; off ends that."""
    if rest:
        text = "" if rest == "off" else read_text_option(str(path_of(rest)), "/schema")
        _change(room, _NO_CONSTRAINT, {"json_schema": text})
    _tell_constraint(room)


def _change(room: Room, cleared: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Change options of the answers; what cannot be read or enforced is told now, and changes nothing."""
    talk = room.talk
    changed = {**talk.options, **cleared, **chosen}
    read(ANSWER_GROUPS, changed)
    if cleared and any(chosen.values()):
        talk.llm.prompt_tokens([{"role": "user", "content": "?"}], **changed)
    talk.options = changed
    talk.keeper.changed(talk)


_CALLED = {"grammar": "a grammar", "json_schema": "a JSON schema", "regex": "a regular expression"}


def _tell_constraint(room: Room) -> None:
    names = [name for name in _NO_CONSTRAINT if room.talk.options[name]]
    tell(f"answers obey {_CALLED.get(names[0], names[0])}" if names else "answers are free")
