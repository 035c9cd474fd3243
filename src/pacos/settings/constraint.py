"""Options that constrain an answer, and those for what a model thinks before it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.settings.option import INT_MAX, check, option, shown

CHOICES_MAX = 4096
NAMED_GRAMMARS = {"json": '{"type": "object"}', "json-array": '{"type": "array"}'}  # igllama's names


def _schema_text(value: Any) -> Any:
    """A schema that is an object becomes JSON text."""
    if not isinstance(value, Mapping):
        return value
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"json_schema is no JSON: {error}", hint="use JSON-like values") from None


def _choices(value: Any) -> Any:
    value = (value,) if isinstance(value, str) else value
    if isinstance(value, (list, tuple)):
        for text in value:
            if not isinstance(text, str) or not text:
                raise UsageError(f"choice has the entry {shown(text)}", hint="use texts of at least one character")
    return value


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """What an answer must look like; at most one of these."""

    grammar: str = option(
        "",
        flags=("--grammar",),
        help="Grammar in GBNF that the answer obeys; json or json-array: any object, any list.",
    )
    json_schema: str = option(
        "", flags=("--json-schema", "-j"), normal=_schema_text, help="JSON schema that the answer obeys."
    )
    regex: str = option("", flags=("--regex",), help="Regular expression that the whole answer matches.")
    lark: str = option("", flags=("--lark",), help="Grammar in llguidance's Lark that the answer obeys.")
    choice: tuple[str, ...] = option(
        (), flags=("--choice",), most=CHOICES_MAX, normal=_choices, help="The answer is one of these; repeatable."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.grammar in NAMED_GRAMMARS:
            if self.json_schema:
                raise UsageError(f"grammar {self.grammar} and json_schema are both given", hint="drop one of them")
            object.__setattr__(self, "json_schema", NAMED_GRAMMARS[self.grammar])
            object.__setattr__(self, "grammar", "")


@dataclass(frozen=True, slots=True)
class ReasoningOptions:
    """Whether and how long a model thinks before it answers, and where its thoughts go; names are llama.cpp's."""

    reasoning: str = option(
        "auto",
        flags=("--reasoning", "-rea"),
        choices=("auto", "on", "off"),
        help="Let the model think; auto is as its chat template says.",
    )
    reasoning_format: str = option(
        "auto",
        flags=("--reasoning-format",),
        choices=("auto", "deepseek", "deepseek-legacy", "none"),
        help="Where thoughts go: apart (auto, deepseek), apart and in the text (deepseek-legacy), in the text (none).",
    )
    reasoning_budget: int = option(
        -1,
        flags=("--reasoning-budget",),
        minimum=-1,
        maximum=INT_MAX,
        help="Tokens to think before thinking is ended; -1 is no limit.",
    )
    reasoning_budget_message: str = option(
        "", flags=("--reasoning-budget-message",), help="What a thought says before its budget ends it."
    )
    reasoning_effort: str = option(
        "",
        flags=("--reasoning-effort",),
        choices=("", "none", "minimal", "low", "medium", "high", "xhigh", "max"),
        help="How hard to think, for chat templates that ask; none is not at all.",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.reasoning_effort == "none" and self.reasoning == "auto":
            object.__setattr__(self, "reasoning", "off")
