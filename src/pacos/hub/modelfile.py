"""Ollama's Modelfile: a model's name with its defaults, written as instructions, one a line.

    FROM llama3.2:1b
    PARAMETER temperature 0.2
    SYSTEM "You are brief."

Source: Ollama's documentation of the Modelfile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pacos.errors import ModelNotFound, UsageError
from pacos.formats.wording import shown
from pacos.hub.bring_in import found_at
from pacos.hub.entries import Entry
from pacos.hub.names import find_name
from pacos.hub.presets import named_by, ollama_options, parameter_texts
from pacos.hub.spelling import checked_name
from pacos.hub.store import StoredModel

BYTES_MAX = 4 << 20
_INSTRUCTIONS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "MESSAGE", "LICENSE", "ADAPTER", "REQUIRES")
_LINE = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+", re.ASCII)
_ROLES = ("system", "user", "assistant")
_TRIPLE = '"""'
_PATHS = ("lora", "lora_scaled", "prompt_cache_dir")  # options that name files or folders


@dataclass(slots=True)
class Modelfile:
    """What a Modelfile says; parameters in its own names, in order."""

    model: str = ""
    parameters: list[tuple[str, Any]] = field(default_factory=list)
    template: str = ""
    system: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    licence: str = ""
    adapters: list[str] = field(default_factory=list)


