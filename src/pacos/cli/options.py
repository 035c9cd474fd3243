"""Turn option groups of settings.py into click options, and what was given back into groups.

Order of precedence: a flag, then its environment variable, then the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from pacos.errors import UsageError
from pacos.settings import Option, from_environment, options_of, read


def with_options(*groups: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add every option of the groups that has a flag; the command receives them by option name."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for group in reversed(groups):
            for one in reversed(options_of(group)):
                if one.flags:
                    function = _click_option(one)(function)
        return function

    return decorate


def _click_option(one: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    note = f"  [default: {_shown(one.default)}]" if one.default not in ("", (), None, False, True) else ""
    text = one.help + note
    if one.kind is bool:
        names = "/".join([",".join(one.flags), ",".join(one.off_flags)]) if one.off_flags else ""
        declared = [names] if names else list(one.flags)
        return click.option(*declared, one.name, is_flag=True, default=None, help=text)
    metavar = {int: "N", float: "X", str: "TEXT", tuple: "TEXT"}[one.kind]
    return click.option(
        *one.flags, one.name, type=str, default=None, multiple=one.kind is tuple, metavar=metavar, help=text
    )


def _shown(value: Any) -> str:
    return ";".join(str(part) for part in value) if isinstance(value, tuple) else f"{value}"


def groups_from(groups: Sequence[type], given: dict[str, Any]) -> tuple[Any, ...]:
    """Build the groups from a command's values and the environment.

    Errors: UsageError naming the option, the value seen and the values allowed.
    """
    values = from_environment(groups)
    for group in groups:
        for one in options_of(group):
            value = given.pop(one.name, None)
            if value is None or value == ():
                continue
            values[one.name] = _from_texts(one, value)
    return read(groups, values)


def _from_texts(one: Option, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if one.kind is tuple:
        return tuple(part for text in value for part in one.from_text(text))
    return one.from_text(value)


def read_text_option(path: str, option: str) -> str:
    """The text of a file that an option names; "-" is standard input.

    Errors: UsageError when it cannot be read or is not UTF-8.
    """
    try:
        with click.open_file(path, "rb") as file:
            text: str = file.read().decode("utf-8")
            return text
    except OSError as error:
        raise UsageError(
            f"{option} {path}: {error.strerror}", hint="give a readable text file, or - for stdin"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path} is not UTF-8 text (byte {error.start})", hint="convert it first") from error
