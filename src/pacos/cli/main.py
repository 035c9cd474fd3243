"""`pacos`: find the command by its file's name, run it, and turn every error into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong option or argument, 3 the model file cannot be used, 4 not enough memory or disk,
5 a download failed, 70 a fault inside Pacos, 130 stopped by Ctrl-C, 129 and 143 ended by SIGHUP and SIGTERM.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

import pacos.cli
from pacos import __version__
from pacos.errors import CapacityError, PacosError
from pacos.log import warnings_to

_PARTS = {
    "main",
    "render",
    "options",
    "bench-rows",
    "bench-plot",
    "asking",
    "missing",
    "growing",
    "repl",
    "session-files",
    "other-flags",
    "talk",
    "perplexity-table",
    "perplexity-plot",
}  # modules here that are no commands
_TEXT_CHARACTERS = 700
_OTHER_NAMES = {
    "ls": "list",
    "remove": "rm",
    "delete": "rm",
    "info": "show",
    "server": "serve",
}  # those of igllama and Ollama
_OTHER_LINES = {  # how lines for other programs begin, and how ours do
    "-v": ("--version",),
    "-V": ("--version",),
    "infer": ("run",),
    "repl": ("run", "--repl"),
    "prompt-tokens": ("tokenize",),
    "dump-tokens": ("tokenize",),
}
_OWN_FLAGS = ("-h", "--help", "--version")
_COMMAND_ORDER = (
    *("run", "chat", "pull", "list", "show", "tokenize", "embed", "rerank", "bench", "perplexity", "convert"),
    *("quantize", "imatrix"),
)


class ReaderLeft(Exception):
    """Whoever read standard output closed it."""


class Ended(BaseException):
    """A signal ends the program; what is open is closed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Commands(click.Group):
    """Load a command's module when it is asked for."""

    def make_context(self, *given: Any, **extra: Any) -> click.Context:
        """Read the options; --version and --help print here, perhaps into a broken pipe."""
        try:
            return super().make_context(*given, **extra)
        except BrokenPipeError:
            raise ReaderLeft from None

    def invoke(self, context: click.Context) -> Any:
        """Run the command; a broken pipe passes click, which would make a failure of it."""
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise ReaderLeft from None

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Find the command, also in lines that were written for other programs."""
        return super().parse_args(context, our_line(arguments))

    def list_commands(self, context: click.Context) -> list[str]:
        """Names of the command files, the everyday ones first."""
        names = {found.name.replace("_", "-") for found in pkgutil.iter_modules(pacos.cli.__path__)} - _PARTS
        return [name for name in _COMMAND_ORDER if name in names] + sorted(names - set(_COMMAND_ORDER))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name; its module defines `command`."""
        name = _OTHER_NAMES.get(name, name)
        if name not in self.list_commands(context):
            return None
        command: click.Command = importlib.import_module(f"pacos.cli.{name.replace('-', '_')}").command
        if "_PACOS_COMPLETE" in os.environ:  # a shell asks how a line may go on
            from pacos.cli.completion import completed

            return completed(command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their files' first lines, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(context)])

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest names for an unknown command."""
        name = _OTHER_NAMES.get(arguments[0], arguments[0])
        if name not in self.list_commands(context) and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(context), 2)
            context.fail(f"no command {name!r}." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(context, arguments)


def our_line(arguments: list[str]) -> list[str]:
    """A whole line with our command: llama-rs's first program had none, and others have other names for some."""
    first = arguments[0] if arguments else ""
    if first in _OTHER_LINES:
        return [*_OTHER_LINES[first], *arguments[1:]]
    if first.startswith("-") and first.partition("=")[0] not in _OWN_FLAGS:
        return ["run", *arguments]
    return list(arguments)


def _summary(name: str) -> str:
    name = name.replace("-", "_")
    found = importlib.util.find_spec(f"pacos.cli.{name}")
    get_source = getattr(found.loader, "get_source", None) if found is not None else None
    source = get_source(f"pacos.cli.{name}") if get_source is not None else ""
    first = str(source or "").partition("\n")[0].strip('"')
    text = first.partition(": ")[2]
    return text[:1].upper() + text[1:]


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong option, 3 unusable model file, 4 not enough memory or disk, "
    "5 failed download, 70 internal fault, 130 stopped by Ctrl-C.",
)
@click.version_option(__version__, message="pacos %(version)s")
@click.pass_context
def pacos_group(context: click.Context) -> None:
    """Run language models on the machine you have.

    Try:  pacos run "Tell me a story about a dragon."
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        with _signals_raise():
            code = _run(arguments)
    except BaseException as error:  # noqa: BLE001 - nobody shall see a traceback
        code = _failure(error)
    sys.exit(code)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise Ended, once, so that half-written files are removed; nohup's choice stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Ended(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _run(arguments: list[str] | None) -> int:
    warnings_to(lambda text: _line("warning", "yellow", text))
    code = pacos_group.main(args=arguments, prog_name="pacos", standalone_mode=False)
    if sys.stdout is not None:
        sys.stdout.flush()  # a full disk or a reader that left shows here, not after the end
    return code if isinstance(code, int) else 0


def _failure(error: BaseException) -> int:
    """Say in one line what went wrong; give the exit code."""
    if isinstance(error, SystemExit | click.exceptions.Exit):
        code = error.code if isinstance(error, SystemExit) else error.exit_code
        return code if isinstance(code, int) else int(code is not None)
    if isinstance(error, Ended):
        return 128 + error.number
    if isinstance(error, BrokenPipeError | ReaderLeft):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0  # `pacos run | head` ends quietly
    if isinstance(error, KeyboardInterrupt | click.Abort):  # click wrote a newline already
        return 130
    message, hint, code = _explained(error)
    _line("error", "red", message, hint or "")
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # what a full disk refused shall not be tried again at exit, with a second message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _explained(error: BaseException) -> tuple[str, str | None, int]:
    if isinstance(error, PacosError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        near = " or ".join(error.possibilities)  # the nearest first, which click's own message would sort
        return error.message.rstrip("."), f"did you mean {near}?", error.exit_code
    if isinstance(error, click.UsageError):
        help_text = f"{error.ctx.command_path} --help" if error.ctx is not None else "pacos help COMMAND"
        return error.format_message().rstrip("."), f"`{help_text}` says more", error.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message(), None, error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory", "use a smaller --ctx-size or a smaller model", CapacityError.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name == "numpy":
        return "this needs numpy, which is not installed", 'pip install "pacos[numpy]"', 1
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "free some space" if full else None
        return f"{where}{error.strerror or error}", hint, CapacityError.exit_code if full else 1
    if os.environ.get("PACOS_TRACEBACK"):
        raise error
    return f"a fault inside Pacos: {error!r}", "PACOS_TRACEBACK=1 shows where; please report it", 70


def _line(kind: str, color: str, *texts: str) -> None:
    """What is said on standard error, safe for a terminal; of a text that is too long the beginning."""
    from pacos.cli import render

    parts = [render.printable(" ".join(text.split()), _TEXT_CHARACTERS) for text in texts if text]
    render.marked(f"{kind}:", color, "; ".join(parts))
