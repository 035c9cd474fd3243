"""What a server knows of a model before it is open, and the TOML file that says it for many.

[models.small]
model = "/models/small.gguf"      # a file, a folder or a name
aliases = ["gpt-4o-mini"]
ctx_size = 8192                   # any setting of docs/settings.md under LoadOptions
chat_template = "chatml"
keep_alive_seconds = 300          # how long it stays open unused; below 0 is for ever
ahead = true                      # open it when the server starts, not at the first request
defaults = {temp = 0.5, top_k = 20}   # where a request says nothing
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pacos.errors import ModelNotFound, UsageError
from pacos.hub.names import find
from pacos.hub.opening import CONFIG_NAME
from pacos.llm.chat import check_template
from pacos.server.preset_file import EVERYWHERE, Section
from pacos.server.said import ANSWERING, Said, defaults_of, opening_of, over
from pacos.settings import LoadOptions, options_of, read

NAME_CHARACTERS_MAX = 200
_PART = re.compile(r"-(\d+)-of-\d+$", re.ASCII)
_OWN_KEYS = ("model", "aliases", "chat_template", "keep_alive_seconds", "defaults", "ahead")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that may be served: how it is opened, and what a request gets where it says nothing.

    `path` is a file, a folder or a name that `pacos.load` knows. It is opened `ahead` of the first request, or by it.
    """

    name: str
    path: str
    aliases: tuple[str, ...] = ()
    options: LoadOptions = field(default_factory=LoadOptions)
    chat_template: str | None = None
    keep_alive_seconds: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    ahead: bool = True


def spec_of(model: str, said: Said | None = None, *, ahead: bool = True, aliases: Sequence[str] = ()) -> ModelSpec:
    """The spec of a model as the command line names it: "NAME=PATH", or a path whose file name becomes its name.

    `ahead` is where nothing is said of that. Errors: UsageError for an empty name, or for what is said and cannot be;
    ModelNotFound or FormatError when nothing is there.
    """
    name, path = name_and_place(model)
    found = find(path)
    stem = _PART.sub("", found.path.stem)
    name = _named(name or (path if found.named or not path.strip("./") else stem))
    place = path if found.named else str(found.path)
    said = said or Said()
    values = said.of((name, path), found)
    section = said.sections.get(name, Section(""))
    return ModelSpec(
        name,
        place,
        tuple(_named(one) for one in (*aliases, *section.aliases)),
        opening_of(values),
        values.get("chat_template"),
        values.get("keep_alive_seconds"),
        defaults_of(values),
        said.ahead(name, usually=ahead),
    )


def section_specs(said: Said, others: Iterable[ModelSpec]) -> list[ModelSpec]:
    """The models of the presets' file that are not among the others: of their own, or those that a name means.

    Errors: UsageError where neither is so; ModelNotFound or FormatError when nothing is there.
    """
    taken = {spec.name: spec for spec in others}
    found = []
    for name, section in said.sections.items():
        if name in taken and section.model:
            problem = f"{section.place}: [{name}] has a model, and another one is called so"
            raise UsageError(problem, hint=f"drop `model` there, or {taken[name].path!a}")
        if name in (*taken, EVERYWHERE):
            continue
        try:
            found.append(spec_of(f"{_named(name)}={section.model or name}", said, ahead=False))
        except (ModelNotFound, UsageError) as error:
            hint = error.hint if section.model else f"say model = FILE, or hf-repo = ORG/NAME; {error.hint}"
            raise type(error)(f"{section.place}: [{name}]: {error.message}", hint=hint) from None
    return found


def name_and_place(model: str) -> tuple[str, str]:
    """The name, "" where none is given, and the path or the name in the store of a model on a command line."""
    name, equals, path = model.partition("=")
    return (name, path) if equals and "/" not in name else ("", model)  # a path may hold the sign


