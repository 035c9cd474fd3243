"""What a name gives its model, said in Ollama's words: parameters, and templates in Go's language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pacos.errors import UsageError
from pacos.formats.wording import shown
from pacos.hub.store import DEFAULTS
from pacos.settings import options_of, read
from pacos.text.go_template import jinja_of
from pacos.text.templates import all_templates, recognise_template

_OURS = {  # Ollama's name -> ours
    "temperature": "temp",
    "num_predict": "n_predict",
    "num_ctx": "ctx_size",
    "num_batch": "batch_size",
    "num_thread": "threads",
    "num_keep": "keep",
}
# What says how a GPU or the memory is used: it changes no answer, and here the engine decides.
_WITHOUT_EFFECT = {"num_gpu", "main_gpu", "use_mmap", "use_mlock", "numa", "low_vram", "f16_kv", "vocab_only"}
_WITHOUT_END = -2  # num_predict: until the context is full
_SPECIAL = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|<｜[^｜<>\n]{1,40}｜>|</?\w{1,20}>|\[/?[A-Z_]{2,20}\]|<</?SYS>>", re.IGNORECASE
)
_ROLES = {"system", "user", "assistant", "model", "tool", "human", "instruction", "response", "input"}
_ALPACA = ("### instruction:", "### response:")


def ollama_options(pairs: Iterable[tuple[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Options in our names, and notes on parameters that change nothing here; values may be texts.

    Errors: UsageError for a parameter that is unknown, or a value that cannot be used.
    """
    known = {one.name: one for group in DEFAULTS for one in options_of(group)}
    found: dict[str, Any] = {}
    notes = []
    for name, value in pairs:
        if name in _WITHOUT_EFFECT:
            notes.append(f"the parameter {name} has no effect here")
            continue
        one = known.get(_OURS.get(name, name))
        if one is None:
            names = ", ".join(sorted((set(known) - set(_OURS.values())) | set(_OURS)))
            raise UsageError(f"unknown parameter {name!a:.60}", hint=f"there are {names}")
        try:
            value = one.from_text(value) if isinstance(value, str) else value
        except UsageError as error:
            raise UsageError(f"parameter {name}: {error.message}", hint=error.hint) from None
        if isinstance(value, (list, tuple)):  # said again, such a parameter has one more
            found[one.name] = [*found.get(one.name, []), *value]
        else:
            found[one.name] = -1 if name == "num_predict" and value == _WITHOUT_END else value
    read(DEFAULTS, found)
    return found, notes


def parameter_texts(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The parameters, in Ollama's names where it has one, that `ollama_options` reads as these options."""
    theirs = {ours: name for name, ours in _OURS.items()}
    for name, value in options.items():
        value = list(value.items()) if isinstance(value, Mapping) else value
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, (list, tuple)):  # a token and its bias
                text = f"{one[0]}{one[1]:+}"
            else:
                text = json.dumps(one, ensure_ascii=False) if isinstance(one, str) else str(one).lower()
            yield theirs.get(name, name), text


def is_jinja(text: str) -> bool:
    """Whether a template is written in Jinja, as those inside model files are."""
    return "{%" in text or re.search(r"{{-?\s*(messages|bos_token|message\b)", text) is not None


def named_by(text: str) -> str:
    """What a preset keeps for a template: the name of a built-in one, or the text of one in Jinja.

    The well-known ones in Go's language are known by what they write, since the built-in ones know tools and thoughts
    too; others become Jinja. Errors: UsageError for a name that is none, and what is not understood of Go's language.
    """
    if text in all_templates() or is_jinja(text):
        return text
    name = recognise_go(text)
    if name is not None:
        return name
    said = f"the template {shown(text.strip(), 60)!r}"
    hint = f"write it in Jinja, or name one of {', '.join(sorted(all_templates()))}"
    if "{{" not in text:
        raise UsageError(f"{said} is no built-in one", hint=hint)
    try:
        return jinja_of(text)
    except UsageError as error:
        raise UsageError(f"{said} is in Go's language: {error.message}", hint=hint) from None


def recognise_go(text: str) -> str | None:
    """The built-in template that writes what a template of Ollama's writes; None when it says more than that."""
    literal, actions = _parted(text)
    quoted = " ".join(re.findall(r'"((?:[^"\\]|\\.)*)"', actions))
    signs = literal + quoted
    name = "zephyr" if "<|user|>" in signs and "</s>" in signs else recognise_template(signs)
    if name is None:
        return None
    rest = _SPECIAL.sub(" ", literal.lower())
    for sign in _ALPACA:
        rest = rest.replace(sign, " ")
    words = set(re.findall(r"\w+", rest)) - _ROLES
    return name if not words else None


def _parted(text: str) -> tuple[str, str]:
    """What a template writes as it is, in lines, and what stands between its braces, in one pass however odd it is."""
    literal, actions, rest = [], [], text
    while rest:
        said, begun, rest = rest.partition("{{")
        action, ended, after = rest.partition("}}")
        literal.append(said if ended else said + begun + rest)
        actions.append(action if ended else "")
        rest = after
    return "\n".join(literal), " ".join(actions)
