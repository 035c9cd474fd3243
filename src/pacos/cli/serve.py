"""`pacos serve`: answer requests over HTTP; start and stop a server in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli.options import (
    Sectioned,
    groups_from,
    read_constraint_files,
    template_options,
    with_chat_template,
    with_constraint_files,
    with_options,
)
from pacos.errors import UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, options_of
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.fetch import FetchOptions
from pacos.settings.serve import ServeOptions

if TYPE_CHECKING:
    from pacos.server.model_file import ModelSpec

DEFAULT_MODEL = "storyteller"
GROUPS = (
    ServeOptions,
    FetchOptions,
    LoadOptions,
    SamplingOptions,
    GenerateOptions,
    ConstraintOptions,
    ReasoningOptions,
)
START = "start"
RUN = "run"  # the subcommand that has no name on the command line


class _Serve(click.Group):
    """Run a server, unless the first word is the name of something to do with one in the background."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Send everything that is no subcommand to `run`, in our own words."""
        if not arguments or arguments[0] not in set(self.commands) - {RUN}:
            arguments = [RUN, *ours(arguments)]
        elif arguments[0] == START:
            arguments = [START, *ours(arguments[1:])]
        return super().parse_args(context, arguments)

    def get_help(self, context: click.Context) -> str:
        """The help of the server itself, which names the subcommands."""
        with click.Context(self.commands[RUN], info_name=context.info_name, parent=context.parent) as inner:
            return self.commands[RUN].get_help(inner)


def ours(arguments: list[str]) -> list[str]:
    """The arguments with llama-server's replaced by ours; says what of them changes nothing."""
    import os

    from pacos.cli import render
    from pacos.server.llama_flags import translated

    found, notes = translated(arguments, os.environ)
    for note in notes:
        render.note(note)
    return found


def llama_server() -> None:
    """`pacos-server`: `pacos serve` under a name and with arguments as llama-server's."""
    import sys

    from pacos.cli.main import main

    main(["serve", *sys.argv[1:]])


def with_answers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a server and of its models' answers."""
    return with_chat_template(with_constraint_files(with_options(*GROUPS)(function)))


@click.group(cls=_Serve)
def command() -> None:
    """Serve models over HTTP."""