def _named(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        raise UsageError(f"{name!a:.80} cannot be a model's name", hint=f"use 1 to {NAME_CHARACTERS_MAX} characters")
    return name


def file_bytes(spec: ModelSpec) -> int:
    """Bytes of a model's files, its other parts included. Errors: ModelNotFound when they are gone."""
    return find(spec.path).bytes


def read_model_file(path: Path, said: Said | None = None) -> list[ModelSpec]:
    """The models of a TOML file, in order; relative paths start at its folder. What it says wins over what is said.

    Errors: UsageError naming the file, the model and the key at fault.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="give a readable TOML file") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="see docs/serving.md for an example") from error
    extra = sorted(set(data) - {"models"})
    models = data.get("models")
    if extra or not isinstance(models, dict) or not models:
        what = f"has the unknown key {extra[0]!r}" if extra else "holds no models"
        raise UsageError(f"{path} {what}", hint="write a table [models.NAME] for each model")
    specs = [_spec(path, name, entry, said or Said()) for name, entry in models.items()]
    check_names(specs)
    return specs


def read_models_folder(folder: Path, said: Said | None = None) -> list[ModelSpec]:
    """The models of a folder, each opened when it is asked for: GGUF files, Hugging Face folders, one level deep too.

    Errors: UsageError when the folder cannot be read or holds none.
    """
    try:
        found = list(_models_in(folder, depth=1))
    except OSError as error:
        hint = "give --models-dir a folder of GGUF files"
        raise UsageError(f"{folder} cannot be read: {error.strerror}", hint=hint) from error
    specs = [spec_of(str(one.absolute()), said, ahead=False) for one in found]
    if not specs:
        raise UsageError(f"{folder} holds no model", hint="put GGUF files there, or folders with one each")
    check_names(specs)
    return specs


def _models_in(folder: Path, depth: int) -> Iterator[Path]:
    """What in a folder may be a model: no later part of one, and nothing that sees pictures for another."""
    for path in sorted(folder.iterdir()):
        part = _PART.search(path.stem)
        if path.name.startswith((".", "mmproj")) or (part and int(part[1]) != 1):
            continue
        if path.is_dir():
            if (path / CONFIG_NAME).exists():
                yield path
            elif depth:
                yield from _models_in(path, depth - 1)
        elif path.suffix == ".gguf" and path.is_file():
            yield path


def check_names(specs: Iterable[ModelSpec]) -> None:
    """Every name and alias means one model. Errors: UsageError naming the one that is taken twice."""
    seen: set[str] = set()
    for spec in specs:
        for name in (spec.name, *spec.aliases):
            if name in seen:
                raise UsageError(f"two models are called {name!a}", hint="call one NAME=PATH, or drop the alias")
            seen.add(name)


def _spec(file: Path, name: str, entry: Any, said: Said) -> ModelSpec:
    try:
        if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
            raise UsageError("there is no model", hint='say model = "PATH"')
        given = {key: value for key, value in entry.items() if key not in _OWN_KEYS}
        known = {one.name for one in options_of(LoadOptions)}
        for key in given:
            if key not in known:
                raise UsageError(f"unknown key {key!r}", hint=f"there are {', '.join((*_OWN_KEYS, *sorted(known)))}")
        placed = _placed(file, entry["model"])
        found = find(placed)
        defaults = entry.get("defaults", {})
        if not isinstance(defaults, dict):
            raise UsageError("defaults is no table", hint="write defaults = {temp = 0.5}")
        read(ANSWERING, defaults)
        values = said.of((_named(name), entry["model"]), found)
        template = _optional(entry, "chat_template", str)
        if template:
            check_template(template)
        return ModelSpec(
            name,
            placed if found.named else str(found.path),
            _aliases(entry.get("aliases", [])),
            opening_of(over(values, given)),
            template or values.get("chat_template"),
            _optional(entry, "keep_alive_seconds", int, float),
            defaults_of(over(values, defaults)),
            _optional(entry, "ahead", bool) is not False,
        )
    except UsageError as error:
        raise UsageError(f"{file}: models.{name}: {error.message}", hint=error.hint) from None


def _placed(file: Path, model: str) -> str:
    beside = file.parent / Path(model).expanduser()
    return str(beside) if beside.exists() else model


def _aliases(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UsageError("aliases is no list", hint='write aliases = ["NAME"]')
    return tuple(_named(name) for name in value)


def _optional(entry: Mapping[str, Any], key: str, *kinds: type) -> Any:
    value = entry.get(key)
    if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        wanted = {str: "text", bool: "true or false"}.get(kinds[0], "a number")
        raise UsageError(f"{key} is {value!r:.80}", hint=f"use {wanted}")
    return value
