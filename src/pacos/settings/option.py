"""One option as everything sees it: the field metadata that makes the flag, the variable, the docs row and the
request field, and the functions that read and enforce it.
"""

from __future__ import annotations

import difflib
import json
import keyword
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_origin, get_type_hints

from pacos.errors import UsageError

INT_MAX = 2**31 - 1
_RESERVED = frozenset(  # in chat templates
    (
        *("messages", "tools", "bos_token", "eos_token", "add_generation_prompt", "continue_final_message"),
        *("raise_exception", "strftime_now", "range", "dict", "namespace", "loop", "self", "super", "caller"),
        *("varargs", "kwargs", "context", "environment", "tokenize", "chat_template", "return_dict"),
    )
)
_OF_RENDERING = {"add_generation_prompt", "continue_final_message"}  # say how a template is rendered


@dataclass(frozen=True, slots=True)
class Option:
    """One option as its flag, variable, docs row and request field see it.

    `kind` is int, float, bool, str or tuple (then `many` values, each made by `parse` from one text). `minimum`
    and `maximum` are allowed values, `above` is not. `off_flags` switch a bool off. `metavar` is what help calls the
    flag's argument, such as FILE.
    """

    name: str
    kind: type
    default: Any
    help: str
    flags: tuple[str, ...] = ()
    off_flags: tuple[str, ...] = ()
    env: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    most: int | None = None
    parse: Callable[[str], Any] | None = None
    normal: Callable[[Any], Any] | None = None
    metavar: str = ""

    def from_text(self, text: str) -> Any:
        """The value that a flag's argument or a variable's text means; for `many`, one flag's share of it.

        Errors: UsageError naming the option, the text and what it should be.
        """
        if self.parse is not None:
            return self.parse(text)
        if self.kind is bool:
            lowered = text.strip().lower()
            if lowered in {"1", "true", "on", "yes"}:
                return True
            if lowered in {"0", "false", "off", "no"}:
                return False
            raise UsageError(f"{self.name} is {text!r}", hint="use true or false")
        if self.kind in (int, float):
            try:
                return self.kind(text)
            except ValueError:
                wanted = "a whole number" if self.kind is int else "a number"
                raise UsageError(f"{self.name} is {text[:80]!r}", hint=f"use {wanted}") from None
        return (text,) if self.kind is tuple else text


def option(default: Any, *, help: str, flags: Sequence[str] = (), env: str | None = None, **rules: Any) -> Any:
    """A dataclass field with an option's metadata; `rules` are Option's other fields.

    The variable is PACOS_ and the first long flag, unless `env` names another.
    """
    if env is None:
        env = next(("PACOS_" + f[2:].replace("-", "_").upper() for f in flags if f.startswith("--")), None)
    metadata = {"help": help, "flags": tuple(flags), "env": env, **rules}
    return field(default=default, metadata={"option": metadata})


_OPTIONS: dict[type, tuple[Option, ...]] = {}


def options_of(group: type) -> tuple[Option, ...]:
    """Options of a group, in order."""
    if group not in _OPTIONS:
        _OPTIONS[group] = _resolved(group)
    return _OPTIONS[group]


def _resolved(group: type) -> tuple[Option, ...]:
    hints = get_type_hints(group)
    found = []
    for entry in fields(group):
        kind = get_origin(hints[entry.name]) or hints[entry.name]
        found.append(Option(entry.name, kind, entry.default, **entry.metadata["option"]))
    return tuple(found)


def check(group: Any) -> None:
    """Validate a group in its `__post_init__`; whole numbers become floats where a float is meant, lists tuples.

    Errors: UsageError naming the option, the value seen and the values allowed.
    """
    for one in options_of(type(group)):
        value = getattr(group, one.name)
        fitting = checked(one, value)
        if fitting is not value:
            object.__setattr__(group, one.name, fitting)


