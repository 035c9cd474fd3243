"""The user's own defaults, from a file: options of answers and of models, for all models or for one.

{"temp": 0.5, "default_model": "small", "models": {"small": {"ctx_size": 4096, "system_prompt": "Be brief."}}}
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pacos.errors import UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, places
from pacos.settings.constraint import ReasoningOptions
from pacos.settings.option import check, checked, option, options_of, shown

FILE_BYTES_MAX = 1 << 20
# What igllama calls our options.
THEIR_NAMES = {"max_tokens": "n_predict", "context_size": "ctx_size", "temperature": "temp"}
_AUTOMATIC = {"ctx_size": ("auto", None)}  # said there for 0
_MODELS = "models"


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """How `run` and `chat` begin where the command line says nothing."""

    default_model: str = option("", help="The model that answers when none is named.")
    system_prompt: str = option("", help="System message of every conversation.")
    template: str = option("", help="Chat template in place of the model's own, by name or as a file.")
    quiet: bool = option(False, help="Print no notes and no speeds.")

    def __post_init__(self) -> None:
        check(self)


GROUPS = (TalkOptions, SamplingOptions, GenerateOptions, ReasoningOptions, LoadOptions)
KNOWN = {one.name: one for group in GROUPS for one in options_of(group)}


@dataclass(frozen=True, slots=True)
class Habits:
    """What the file says: `values` for every model, and more for some."""

    values: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, model: str) -> TalkOptions:
        """How to talk with a model."""
        said = {**self.values, **self.models.get(model, {})}
        return TalkOptions(**{one.name: said[one.name] for one in options_of(TalkOptions) if one.name in said})

    def changed(self, key: str, value: Any, model: str | None = None) -> Habits:
        """With another value, None for none; for one model or all. Errors: UsageError for an unknown key or a value."""
        name = THEIR_NAMES.get(key, key)
        before = dict(self.values if model is None else self.models.get(model, {}))
        before.pop(name, None)
        if value is not None:
            before |= _read({key: value}, "the settings", of_model=model is not None)
        if model is None:
            return Habits(before, self.models)
        others = {other: said for other, said in self.models.items() if other != model}
        return Habits(self.values, {**others, **({model: before} if before else {})})

    def as_text(self) -> str:
        """What the file holds."""
        return json.dumps({**self.values, **({_MODELS: self.models} if self.models else {})}, indent=2) + "\n"


def read_habits(path: Path | None = None) -> Habits:
    """The user's file; nothing where there is none.

    Errors: UsageError naming the file, and the key or the value that cannot be used.
    """
    path = path if path is not None else places.habits_file()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Habits()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="`pacos config path` tells the place"
        ) from None
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{path} has {len(data)} bytes", hint=f"at most {FILE_BYTES_MAX} are read")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}", hint="mend it, or remove it") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no object", hint='write {"temp": 0.5} or the like')
    models = values.pop(_MODELS, {})
    if not isinstance(models, dict) or not all(isinstance(said, dict) for said in models.values()):
        raise UsageError(f"{path}: models is {shown(models)}", hint='write {"models": {"NAME": {"temp": 0.5}}}')
    general = _read(values, str(path), of_model=False)
    return Habits(general, {name: _read(said, f"{path}: {name}", of_model=True) for name, said in models.items()})


def from_text(key: str, text: str) -> Any:
    """The value that a text means for a key. Errors: UsageError for an unknown key, or a text that is no value."""
    one = KNOWN.get(THEIR_NAMES.get(key, key))
    if one is None:
        raise _unknown(key, "the settings")
    if text in _AUTOMATIC.get(one.name, ()):
        return one.default
    return one.from_text(text)


def _read(values: Mapping[str, Any], where: str, *, of_model: bool) -> dict[str, Any]:
    """Values under our names, each in its normal form. Errors: UsageError."""
    found = {}
    for key, value in values.items():
        name = THEIR_NAMES.get(key, key)
        one = KNOWN.get(name)
        if one is None or (of_model and name == "default_model"):
            raise _unknown(key, where)
        if name in found:
            raise UsageError(f"{where}: {key} says again what {name} says", hint="drop one of them")
        try:
            found[name] = checked(one, one.default if value in _AUTOMATIC.get(name, ()) else value)
        except UsageError as error:
            raise UsageError(f"{where}: {error.message}", hint=error.hint) from None
    return found


def _unknown(key: str, where: str) -> UsageError:
    if key == "gpu_layers":
        hint = "everything is computed by the processor; leave it out"
        return UsageError(f"{where}: gpu_layers has no effect", hint=hint)
    near = difflib.get_close_matches(key, KNOWN, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(KNOWN))}"
    return UsageError(f"{where}: unknown key {key!a:.60}", hint=hint)
