"""`pacos`: find the command by its file's name, run it, and turn every error into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong option or argument, 3 the model file cannot be used, 4 not enough memory or disk,
70 a fault inside Pacos, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import signal
import sys

import click

import pacos.cli
from pacos.errors import PacosError

_PARTS = {"main", "render", "options"}  # modules here that are no commands
_COMMAND_ORDER = ("run", "chat", "show", "tokenize", "bench", "perplexity", "convert", "quantize")


class Commands(click.Group):
    """Load a command's module when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Names of the command files, the everyday ones first."""
        names = {found.name.replace("_", "-") for found in pkgutil.iter_modules(pacos.cli.__path__)} - _PARTS
        return [name for name in _COMMAND_ORDER if name in names] + sorted(names - set(_COMMAND_ORDER))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name; its module defines `command`."""
        if name not in self.list_commands(context):
            return None
        command: click.Command = importlib.import_module(f"pacos.cli.{name.replace('-', '_')}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their files' first lines, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(context)])

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest names for an unknown command."""
        name = arguments[0]
        if name not in self.list_commands(context) and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(context), 2)
            context.fail(f"no command {name!r}." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(context, arguments)


def _summary(name: str) -> str:
    found = importlib.util.find_spec(f"pacos.cli.{name}")
    get_source = getattr(found.loader, "get_source", None) if found is not None else None
    source = get_source(f"pacos.cli.{name}") if get_source is not None else ""
    first = str(source or "").partition("\n")[0].strip('"')
    text = first.partition(": ")[2]
    return text[:1].upper() + text[1:]


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong option, 3 unusable model file, 4 not enough memory or disk, "
    "70 internal fault, 130 stopped by Ctrl-C.",
)
@click.version_option(package_name="pacos", message="pacos %(version)s")
def pacos_group() -> None:
    """Run language models on the machine you have.

    Try:  pacos run "Tell me a story about a dragon."
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    if hasattr(signal, "SIGPIPE") and not arguments:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `pacos run | head` ends quietly
    try:
        code = pacos_group.main(args=arguments, prog_name="pacos", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_stopped())
    except PacosError as error:
        sys.exit(_report(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (MemoryError, OSError) as error:
        click.echo(f"error: {str(error) or 'out of memory'}", err=True)
        sys.exit(4 if isinstance(error, MemoryError) else 1)


def _stopped() -> int:
    click.echo("", err=True)
    return 130


def _report(error: PacosError) -> int:
    line = " ".join(f"error: {error.message}".split())
    click.echo(click.style("error: ", fg="red") + line.removeprefix("error: "), err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
    return error.exit_code
