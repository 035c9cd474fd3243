"""Kinds of tokenizers, one file each, found by the value of `tokenizer.ggml.model` that the file names in MODELS."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pacos.errors import UnsupportedModel
from pacos.text.native_vocabulary import NativeVocabulary


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a file of this kind means where it says nothing.

    special: ids by role; one that the vocabulary is too small for counts as absent. takes_text: not token ids alone.
    """

    special: Mapping[str, int]
    add_bos: bool = False
    add_eos: bool = False
    add_sep: bool = False
    add_space: bool = False
    force_bos: bool = False
    takes_text: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What has been settled about a file before its encoder is made."""

    metadata: Mapping[str, Any]
    special: Mapping[str, int]
    add_space: bool
    warnings: list[str] = field(default_factory=list)


class Encoding(Protocol):
    """A module of this folder."""

    MODELS: tuple[str, ...]

    @staticmethod
    def defaults(metadata: Mapping[str, Any]) -> Defaults:
        """What the file means where it says nothing. Errors: UnsupportedModel for a variant that is not known."""

    @staticmethod
    def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
        """Make the vocabulary encode. Errors: FormatError for what the file lacks or has wrong."""


@functools.cache
def _encodings() -> dict[str, Encoding]:
    found: dict[str, Encoding] = {}
    for entry in pkgutil.iter_modules(__path__):
        module: Any = importlib.import_module(f"{__name__}.{entry.name}")
        found.update(dict.fromkeys(module.MODELS, module))
    return found


def find_encoding(model: str) -> Encoding:
    """The module for a value of `tokenizer.ggml.model`.

    Errors: UnsupportedModel naming those that are known.
    """
    known = _encodings()
    if model not in known:
        names = ", ".join(sorted(known))
        raise UnsupportedModel(f"tokenizer model {model[:100]!r} is not supported", hint=f"supported are: {names}")
    return known[model]
