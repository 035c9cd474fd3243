"""llama-server's file of presets: an INI file with a section of arguments for each model, and [*] for all.

version = 1
[*]
ctx-size = 8192            ; an argument without its dashes, short ones too, or its variable's name
[small]
model = /models/small.gguf
load-on-startup = true     # opened when the server starts, not at the first request

Source: "Model presets" of tools/server/README.md of llama.cpp.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pacos.errors import UsageError
from pacos.llm.chat import check_template
from pacos.server.llama_flags import LlamaFlag, is_off, llama_flags, switched, translated
from pacos.settings import GenerateOptions, LoadOptions, Option, SamplingOptions, checked, options_of
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.fetch import FetchOptions
from pacos.settings.option import template_options_from_text
from pacos.settings.serve import ServeOptions

EVERYWHERE = "*"
_FILE_BYTES_MAX = 1 << 20
_HEADER = re.compile(r"\[[ \t]*([^\]]*?)[ \t]*\][ \t]*(?:[;#].*)?")
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=(.*)")
_COMMENT = re.compile(r"[ \t][;#].*")  # behind a blank: paths and lists of samplers hold these signs
_ON = {"1", "on", "true", "enabled", "yes"}
_OFF = {"0", "off", "false", "disabled", "no"}
_AHEAD = "load-on-startup"
_WITHOUT_EFFECT = {
    "stop-timeout": "a model that is unloaded has time until its answers end",
    "dedup-cache-models": "a model is listed once",
}
_OF_ONE_MODEL = ("model", "hf_file", "aliases")


@dataclass(frozen=True, slots=True)
class Section:
    """What the file says of one model, or of all: `place` is where it begins, `notes` tell what changes nothing.

    `values` are options under our names, and chat_template, template_options, keep_alive_seconds.
    `model` is "" where the section's name means one; it is pulled where it is not here, with `pull`.
    """

    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    pull: bool = False
    hf_file: str = ""
    aliases: tuple[str, ...] = ()
    ahead: bool | None = None
    notes: tuple[str, ...] = ()


def read_preset_file(path: Path) -> dict[str, Section]:
    """The sections of a file by name, in order.

    Errors: UsageError naming the file, the line, and the key or the value at fault.
    """
    found: dict[str, Section] = {}
    now = ""
    seen: dict[str, tuple[str, int]] = {}  # what was said -> the key that said it, and its line
    for number, line in enumerate(_lines(path), 1):
        place = f"{path}: line {number}"
        if not line or line[0] in ";#":
            continue
        if header := _HEADER.fullmatch(line):
            now, seen = header[1], {}
            if not now:
                raise UsageError(f"{place}: a section without a name", hint="write [NAME], or [*] for all models")
            if now in found:
                raise UsageError(f"{place}: [{now}] is there twice", hint=f"the first is {found[now].place}")
            found[now] = Section(place)
            continue
        pair = _PAIR.fullmatch(line)
        if pair is None:
            raise UsageError(f"{place}: {line[:60]!a} is neither KEY = VALUE nor [SECTION]", hint="; begins a comment")
        key, value = pair[1], _COMMENT.sub("", pair[2]).strip(" \t")
        if key == "version":
            if value != "1":
                raise UsageError(f"{place}: version is {value[:40]!a}", hint="only version 1 is known")
        elif not now:
            raise UsageError(f"{place}: {key} stands before the first section", hint="put it below [*] or [NAME]")
        else:
            try:
                section, names = _with_pair(found[now], key, value, everywhere=now == EVERYWHERE)
                _check_new(names, seen, key, number)
            except UsageError as error:
                raise UsageError(f"{place}: [{now}]: {error.message}", hint=error.hint) from None
            found[now] = section
    return found


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
        if len(data) > _FILE_BYTES_MAX:
            raise UsageError(f"{path} is larger than {_FILE_BYTES_MAX >> 20} MiB", hint="give an INI file of presets")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="give a readable INI file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})", hint="convert it first") from error
    return [line.strip(" \t") for line in re.split(r"\r\n|\n|\r", text)]


def _check_new(names: set[str], seen: dict[str, tuple[str, int]], key: str, number: int) -> None:
    """Errors: UsageError where the section has said the same before."""
    for name in sorted(names & seen.keys()):
        before, line = seen[name]
        hint = f"{before} stands in line {line}; drop one of them"
        raise UsageError(f"{key} was said before", hint=hint)
    seen.update(dict.fromkeys(names, (key, number)))


def _with_pair(section: Section, key: str, value: str, *, everywhere: bool) -> tuple[Section, set[str]]:
    """The section with what a line says, and what that is about. Errors: UsageError."""
    if key in _WITHOUT_EFFECT:
        return replace(section, notes=(*section.notes, f"{key} has no effect: {_WITHOUT_EFFECT[key]}")), {key}
    if key == _AHEAD:
        return replace(section, ahead=_switch(key, value)), {key}
    words, notes = _words(key, value)
    said: dict[str, Any] = {}
    while words:
        said |= _taken(key, words)
    for name in _OF_ONE_MODEL:
        if everywhere and name in said:
            raise UsageError(f"{key} cannot be said of all models", hint="put it below the [NAME] of one")
    own = {name: said.pop(name) for name in (*_OF_ONE_MODEL, "pull") if name in said}
    changed = replace(section, values={**section.values, **said}, notes=(*section.notes, *notes), **own)
    return changed, (own.keys() - {"pull"}) | said.keys() or {key}


def _words(key: str, value: str) -> tuple[list[str], list[str]]:
    """The arguments of the command line, in our words, that a line stands for; and notes. Errors: UsageError."""
    theirs, ours = _their_flags().get(key), _our_flags().get(f"--{key}")
    if theirs is not None:
        flag = next((flag for flag in theirs.flags if flag.lstrip("-") == key), theirs.flags[-1])
        if theirs.arguments or theirs.optional:
            if not value:
                raise UsageError(f"{key} has no value", hint=f"write {key} = VALUE")
            argument = [f"{flag}={value}"] if flag.startswith("--") else [flag, value]
        else:
            try:
                argument = [switched(theirs, on=_switch(key, value) != is_off(flag))]
            except LookupError:
                return [], []  # off is what it is anyway
        try:
            words, notes = translated(argument, {})
        except UsageError as error:
            raise UsageError(f"{key} cannot be used", hint=error.hint) from None
        return words, [f"{key} has no effect: {theirs.word}" for _ in notes]
    if ours is None:
        known = {flag.removeprefix("--") for flag in _our_flags()} | _their_flags().keys() | {_AHEAD, *_WITHOUT_EFFECT}
        near = difflib.get_close_matches(key, sorted(known), 1)
        hint = f"did you mean {near[0]}?" if near else "keys are arguments of `pacos serve --help`, without dashes"
        raise UsageError(f"unknown key {key!a:.60}", hint=hint)
    if ours.kind is bool:
        off = f"--no-{key}"
        return ([f"--{key}"] if _switch(key, value) else [off] if off in _our_flags() else []), []
    return [f"--{key}", value], []


def _switch(key: str, value: str) -> bool:
    lowered = value.lower()
    if lowered not in _ON | _OFF:
        raise UsageError(f"{key} is {value[:60]!a}", hint="use true or false")
    return lowered in _ON


def _taken(key: str, words: list[str]) -> dict[str, Any]:
    """What the next of our arguments says; it leaves `words`. Errors: UsageError naming the key."""
    flag, equals, value = words.pop(0).partition("=")
    one = _our_flags().get(flag)
    if one is not None and one.name in _server_names():
        raise UsageError(f"{key} is the server's, not a model's", hint=f"give {flag} on the command line")
    if one is not None and one.kind is bool:
        return {one.name: flag in one.flags}
    value = value if equals else words.pop(0)
    if one is None or one.name == "alias":
        return _own(key, flag, value)
    as_written = replace(one, name=key)
    return {one.name: checked(as_written, as_written.from_text(value))}


def _own(key: str, flag: str, value: str) -> dict[str, Any]:
    if flag == "--alias":
        return {"aliases": tuple(part.strip() for part in value.split(",") if part.strip())}
    if flag == "--chat-template-kwargs":
        return {"template_options": template_options_from_text(key, value)}
    if flag == "--chat-template":
        check_template(value)
    if flag.endswith("-file"):
        name = flag[2:].removesuffix("-file").replace("-", "_")
        try:
            return {name: Path(value).read_text(encoding="utf-8")}
        except OSError as error:
            raise UsageError(f"{key} {value}: {error.strerror}", hint="give a readable text file") from None
        except UnicodeDecodeError:
            raise UsageError(f"{key} {value} is not UTF-8 text", hint="convert it first") from None
    return {flag[2:].replace("-", "_"): value}


@cache
def _their_flags() -> dict[str, LlamaFlag]:
    """llama-server's arguments by what a file calls them: without dashes, or by their variable."""
    found = {flag.lstrip("-"): one for one in llama_flags() for flag in one.flags}
    return {**{one.variable: one for one in llama_flags() if one.variable != ""}, **found}


@cache
def _our_flags() -> dict[str, Option]:
    groups = (LoadOptions, SamplingOptions, GenerateOptions, ConstraintOptions, ReasoningOptions)
    return {
        flag: one
        for group in (*groups, FetchOptions, ServeOptions)
        for one in options_of(group)
        for flag in (*one.flags, *one.off_flags)
    }


@cache
def _server_names() -> set[str]:
    of_models = {"alias", "keep_alive_seconds"}
    return {one.name for one in options_of(ServeOptions)} - of_models | {"offline"}
