"""The filters and tests of chat templates, counted against the budget.

Imports jinja2, so only `sandbox` may import this module. Text functions keep the marks of their arguments;
Jinja's own filters are used for the rest, behind a check of what their arguments can make them cost. Names and
results follow Jinja, except `tojson`, which follows transformers: no HTML escapes, ASCII only on request.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jinja2 import filters as stock
from jinja2 import pass_context, pass_environment
from jinja2.runtime import Context
from jinja2.tests import TESTS as STOCK_TESTS

from pacos.text import marked
from pacos.text.budget import Refused
from pacos.text.template_strings import TEXT_METHODS, center, join, percent_format, replace

if TYPE_CHECKING:
    from pacos.text.sandbox import Sandbox

_LARGEST_ARGUMENT = 100_000  # integers given to Jinja's own filters, some of which loop that often
_SLOW_CHARS = 64 * 1024  # text given to Jinja's own filters, some of which use regular expressions
_ITERATES: tuple[str, ...] = ("list", "map", "select", "reject", "selectattr", "rejectattr")
_ITERATES += ("batch", "slice", "reverse")
_COMPARES: tuple[str, ...] = ("sort", "unique", "groupby", "dictsort", "min", "max", "pprint")
_COMPARES += ("urlencode", "xmlattr", "striptags", "truncate", "wordcount", "int", "float", "filesizeformat", "abs")


@pass_environment
def tojson(
    env: Sandbox,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers does for chat templates."""
    size, depth = env.weigh(value)
    width = len(indent) if isinstance(indent, str) else int(indent or 0)
    if width > 64:
        raise Refused(f"it indents JSON by {width:,} (limit 64)")
    if separators is not None and any(len(str(part)) > 16 for part in separators):
        raise Refused("it separates JSON by long strings")
    env.room(size * (1 + 16 * (separators is not None) + width * depth // 8))
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return env.keep(text)


@pass_environment
def _filter_join(env: Sandbox, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(stock.make_attrgetter(env, attribute), value)
    return join(env, env.text(d), (env.text(item) for item in value))


@pass_environment
def _filter_indent(env: Sandbox, s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = env.text(s)
    if isinstance(width, int):
        env.room(width)
    indention = width if isinstance(width, str) else " " * width
    env.tick(len(text) // 2)
    # one more line end than the text has, as Jinja adds before it splits
    lines = marked.splitlines(marked.join([text, "\n"]))
    env.room(len(text) + len(lines) * len(indention))
    head = indention if first else ""
    tail = [marked.join([indention, line]) if line or blank else line for line in lines[1:]]
    return env.keep(marked.join([marked.join([head, lines[0]]), *tail], "\n"))


@pass_environment
def _filter_attr(env: Sandbox, obj: Any, name: str) -> Any:
    if isinstance(obj, dict) and not hasattr(dict, name):
        return env.undefined(obj=obj, name=name)
    return env.getattr(obj, name)


@pass_environment
def _filter_round(env: Sandbox, value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > 20:
        raise Refused(f"it rounds to {precision:,} digits (limit 20)")
    return stock.do_round(value, precision, method)  # type: ignore[arg-type]


@pass_environment
def _filter_sum(env: Sandbox, iterable: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise Refused("it sums things other than numbers")
    return stock.do_sum(env, iterable, attribute, start)


def _text_filter(function: Callable[..., str]) -> Callable[..., str]:
    """Make a filter that takes anything as text from a counted text function."""
    return pass_environment(lambda env, value="", *args, **kwargs: function(env, env.text(value), *args, **kwargs))


def _replaced(env: Sandbox, text: str, old: Any, new: Any, count: int | None = None) -> str:
    return replace(env, text, env.text(old), env.text(new), -1 if count is None else count)


def _titled(env: Sandbox, text: str) -> str:
    return env.keep(marked.recase(text, stock.do_title(str.__str__(text))))


def _escaped(env: Sandbox, text: str) -> str:
    return env.keep(html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"))


def _wrapped(env: Sandbox, text: str, width: int = 79, *args: Any, **kwargs: Any) -> str:
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
    env.room(len(text) * (1 + sum(map(len, given))))
    if len(text) > _SLOW_CHARS:
        raise Refused(f"it wraps {len(text):,} characters (limit {_SLOW_CHARS:,})")
    return env.keep(stock.do_wordwrap(env, str.__str__(text), width, *args, **kwargs))


def _formatted(env: Sandbox, text: str, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise TypeError("can't handle positional and keyword arguments at the same time")
    return percent_format(env, text, kwargs or args)


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Put the checks of cost before one of Jinja's own filters, and count what it makes."""
    passed = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def call(context: Context, *args: Any, **kwargs: Any) -> Any:
        env: Sandbox = context.environment  # type: ignore[assignment]
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and abs(value) > _LARGEST_ARGUMENT and name not in ("int", "float", "abs"):
                raise Refused(f"it gives {value:,} to the filter {name} (limit {_LARGEST_ARGUMENT:,})")
            env.tick(max(1, value) if isinstance(value, int) and name in ("batch", "slice") else 1)
            if name in _COMPARES:
                size, _ = env.weigh(value, printable=name == "pprint")
                if isinstance(value, str) and size > _SLOW_CHARS:
                    raise Refused(f"it gives {size:,} characters to the filter {name} (limit {_SLOW_CHARS:,})")
            elif name in _ITERATES and isinstance(value, (str, list, tuple, dict, range)):
                env.tick(len(value) if isinstance(value, str) else len(value) // 8)
        if passed is not None:
            args = ({"context": context, "eval_context": context.eval_ctx}.get(passed.name, env), *args)
        result = function(*args, **kwargs)
        if isinstance(result, (list, tuple)):
            env.tick(len(result) // 8)
        return env.keep(str(result)) if isinstance(result, str) else result

    return call


FILTERS: dict[str, Callable[..., Any]] = {
    **{name: function for name, function in stock.FILTERS.items() if name not in ("random", "urlize")},
    **{name: _counted(name, stock.FILTERS[name]) for name in _ITERATES + _COMPARES},
    "attr": _filter_attr,
    "capitalize": _text_filter(TEXT_METHODS["capitalize"]),
    "center": _text_filter(center),
    "e": _text_filter(_escaped),
    "escape": _text_filter(_escaped),
    "forceescape": _text_filter(_escaped),
    "format": _text_filter(_formatted),
    "indent": _filter_indent,
    "join": _filter_join,
    "lower": _text_filter(TEXT_METHODS["lower"]),
    "replace": _text_filter(_replaced),
    "round": _filter_round,
    "safe": _text_filter(lambda env, text: text),  # a prompt is not HTML: nothing is escaped later
    "string": _text_filter(lambda env, text: text),
    "sum": _filter_sum,
    "title": _text_filter(_titled),
    "tojson": tojson,
    "trim": _text_filter(TEXT_METHODS["strip"]),
    "upper": _text_filter(TEXT_METHODS["upper"]),
    "wordwrap": _text_filter(_wrapped),
}


def _weighed(function: Any) -> Callable[..., Any]:
    """Count what a test may walk before it compares."""

    @pass_environment
    def test(env: Sandbox, *values: Any) -> Any:
        return function(*[env.weighed(value) for value in values])

    return test


class Absent(list[Any]):
    """The `tools` of a chat that has none: `none` to a template that asks, an empty list to one that loops."""

    __slots__ = ()
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return other is None or (isinstance(other, list) and not other)

    def __ne__(self, other: object) -> bool:
        return not self == other


_PLAIN_TESTS: tuple[str, ...] = ("defined", "undefined", "boolean", "false", "true", "integer", "float")
_PLAIN_TESTS += (
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "odd",
    "even",
    "filter",
    "test",
)


def _test(name: str, function: Any) -> Callable[..., Any]:
    checked: Callable[..., Any] = function if name in _PLAIN_TESTS else _weighed(function)
    return checked


TESTS: dict[str, Callable[..., Any]] = {
    **{name: _test(name, test) for name, test in STOCK_TESTS.items()},
    "none": lambda value: value is None or isinstance(value, Absent),
}