@command.command(RUN, cls=Sectioned)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("-m", "--model", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("--background", is_flag=True, hidden=True)
@with_answers
def run(**given: Any) -> None:
    """Serve models over HTTP until Ctrl-C or SIGTERM.

    MODEL is a GGUF file, a Hugging Face folder or a name, or NAME=MODEL to serve it under another name; without one,
    the bundled storyteller answers. Requests that run when the server is told to stop have 30 seconds to end.

    `pacos serve start|stop|status|logs` manage a server in the background.

    Example:  pacos serve storyteller --port 8080
    """
    serving, fetch, opening, defaults = groups_of(given)
    run_server(
        brought_models(_names(given), fetch),
        serving,
        opening,
        given["chat_template"],
        defaults,
        background=given["background"],
    )


def groups_of(given: dict[str, Any]) -> tuple[ServeOptions, FetchOptions, LoadOptions, dict[str, Any]]:
    """How to serve, to get and to open models, and what was said of answers, for requests that say nothing of them.

    Errors: UsageError.
    """
    read_constraint_files(given)
    serving, fetch, opening, *answering = groups_from(GROUPS, given)
    found = {
        one.name: value
        for group in answering
        for one in options_of(type(group))
        if (value := getattr(group, one.name)) != one.default
    }
    if of_template := template_options(given):
        found["template_options"] = of_template
    return serving, fetch, opening, found


def _names(given: dict[str, Any]) -> list[str]:
    return [*given["models"], *([given["model_option"]] if given["model_option"] is not None else [])]


def brought_models(names: list[str], fetch: FetchOptions) -> list[str]:
    """The models as they can be opened; those that are not here are pulled if that is wanted. Errors: as `brought`."""
    from pacos.cli.missing import brought
    from pacos.server.model_file import name_and_place

    if fetch.hf_file and len(names) != 1:
        raise UsageError("--hf-file is given, and not exactly one model", hint="give --hf-repo org/name too")
    found = []
    for one in names:
        name, place = name_and_place(one)
        found.append(f"{name}={brought(place, fetch)}" if name else brought(place, fetch))
    return found


def run_server(
    names: list[str],
    serving: ServeOptions,
    opening: LoadOptions,
    chat_template: str | None,
    defaults: Mapping[str, Any],
    *,
    background: bool = False,
) -> None:
    """Serve the named models and those of the models file. Errors: as `pacos.server.run.serve`."""
    import sys

    from pacos import log
    from pacos.server.access import logs_to
    from pacos.server.residency import Residency
    from pacos.server.run import serve
    from pacos.server.shelf import Shelf

    specs = specs_of(names, serving, opening, chat_template, defaults)
    log.warnings_to(None)
    logs_to(sys.stderr, serving.log_format)
    residency = Residency(
        specs,
        memory_bytes=int(serving.memory_limit * 1e9),
        keep_alive_seconds=serving.keep_alive_seconds,
        shelf=Shelf(opening, defaults) if serving.store else None,
    )
    code = serve(residency, serving, background=background)
    if code:
        sys.exit(code)


def specs_of(
    names: list[str],
    serving: ServeOptions,
    opening: LoadOptions,
    chat_template: str | None,
    defaults: Mapping[str, Any],
) -> list[ModelSpec]:
    """The models that are to be served. Errors: UsageError, ModelNotFound."""
    from pacos.server.model_file import check_names, read_model_file, read_models_folder, spec_of

    said: dict[str, Any] = {"chat_template": chat_template, "defaults": defaults}
    from_file = read_model_file(Path(serving.models_file)) if serving.models_file else []
    folder = Path(serving.models_dir)
    from_folder = read_models_folder(folder, opening, **said) if serving.models_dir else []
    if not names and not from_file and not from_folder:
        names = [DEFAULT_MODEL]
    if serving.alias and len(names) != 1:
        raise UsageError("--alias is given, and not exactly one model", hint="use NAME=MODEL, or aliases in the file")
    if not names and not from_folder and (opening != LoadOptions() or chat_template is not None or defaults):
        raise UsageError("options of a model have no effect on those of --models-file", hint="write them into the file")
    specs = [*(spec_of(name, opening, aliases=serving.alias, **said) for name in names), *from_file, *from_folder]
    check_names(specs)
    return specs


@command.command(START, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--wait", default=60.0, show_default=True, metavar="SECONDS", help="How long it may take to listen.")
@click.pass_context
def start(context: click.Context, wait: float) -> None:
    """Start a server in the background; it takes every argument of `pacos serve`.

    Example:  pacos serve start -m storyteller --port 8080
    """
    from pacos.server import background

    arguments = list(context.args)
    given = run.make_context(RUN, list(arguments)).params  # what cannot be read is said here, not in a log
    _, fetch, _, _ = groups_of(given)
    brought_models(_names(given), fetch)  # nobody can answer a question later
    found = background.start(arguments, wait)
    click.echo(f"serving at {found.url} (pid {found.pid}); the log is {background.log_path()}")


@command.command("stop")
@click.option("--wait", default=40.0, show_default=True, metavar="SECONDS", help="How long it may take to end.")
@click.option("--kill", is_flag=True, help="End it by force when it does not end in that time.")
def stop(wait: float, kill: bool) -> None:
    """Stop the server in the background: what runs has time to end."""
    from pacos.server import background

    found = background.stop(wait, kill=kill)
    click.echo("no server is running" if found is None else f"the server (pid {found.pid}) has ended")


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Tell whether a server runs in the background; the exit code is 1 when none does."""
    import sys

    from pacos.cli import render
    from pacos.server import background

    found = background.running()
    if as_json:
        render.as_json({"running": False} if found is None else {"running": True, "pid": found.pid, "url": found.url})
    else:
        click.echo("no server is running" if found is None else f"serving at {found.url} (pid {found.pid})")
    if found is None:
        sys.exit(1)


@command.command("logs")
@click.option("-n", "--lines", default=200, show_default=True, metavar="N", help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
def logs(lines: int, follow: bool) -> None:
    """Print the log of the server in the background."""
    import time
    from collections import deque

    from pacos.server import background

    try:
        with background.log_path().open(encoding="utf-8", errors="replace") as file:
            for line in deque(file, maxlen=max(0, lines)):
                click.echo(line, nl=False)
            while follow:
                if line := file.readline():
                    click.echo(line, nl=False)
                else:
                    time.sleep(0.2)
    except FileNotFoundError:
        raise UsageError("there is no log", hint="`pacos serve start` makes one") from None
