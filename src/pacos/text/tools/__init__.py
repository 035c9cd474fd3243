"""Formats in which models call tools: one file each, found by listing this folder.

A file holds a `FORMAT`: how its calls are recognised in a chat template, read from an answer, and written as a
grammar. `call_syntax` has the ways of writing that several formats share.
"""

from __future__ import annotations

import importlib
import pkgutil
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pacos.errors import UsageError
from pacos.text.incoming import Incoming, Waiting
from pacos.text.reasoning import Thinking

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.grammar import Grammar
    from pacos.text.lark import Lark


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `schema` describes its arguments, an object."""

    name: str
    schema: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer may be.

    opened: the prompt began a thought. tools: those that may be called; required: nothing but calls; parallel: more
    than one. answer: the grammar of a text, named "answer".
    """

    thinking: Thinking | None = None
    opened: bool = False
    form: ToolFormat | None = None
    tools: Sequence[Tool] = ()
    required: bool = False
    parallel: bool = True
    answer: Grammar | None = None


@dataclass(frozen=True, kw_only=True)
class ToolFormat:
    """How a family of models writes its calls.

    name: the file's. signs: a template that contains all texts of one of these rows (and none with a leading !) is of
    this format; formats of smaller `order` are asked first. openers: texts after which calls begin. markers: texts,
    beside the openers, that matter and may be control tokens. at_start: calls may also begin an answer without an
    opener. reads_all: the format has a form for the whole answer. repeats: each call has an opener of its own.
    example: a call, for a model whose template has the format but shows no tools.
    """

    name: str
    signs: tuple[tuple[str, ...], ...]
    order: int = 50
    openers: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    at_start: bool = False
    reads_all: bool = False
    repeats: bool = False
    example: str = ""

    def read(self, incoming: Incoming, answer: Answer, opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read the calls after an opener into an answer. Errors: Malformed, where the text is no call."""
        raise NotImplementedError

    def grammar(self, lark: Lark, tools: Sequence[Tool], *, parallel: bool) -> str:
        """What follows the first opener, in Lark: one call of these tools, or with `parallel` perhaps several."""
        raise NotImplementedError

    def optional(self, lark: Lark, calls: str, tools: Sequence[Tool]) -> str:
        """For calls that begin an answer: those of these tools, whose grammar is `calls`, or other text."""
        raise NotImplementedError

    def whole(self, lark: Lark, wanted: Wanted) -> str:
        """The grammar of a whole answer, thoughts and all, where the format has a form for it; else empty."""
        return ""

    def variables(self, tools: Sequence[Any], now: datetime) -> dict[str, Any]:
        """What the format's chat templates want to know beside the tools, and others do not."""
        return {}

    def fit_id(self, call_id: str, name: str, index: int) -> str:
        """An id, perhaps of another model, as this one's template takes it; `index` counts the calls of a chat."""
        return call_id

    def new_id(self) -> str:
        """An id for a call to which the model gives none."""
        return f"call_{secrets.token_hex(12)}"


def check_free_text(tool: Tool, schema: Mapping[str, Any]) -> None:
    """For formats that write a text argument as it is.

    Errors: UsageError naming what its schema demands, when the tool is strict.
    """
    demands = [key for key in ("pattern", "format", "minLength", "maxLength") if key in schema]
    if tool.strict and demands:
        problem = f"{demands[0]!r} of a text argument of tool {tool.name!r} cannot be enforced in this model's format"
        raise UsageError(problem, hint="leave it out, or drop strict")


@lru_cache(maxsize=1)
def all_formats() -> dict[str, ToolFormat]:
    """Every format by name, in the order in which they are tried."""
    modules = [importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)]
    found: list[ToolFormat] = [module.FORMAT for module in modules]
    return {form.name: form for form in sorted(found, key=lambda form: (form.order, form.name))}


def named_format(name: str) -> ToolFormat:
    """A format by name. Errors: UsageError listing the names."""
    try:
        return all_formats()[name]
    except KeyError:
        known = ", ".join(sorted(all_formats()))
        raise UsageError(f"there is no tool format named {name[:80]!r}", hint=f"the names are: {known}") from None


def recognise_format(template: str) -> ToolFormat | None:
    """The format that a chat template asks for; None when it knows no tools."""
    for form in all_formats().values():
        for row in form.signs:
            if all(sign[1:] not in template if sign.startswith("!") else sign in template for sign in row):
                return form
    return None