def read_modelfile(text: str) -> Modelfile:
    """What a Modelfile says. Errors: UsageError naming the line."""
    found = Modelfile()
    licences = []
    for number, word, value in _instructions(text):
        where = f"line {number} of the Modelfile"
        if word == "FROM":
            if found.model:
                raise UsageError(f"{where}: a second FROM", hint="models cannot be put together")
            found.model = value
        elif word == "PARAMETER":
            name, _, setting = value.partition(" ")
            if not setting.strip():
                raise UsageError(f"{where}: PARAMETER {name[:60]!a} has no value", hint="PARAMETER temperature 0.2")
            found.parameters.append((name.lower(), _unquoted(setting.strip())))
        elif word == "MESSAGE":
            role, _, said = value.partition(" ")
            if role not in _ROLES:
                raise UsageError(f"{where}: a message of {role[:40]!a}", hint=f"use {', '.join(_ROLES)}")
            found.messages.append({"role": role, "content": _unquoted(said.strip())})
        elif word == "ADAPTER":
            found.adapters.append(value)
        elif word == "TEMPLATE":
            found.template = value
        elif word == "SYSTEM":
            found.system = value
        elif word == "LICENSE":
            licences.append(value)
    found.licence = "\n\n".join(licences)
    if not found.model:
        raise UsageError("the Modelfile names no model", hint="begin with FROM MODEL")
    return found


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, instruction and value of each. Errors: UsageError."""
    if len(text) > BYTES_MAX:
        raise UsageError(f"the Modelfile has more than {BYTES_MAX} characters", hint="make it shorter")
    place, number = 0, 1
    while place < len(text):
        end = text.find("\n", place)
        line = text[place:] if end < 0 else text[place:end]
        if not line.strip() or line.lstrip().startswith("#"):
            place, number = place + len(line) + 1, number + 1
            continue
        found = _LINE.match(text, place)
        word = found[1].upper() if found is not None else line.split()[0].upper()
        if found is None or word not in _INSTRUCTIONS:
            known = ", ".join(_INSTRUCTIONS)
            raise UsageError(f"line {number} of the Modelfile: {shown(word, 40)!r}", hint=f"there are {known}")
        value, after = _value(text, found.end(), word, number)
        yield number, word, value
        number += text.count("\n", place, after)
        place = after


def _value(text: str, begin: int, word: str, number: int) -> tuple[str, int]:
    """A value to its end, and the place after it. Three quotes hold several lines, one quote too."""
    start = begin
    if word == "MESSAGE":  # the quotes come after the role
        start = begin + len(re.match(r"\S*[ \t]*", text[begin : begin + 100])[0])  # type: ignore[index]
    for quotes in (_TRIPLE, '"'):
        if word != "PARAMETER" and text.startswith(quotes, start):
            end = text.find(quotes, start + len(quotes))
            if end < 0:
                problem = f"line {number} of the Modelfile: quotes are opened and not closed"
                raise UsageError(problem, hint=f"close them with {quotes}")
            inner = text[start + len(quotes) : end]
            line = text.find("\n", end)
            return text[begin:start] + inner, len(text) if line < 0 else line + 1
    line = text.find("\n", begin)
    end = len(text) if line < 0 else line
    return text[begin:end].strip(), end + 1


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text[1:-1]
    return text


def entry_from(name: str, said: Modelfile, folder: Path | None) -> tuple[Entry, list[str]]:
    """The entry that a Modelfile describes, and notes on what of it changes nothing.

    FROM is a name, or a path from `folder` on; without a folder only a name. Adapters are paths from there on too.
    Errors: UsageError; ModelNotFound when the model is not in the store; FormatError for a file that is none.
    """
    options, notes = ollama_options(said.parameters)
    if folder is None and (path := next((one for one in _PATHS if one in options), None)):
        raise UsageError(f"the parameter {path} names a path", hint="`pacos create` may set it, no request")
    if said.adapters:
        options["lora"] = [_adapter(path, folder) for path in said.adapters]
    source = _from(said.model, folder)
    entry = Entry(
        checked_name(name),
        model=source.model,
        path=source.path,
        options=options,
        system=said.system,
        template=named_by(said.template) if said.template else "",
        messages=tuple(said.messages),
        licence=said.licence,
    )
    if entry.model.lower() == name.lower():
        raise UsageError(f"{name} would stand for itself", hint="choose another name")
    return entry, notes


def _adapter(path: str, folder: Path | None) -> str:
    if folder is None:
        raise UsageError("ADAPTER names a path", hint="`pacos create` may set it, no request")
    whole = (folder / path).expanduser()
    if not whole.exists():
        raise ModelNotFound(f"no adapter {shown(path)!r}", hint="give a path from the Modelfile's folder on")
    return str(whole.resolve())


def _from(model: str, folder: Path | None) -> Entry:
    if folder is not None and (folder / model).expanduser().exists():
        entries, _ = found_at(str((folder / model).expanduser()))
        if len(entries) != 1:
            raise UsageError(f"{shown(model)} holds {len(entries)} models", hint="give one of them")
        return entries[0]
    found = find_name(model)
    if found is None:
        if model.endswith(".gguf") or model.startswith((".", "/", "~")):
            hint = "give a path from the Modelfile's folder on" if folder is not None else "give a name, not a path"
            raise ModelNotFound(f"no model file {shown(model)!r}", hint=hint)
        hint = f"`pacos pull {model}` or `pacos pull ollama:{model}` downloads it"
        raise ModelNotFound(f"no model {shown(model)!r} in the store", hint=hint)
    return Entry("from", model=found.name)


def written(model: StoredModel) -> str:
    """The Modelfile that gives a name what it gives now."""
    preset = model.preset
    lines = [f"FROM {model.alias_of or model.name}"]
    lines += [f"ADAPTER {path}" for path in preset.options.get("lora", ())]
    others = {name: value for name, value in preset.options.items() if name != "lora"}
    lines += [f"PARAMETER {name} {text}" for name, text in parameter_texts(others)]
    texts = (("SYSTEM", preset.system), ("TEMPLATE", preset.template), ("LICENSE", preset.licence))
    lines += [f"{word} {_TRIPLE}{text}{_TRIPLE}" for word, text in texts if text]
    lines += [f"MESSAGE {one['role']} {_TRIPLE}{one['content']}{_TRIPLE}" for one in preset.messages]
    return "\n".join(lines) + "\n"