def checked(one: Option, value: Any) -> Any:
    """The value in its normal form. Errors: UsageError naming the option, the value seen and the values allowed."""
    if one.normal is not None:
        value = one.normal(value)
    if one.kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        value = float(value)
    if one.kind is tuple and isinstance(value, list):
        value = tuple(value)
    fits = isinstance(value, one.kind) and (one.kind is bool or not isinstance(value, bool))
    if not fits:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list"}
        raise UsageError(f"{one.name} is {shown(value)}", hint=f"use {names[one.kind]}")
    if one.kind in (int, float):
        _check_range(one, value)
    if one.choices and value not in one.choices:
        raise UsageError(f"{one.name} is {shown(value)}", hint=f"use one of {', '.join(filter(None, one.choices))}")
    if one.most is not None and len(value) > one.most:
        raise UsageError(f"{one.name} has {len(value)} entries", hint=f"at most {one.most} are allowed")
    return value


def _check_range(one: Option, value: float) -> None:
    low = one.above if one.above is not None else one.minimum
    bad = (
        value != value  # NaN; math.isnan cannot take every whole number
        or (one.minimum is not None and value < one.minimum)
        or (one.above is not None and value <= one.above)
        or (one.maximum is not None and value > one.maximum)
    )
    if bad:
        lower = f"{'above' if one.above is not None else 'at least'} {shown(low)}" if low is not None else ""
        upper = f"at most {shown(one.maximum)}" if one.maximum is not None else ""
        raise UsageError(
            f"{one.name} is {shown(value)}", hint=f"use a number {' and '.join(filter(None, (lower, upper)))}"
        )


def shown(value: Any) -> str:
    """A value as messages print it, cut to a line."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print the largest
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) and value == round(value) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def template_options_from_text(name: str, text: str) -> dict[str, Any]:
    """The variables for a chat template that an option's JSON text holds.

    Errors: UsageError naming the option: for what is no JSON object, a name that is there twice or means something
    else, NaN and infinite numbers.
    """
    try:
        value = json.loads(text, object_pairs_hook=_names_once, parse_constant=_no_number, parse_float=_finite)
        if isinstance(value, dict):
            for one in value.keys() - _OF_RENDERING:
                check_template_option(one)
    except (ValueError, RecursionError):
        value = None
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None
    if not isinstance(value, dict):
        raise UsageError(f"{name} is {text[:80]!a}", hint='give a JSON object: {"enable_thinking": true}')
    return value


def check_template_option(name: str) -> None:
    """Refuse a name that a chat template cannot be given, or that means something else in it. Errors: UsageError."""
    if not name.isidentifier() or name.startswith("_") or keyword.iskeyword(name) or name in _RESERVED:
        hint = "leave it out; it is given apart" if name in ("messages", "tools") else "give it another name"
        raise UsageError(f"{name!r:.50} cannot be a template option", hint=hint)


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise UsageError(f"{twice[:50]!a} is there twice", hint="drop one of them")
    return found


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text: str) -> float:
    raise UsageError(f"{text[:50]} is no number of JSON", hint="use a finite one, or null")


Group = TypeVar("Group")

# What other libraries call our options.
_ELSEWHERE = {
    "max_tokens": "n_predict",
    "max_new_tokens": "n_predict",
    "max_completion_tokens": "n_predict",
    "temperature": "temp",
    "repetition_penalty": "repeat_penalty",
    "n_ctx": "ctx_size",
    "num_ctx": "ctx_size",
    "n_batch": "batch_size",
    "n_threads": "threads",
}


def read(groups: Sequence[type[Any]], values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Build each group from loose names; None means not given.

    Errors: UsageError for a name that no group has, or a value that its option refuses.
    """
    known = {one.name for group in groups for one in options_of(group)}
    for name in values:
        if name not in known:
            elsewhere = [ours for ours in (_ELSEWHERE.get(name),) if ours in known]
            close = elsewhere or difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
            raise UsageError(f"unknown option {name!r}", hint=hint)
    given = {name: value for name, value in values.items() if value is not None}
    return tuple(
        group(**{one.name: given[one.name] for one in options_of(group) if one.name in given}) for group in groups
    )


def from_environment(groups: Sequence[type[Any]], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Values that variables set, by option name, for `read`.

    Errors: UsageError naming the variable when its text cannot be read.
    """
    environment = os.environ if environment is None else environment
    values = {}
    for group in groups:
        for one in options_of(group):
            text = environment.get(one.env) if one.env else None
            if text is None or text == "":
                continue
            try:
                values[one.name] = checked(one, one.from_text(text))
            except UsageError as error:
                raise UsageError(f"variable {one.env}: {error.message}", hint=error.hint) from None
    return values
