"""Find model families by name: every module of this folder that uses @architecture is one, no list to edit."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.huggingface import HuggingFace

Model = Callable[[Inputs, WeightTable, Any], Tensor]

_SHOWN_CHARACTERS = 64
_CLASSES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model family under one GGUF name; `hf` says how folders hold it.

    `rope` is the style of its rotary pairs in GGUF files ("" when it has none). `defaults` holds metadata, keys
    without the architecture's prefix, that files of the family may leave out. Layers of a `recurrent` family may lack
    attention. The `encoder` of an encoder-decoder gives hidden states of a source, and leaves in the cache what the
    decoder, which is the model, attends to.
    """

    name: str
    model: Model
    hf: tuple[HuggingFace, ...]
    rope: str = "halves"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    recurrent: bool = False
    encoder: Model | None = None


_FOUND: dict[str, Architecture] = {}


def architecture(
    *names: str,
    hf: HuggingFace | tuple[HuggingFace, ...] = (),
    rope: str = "halves",
    defaults: Mapping[str, Any] | None = None,
    recurrent: bool = False,
    encoder: Model | None = None,
) -> Callable[[Model], Model]:
    """Register a model function under its GGUF names, for folders of the classes that `hf` names."""
    folders = hf if isinstance(hf, tuple) else (hf,)

    def register(model: Model) -> Model:
        for name in names:
            _FOUND[name] = Architecture(name, model, folders, rope, dict(defaults or {}), recurrent, encoder)
        return model

    return register


def architectures() -> tuple[Architecture, ...]:
    """Every family, by name."""
    _import_all()
    return tuple(_FOUND[name] for name in sorted(_FOUND))


@cache
def _import_all() -> None:
    """Import every file of the package: families register themselves."""
    package = importlib.import_module(__package__ or "pacos.models")
    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{found.name}")


def model_for(name: object) -> Architecture:
    """The family of a GGUF `general.architecture`.

    Errors: FormatError when it is no name; UnsupportedModel listing the names that exist, the nearest first.
    """
    if not isinstance(name, str) or not name:
        raise FormatError(f"general.architecture is {_shown(name)}, needed: a name", hint=_supported())
    file = name.replace("-", "_")
    if name not in _FOUND and file.isidentifier() and importlib.util.find_spec(f"pacos.models.{file}"):
        importlib.import_module(f"pacos.models.{file}")  # a family's file is named after it: spare the scan
    found = _FOUND.get(name) or {entry.name: entry for entry in architectures()}.get(name)
    if found is None:
        near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], sorted(_FOUND), 1)
        nearest = f"nearest: {near[0]}; " if near else ""  # first, as a terminal's line may end before the list does
        raise UnsupportedModel(f"architecture {_shown(name)} is not supported", hint=nearest + _supported())
    return found


def model_for_class(name: str, config: Mapping[str, Any] | None = None) -> tuple[Architecture, HuggingFace]:
    """The family of a Hugging Face class name, as in config.json's `architectures`, and how its folders hold it.

    Of families that share the class it is the one that the config fits, or the first.
    Errors: UnsupportedModel with the class names that are most like it.
    """
    folders: dict[str, list[tuple[Architecture, HuggingFace]]] = {}
    for entry in architectures():
        for hf in entry.hf:
            for one in hf.classes:
                folders.setdefault(one, []).append((entry, hf))
    if name in folders:
        fitting = (found for found in folders[name] if config is None or found[1].fits(found[1].filled(config)))
        return next(fitting, folders[name][0])
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], sorted(folders), _CLASSES_SHOWN, cutoff=0.3)
    known = ", ".join(near or sorted(folders)[:_CLASSES_SHOWN])
    hint = f"supported: {known} and {len(folders) - _CLASSES_SHOWN} others; pacos.architecture adds one"
    raise UnsupportedModel(f"model class {_shown(name)} is not supported", hint=hint)


def _supported() -> str:
    return "supported: " + ", ".join(entry.name for entry in architectures())


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"
