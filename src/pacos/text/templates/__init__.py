"""Chat templates that Pacos knows by name: one .jinja file each, found by listing this folder.

A file starts with a comment whose lines say how it is chosen:

    order 10                        smaller is tried first
    vocabulary ["<|im_start|>"]     a vocabulary that holds all of these (and none with a leading !) fits
    source ["<|im_start|>", "!x"]   a template text that contains all of these is of this kind
    stops ["<|im_end|>"]            strings that end an answer even where no token does

Lines may repeat as alternatives. Source: the markers follow llama.cpp's llm_chat_detect_template.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from pacos.errors import UsageError

Markers = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class NamedTemplate:
    """A built-in template and the signs by which it is chosen."""

    name: str
    about: str
    order: int
    vocabulary: Markers
    source_markers: Markers
    stops: tuple[str, ...]
    source: str


def _parse(name: str, source: str) -> NamedTemplate:
    head = source.partition("-#}")[0].removeprefix("{#-")
    about, *lines = head.strip().splitlines()
    fields: dict[str, list[str]] = {"order": [], "vocabulary": [], "source": [], "stops": []}
    for line in lines:
        key, _, value = line.partition(" ")
        fields[key].append(value)
    alternatives = {key: tuple(tuple(json.loads(value)) for value in fields[key]) for key in ("vocabulary", "source")}
    stops = tuple(stop for value in fields["stops"] for stop in json.loads(value))
    order = int(fields["order"][0])
    return NamedTemplate(name, about, order, alternatives["vocabulary"], alternatives["source"], stops, source)


@lru_cache(maxsize=1)
def all_templates() -> dict[str, NamedTemplate]:
    """Read every built-in template, by name, in the order in which they are tried."""
    found = [
        _parse(entry.name.removesuffix(".jinja"), entry.read_text(encoding="utf-8"))
        for entry in files(__package__).iterdir()
        if entry.name.endswith(".jinja")
    ]
    return {template.name: template for template in sorted(found, key=lambda template: template.order)}


def named_template(name: str) -> NamedTemplate:
    """Find a built-in template by name; UsageError lists the names, the nearest first."""
    try:
        return all_templates()[name]
    except KeyError:
        known = sorted(all_templates())
        near = difflib.get_close_matches(name[:80], known, 1)
        hint = f"{f'did you mean {near[0]}? ' if near else ''}the names are: {', '.join(known)}"
        raise UsageError(f"there is no chat template named {name[:80]!r}", hint=hint) from None


def _fits(alternatives: Markers, has: Callable[[str], bool]) -> bool:
    return any(
        all(not has(marker[1:]) if marker.startswith("!") else has(marker) for marker in markers)
        for markers in alternatives
    )


def guess_template(vocabulary: Callable[[str], bool]) -> NamedTemplate:
    """Choose by a vocabulary, asked for the text of tokens; `plain` fits every vocabulary."""
    return next(template for template in all_templates().values() if _fits(template.vocabulary, vocabulary))


def recognise_template(source: str) -> str | None:
    """Name the format of a template by its text, for display."""
    for template in all_templates().values():
        if _fits(template.source_markers, source.__contains__):
            return template.name
    return None
