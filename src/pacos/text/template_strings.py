"""The string methods of chat templates, which keep marks and are counted against the budget.

Imports jinja2, so only `sandbox` and its parts may import this module. Each function takes the environment,
then the string; names and results are those of `str`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2.sandbox import SandboxedFormatter

from pacos.text import marked
from pacos.text.budget import Refused

if TYPE_CHECKING:
    from pacos.text.sandbox import Sandbox

_LONGEST_WIDTH = 1000  # of a number in a format
_PERCENT = re.compile(r"%(?:\((\w*)\))?([-#0 +]*)(\d*)(?:\.(\d*))?([a-zA-Z%])")


def _width(digits: str | None) -> None:
    if digits and (len(digits) > 4 or int(digits) > _LONGEST_WIDTH):
        raise Refused(f"it formats to a width of {digits[:20]} (limit {_LONGEST_WIDTH})")


def _literal(text: str) -> Callable[[str], str]:
    """Say how pieces of a format string are marked: as markup when all of it is."""
    return marked.markup if text and 0 not in marked.marks_of(text) else lambda piece: piece


def percent_format(env: Sandbox, text: str, values: Any) -> str:
    """Format as `text % values` does, for s, r, d, i, f, e, g, x, o, c and %."""
    parts: list[str] = []
    rest = iter(values if isinstance(values, tuple) else (values,))
    position = 0
    for match in _PERCENT.finditer(text):
        if "%" in str.__getitem__(text, slice(position, match.start())):
            raise ValueError("unsupported format character after '%'")
        parts.append(marked.cut(text, slice(position, match.start())))
        position = match.end()
        name, flags, width, precision, kind = match.groups()
        _width(width)
        _width(precision)
        if kind == "%":
            parts.append(marked.cut(text, slice(match.end() - 1, match.end())))
            continue
        value = values[name] if name is not None else next(rest, rest)
        if value is rest:
            raise TypeError("not enough arguments for format string")
        if kind == "s" and not (flags or width or precision):
            parts.append(env.text(value))
        else:
            env.weigh(value, printable=True)
            spec = "%" + flags + width + ("" if precision is None else "." + precision) + kind
            parts.append(spec % ((value,) if not isinstance(value, str) else (str.__str__(value),)))
        env.room(sum(map(len, parts)))
    if "%" in str.__getitem__(text, slice(position, None)):
        raise ValueError("incomplete format")
    if not isinstance(values, Mapping) and next(rest, rest) is not rest:
        raise TypeError("not all arguments converted during string formatting")
    return env.keep(marked.join([*parts, marked.cut(text, slice(position, None))]))


def brace_format(env: Sandbox, text: str, *args: Any, **kwargs: Any) -> str:
    """Format as `text.format(...)` does; fields go through the sandbox, specs may not hold fields."""
    formatter = SandboxedFormatter(env)
    literal = _literal(text)
    parts: list[str] = []
    automatic = 0
    for before, field, spec, conversion in string.Formatter().parse(str.__str__(text)):
        parts.append(literal(before))
        if field is None:
            continue
        if field == "" or field[0] in ".[":
            field, automatic = f"{automatic}{field}", automatic + 1
        value, _ = formatter.get_field(field, args, kwargs)
        spec = spec or ""
        if "{" in spec or conversion == "a":
            raise Refused("it uses a format inside a format")
        for digits in re.findall(r"\d+", spec):
            _width(digits)
        if conversion == "r":
            env.weigh(value, printable=True)
            value = repr(value)
        parts.append(env.text(value) if not spec else format(value, spec))
        env.room(sum(map(len, parts)))
    return env.keep(marked.join(parts))


def _pad(env: Sandbox, text: str, width: int, fill: str, left: int | None) -> str:
    """Fill a string up to a width; left says how many of the added characters come first."""
    padding = max(0, width - len(text))
    before = padding if left is None else min(left, padding)
    if len(fill) != 1:
        raise TypeError("the fill character must be one character long")
    env.room(width)
    return env.keep(marked.join([marked.repeat(fill, before), text, marked.repeat(fill, padding - before)]))


def center(env: Sandbox, text: str, width: int = 80, fill: str = " ") -> str:
    """Center as `str.center` does."""
    padding = max(0, width - len(text))
    return _pad(env, text, width, fill, padding // 2 + (padding & width & 1))


def zfill(env: Sandbox, text: str, width: int) -> str:
    """Fill with zeros on the left as `str.zfill` does."""
    sign = 1 if text[:1] in ("+", "-") else 0
    head, tail = marked.cut(text, slice(0, sign)), marked.cut(text, slice(sign, None))
    return marked.join([head, _pad(env, tail, width - sign, "0", None)])


def join(env: Sandbox, separator: str, values: Any) -> str:
    """Join as `separator.join(values)` does."""
    parts: list[str] = []
    total = 0
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"expected str instance, {type(value).__name__} found")
        total += len(value) + len(separator)
        env.room(total)
        parts.append(value)
    return env.keep(marked.join(parts, separator))


def replace(env: Sandbox, text: str, old: str, new: str, count: int = -1) -> str:
    """Replace as `text.replace(old, new, count)` does."""
    hits = str.count(text, old)
    hits = hits if count < 0 else min(hits, count)
    env.tick(hits)
    env.room(len(text) + hits * (len(new) - len(old)))
    return env.keep(marked.replace(text, old, new, count))


def split(env: Sandbox, text: str, sep: str | None = None, maxsplit: int = -1, *, right: bool = False) -> list[str]:
    """Split as `text.split(sep, maxsplit)` does."""
    env.tick(str.count(text, sep) if sep else len(text) // 2)
    return marked.split(text, sep, maxsplit, right=right)


def _partition(env: Sandbox, text: str, separator: str, *, right: bool = False) -> tuple[str, str, str]:
    before, middle, _ = str.rpartition(text, separator) if right else str.partition(text, separator)
    first, second = len(before), len(before) + len(middle)
    return (
        env.keep(marked.cut(text, slice(0, first))),
        marked.cut(text, slice(first, second)),
        env.keep(marked.cut(text, slice(second, None))),
    )


def _splitlines(env: Sandbox, text: str, keepends: bool = False) -> list[str]:
    env.tick(len(text) // 2)
    return marked.splitlines(text, keepends)


def _method(function: Callable[..., str]) -> Callable[..., str]:
    """Make a counted method of a function that never makes a string longer."""
    return lambda env, text, *args, **kwargs: env.keep(function(text, *args, **kwargs))


def _recased(name: str) -> Callable[..., str]:
    return lambda env, text: env.keep(marked.recase(text, getattr(str, name)(text)))


def _removeprefix(text: str, prefix: str) -> str:
    return marked.cut(text, slice(len(prefix), None)) if str.startswith(text, prefix) else text


def _removesuffix(text: str, suffix: str) -> str:
    return marked.cut(text, slice(0, len(text) - len(suffix))) if str.endswith(text, suffix) else text


def _native(name: str) -> Callable[..., Any]:
    method = getattr(str, name)
    return lambda env, text, *args: method(text, *args)


_QUESTIONS = "startswith endswith find rfind index rindex count isalnum isalpha isascii isdecimal isdigit"
_QUESTIONS += " isidentifier islower isnumeric isprintable isspace istitle isupper"
TEXT_METHODS: dict[str, Callable[..., Any]] = {
    **{name: _native(name) for name in _QUESTIONS.split()},
    **{name: _recased(name) for name in ("upper", "lower", "capitalize", "title", "swapcase", "casefold")},
    "strip": _method(marked.strip),
    "lstrip": _method(marked.lstrip),
    "rstrip": _method(marked.rstrip),
    "removeprefix": _method(_removeprefix),
    "removesuffix": _method(_removesuffix),
    "center": center,
    "ljust": lambda env, text, width, fill=" ": _pad(env, text, width, fill, 0),
    "rjust": lambda env, text, width, fill=" ": _pad(env, text, width, fill, None),
    "zfill": zfill,
    "join": join,
    "replace": replace,
    "split": split,
    "rsplit": partial(split, right=True),
    "splitlines": _splitlines,
    "partition": _partition,
    "rpartition": partial(_partition, right=True),
    "format": brace_format,
    "format_map": lambda env, text, mapping: brace_format(env, text, **mapping),
}
