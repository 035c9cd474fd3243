"""Turn option groups of settings.py into click options, and what was given back into groups.

Order of precedence: a flag, then its environment variable, then what the model's name gives, then the default.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pacos.cli import render
from pacos.errors import UsageError
from pacos.settings import (
    GenerateOptions,
    LoadOptions,
    Option,
    SamplingOptions,
    checked,
    from_environment,
    options_of,
    read,
)
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.embed import EmbedOptions, InputOptions
from pacos.settings.fetch import FetchOptions
from pacos.settings.option import template_options_from_text
from pacos.settings.serve import ServeOptions

OTHER_VARIABLES = {
    "PACOS_HOME": "Folder of everything that Pacos keeps: models, names, what servers write (docs/models-on-disk.md).",
    "PACOS_OLLAMA_REGISTRY": "Address of the registry that `pacos pull ollama:NAME` asks; default Ollama's own.",
    "PACOS_ISA": "Instruction set of the CPU backend, such as portable or avx2; default the best that there is.",
    "PACOS_NATIVE_LIBRARY": "Path of the native library to load instead of the package's own.",
    "PACOS_TRACEBACK": "1 shows where a fault inside Pacos happened.",
}
_METAVAR_CHARACTERS = 40  # of choices; more are told by the help's text
TEXT_BYTES_MAX = 64 << 20  # of a prompt or text from a file or a pipe, so that an endless one ends


class Sectioned(click.Command):
    """A command whose help lists each group of options under a heading of its own."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those of each group."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for one in self.get_params(context):
            if isinstance(one, click.Option) and (row := one.get_help_record(context)) is not None:
                sections.setdefault(getattr(one, "section", "Options"), []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class GroupOption(click.Option):
    """An option of a group in settings; `section` is the group's heading in the help."""

    section = "Options"


def with_options(*groups: type, without: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add every option of the groups that has a flag; the command receives them by option name.

    `without` names those that the command declares itself, in a form of its own.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for group in reversed(groups):
            title = group.__name__.removesuffix("Options")
            heading = type(f"{title}Option", (GroupOption,), {"section": f"{title} options"})
            for one in reversed(options_of(group)):
                if one.flags and one.name not in without:
                    function = _click_option(one, heading)(function)
        return function

    return decorate


def _click_option(one: Option, heading: type[click.Option]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    note = f"  [default: {default_text(one.default)}]" if one.default not in ("", (), None, False, True) else ""
    text = one.help + note
    if one.kind is bool:
        names = "/".join([",".join(one.flags), ",".join(one.off_flags)]) if one.off_flags else ""
        declared = [names] if names else list(one.flags)
        return click.option(*declared, one.name, cls=heading, is_flag=True, default=None, help=text)
    metavar = one.metavar or "|".join(filter(None, one.choices))
    if not metavar or len(metavar) > _METAVAR_CHARACTERS:
        metavar = {int: "N", float: "X", str: "TEXT", tuple: "TEXT"}[one.kind]
    given = {"type": str, "default": None, "multiple": one.kind is tuple, "metavar": metavar, "help": text}
    return click.option(*one.flags, one.name, cls=heading, **given)


def default_text(value: Any) -> str:
    """A default on one line."""
    text = ";".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
    return text.replace("\n", "\\n")


def groups_from(
    groups: Sequence[type], given: dict[str, Any], preset: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """Build the groups from a command's values, the environment, and what the model's name gives by default.

    Errors: UsageError naming the option, the value seen and the values allowed.
    """
    _warn_of_unknown_variables()
    names = {one.name for group in groups for one in options_of(group)}
    values = {name: value for name, value in (preset or {}).items() if name in names}
    return read(groups, values | said(groups, given))


def said(groups: Sequence[type], given: dict[str, Any]) -> dict[str, Any]:
    """What the environment and a command's values say of the groups' options; those values are taken out.

    Errors: UsageError naming the option, the value seen and the values allowed.
    """
    values = from_environment(groups)
    for group in groups:
        for one in options_of(group):
            value = given.pop(one.name, None)
            if value is None or value == ():
                continue
            values[one.name] = _from_flag(one, value)
    return values


def _warn_of_unknown_variables() -> None:
    """A misspelt variable shall not be silent."""
    ours = [name for name in os.environ if name.startswith("PACOS_") and name not in OTHER_VARIABLES]
    groups = (
        SamplingOptions,
        GenerateOptions,
        ConstraintOptions,
        ReasoningOptions,
        LoadOptions,
        ServeOptions,
        EmbedOptions,
        InputOptions,
        FetchOptions,
    )
    known = {one.env for group in groups for one in options_of(group)}
    for name in sorted(set(ours) - known):
        near = difflib.get_close_matches(name, sorted(filter(None, known)), 1)
        render.warn(f"unknown variable {name}" + (f": did you mean {near[0]}?" if near else " has no effect"))


def _from_flag(one: Option, value: Any) -> Any:
    try:
        if one.kind is tuple:
            value = tuple(part for text in value for part in one.from_text(text))
        elif not isinstance(value, bool):
            value = one.from_text(value)
        return checked(one, value)
    except UsageError as error:
        message = error.message  # it begins with the field's name; on the command line the flag says more
        message = one.flags[0] + message.removeprefix(one.name) if message.startswith(f"{one.name} ") else message
        raise UsageError(message, hint=error.hint) from None


def only_these(allowed: set[str], reason: str) -> None:
    """Refuse what stands on the command line and would have no effect; `reason` is such as "with --decode".

    Errors: UsageError naming both.
    """
    context = click.get_current_context()
    for one in context.command.params:
        name = one.name or ""
        if name not in allowed and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            said = max(one.opts, key=len) if isinstance(one, click.Option) else name.upper()
            raise UsageError(f"{said} has no effect {reason}", hint=f"`{context.command_path} --help` says more")


def need_folder_of(path: Path, before: str = "") -> None:
    """Check, before anything is computed, that a file can be made. Errors: UsageError when its folder is not there."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{before}there is no folder {path.parent}", hint="make it first")


def read_text_option(path: str, option: str) -> str:
    """The text of a file that an option names; "-" is standard input.

    Errors: UsageError when it cannot be read, is not UTF-8, or is longer than TEXT_BYTES_MAX.
    """
    try:
        with click.open_file(path, "rb") as file:
            data: bytes = file.read(TEXT_BYTES_MAX + 1)
        if len(data) > TEXT_BYTES_MAX:
            raise UsageError(
                f"{option} {path}: more than {TEXT_BYTES_MAX >> 20} MiB of text", hint="give a shorter one"
            )
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(
            f"{option} {path}: {error.strerror}", hint="give a readable text file, or - for stdin"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path} is not UTF-8 text (byte {error.start})", hint="convert it first") from error


def with_constraint_files(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add options that name files of long constraints."""
    schema = click.option("--json-schema-file", "-jf", metavar="FILE", help="Read --json-schema from a file.")
    return click.option("--grammar-file", metavar="FILE", help="Read --grammar from a file.")(schema(function))


def read_constraint_files(given: dict[str, Any]) -> None:
    """Take constraints from the files that those options name. Errors: UsageError; as `read_text_option`."""
    for name in ("grammar", "json_schema"):
        path = given[f"{name}_file"]
        if path is None:
            continue
        flag = "--" + name.replace("_", "-")
        if given[name] is not None:
            raise UsageError(f"{flag} and {flag}-file are both given", hint="drop one of them")
        given[name] = read_text_option(path, f"{flag}-file")


def with_chat_template(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which chat template is used, and what it is given."""
    said = "Use this chat template in place of the model's own."
    named = click.option("--chat-template", "--template", metavar="NAME|FILE", help=said)
    values = click.option("--chat-template-kwargs", metavar="JSON", help="JSON object of variables for the template.")
    return named(values(function))


def template_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables for the chat template. Errors: as `template_options_from_text`."""
    text = given["chat_template_kwargs"]
    return {} if text is None else template_options_from_text("--chat-template-kwargs", text)


def given_texts(texts: Sequence[str], file: str | None, name: str) -> list[str]:
    """Texts from the command line, or else the lines of a file or of standard input.

    Errors: UsageError when they are given twice, or not at all.
    """
    if texts and file is not None:
        raise UsageError(f"texts are given twice, as {name} and as --file", hint="use one of them")
    if texts:
        return list(texts)
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("there is no text", hint=f"give {name}, --file FILE, or pipe lines in")
    return read_text_option(file or "-", "--file").splitlines()
