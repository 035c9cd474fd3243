"""`pacos serve`: answer requests over HTTP; start and stop a server in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli.options import (
    Sectioned,
    groups_from,
    read_constraint_files,
    said,
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
    from pacos.server.said import Said

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
_OF_SERVER = {one.name for group in (ServeOptions, FetchOptions) for one in options_of(group)} - {"keep_alive_seconds"}
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
    asked = asked_for(given)
    run_server(brought_models(_names(given), asked), asked, background=given["background"])


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line, its variables, files and the user's settings say: how to serve and to get models, and of
    models.
    """

    serving: ServeOptions
    fetch: FetchOptions
    said: Said


def asked_for(given: dict[str, Any], **more: Any) -> Asked:
    """All that is said where these are a command's values; `more` is said of answers too. Errors: UsageError."""
    from pacos.cli import render
    from pacos.llm.chat import check_template
    from pacos.server.preset_file import read_preset_file
    from pacos.server.said import Said, check_sections
    from pacos.settings.habits import read_habits

    read_constraint_files(given)
    serving, fetch, *_ = groups_from(GROUPS, dict(given))
    values = said(GROUPS, given)
    of_models = {name: value for name, value in values.items() if name not in _OF_SERVER}
    if of_template := template_options(given):
        of_models["template_options"] = of_template
    if given["chat_template"] is not None:
        check_template(given["chat_template"])
        of_models["chat_template"] = given["chat_template"]
    sections = read_preset_file(Path(serving.models_preset)) if serving.models_preset else {}
    check_sections(sections)
    for name, section in sections.items():
        for note in section.notes:
            render.note(f"{serving.models_preset}: [{name}]: {note}")
    return Asked(serving, fetch, Said({**of_models, **more}, read_habits(), sections))


def _names(given: dict[str, Any]) -> list[str]:
    return [*given["models"], *([given["model_option"]] if given["model_option"] is not None else [])]


def brought_models(names: list[str], asked: Asked) -> list[str]:
    """The models as they can be opened; those that are not here are pulled if that is wanted, those of sections too.

    Errors: as `brought`.
    """
    from pacos.cli.missing import brought
    from pacos.server.model_file import name_and_place

    fetch = asked.fetch
    if fetch.hf_file and len(names) != 1:
        raise UsageError("--hf-file is given, and not exactly one model", hint="give --hf-repo org/name too")
    for name, section in asked.said.sections.items():
        if section.model or section.hf_file:
            brought(section.model or name, replace(fetch, pull=fetch.pull or section.pull, hf_file=section.hf_file))
    found = []
    for one in names:
        name, place = name_and_place(one)
        found.append(f"{name}={brought(place, fetch)}" if name else brought(place, fetch))
    return found


def run_server(names: list[str], asked: Asked, *, background: bool = False) -> None:
    """Serve the named models and those of files and folders. Errors: as `pacos.server.run.serve`."""
    import sys

    from pacos import log
    from pacos.server.access import logs_to
    from pacos.server.residency import Residency
    from pacos.server.run import serve
    from pacos.server.shelf import Shelf

    serving = asked.serving
    specs = specs_of(names, asked)
    log.warnings_to(None)
    logs_to(sys.stderr, serving.log_format)
    residency = Residency(
        specs,
        memory_bytes=int(serving.memory_limit * 1e9),
        models_max=serving.models_max,
        autoload=serving.models_autoload,
        keep_alive_seconds=serving.keep_alive_seconds,
        shelf=Shelf(asked.said) if serving.store else None,
    )
    code = serve(residency, serving, background=background)
    if code:
        sys.exit(code)


def specs_of(names: list[str], asked: Asked) -> list[ModelSpec]:
    """The models that are to be served. Errors: UsageError, ModelNotFound."""
    from pacos.server.model_file import check_names, read_model_file, read_models_folder, section_specs, spec_of
    from pacos.server.preset_file import EVERYWHERE
    from pacos.server.said import Said

    serving, said = asked.serving, asked.said
    from_file = read_model_file(Path(serving.models_file), Said(habits=said.habits)) if serving.models_file else []
    from_folder = read_models_folder(Path(serving.models_dir), said) if serving.models_dir else []
    if not (names or from_file or from_folder or said.sections.keys() - {EVERYWHERE}):
        names = [said.habits.of("").default_model or DEFAULT_MODEL]
    if serving.alias and len(names) != 1:
        raise UsageError("--alias is given, and not exactly one model", hint="use NAME=MODEL, or aliases in the file")
    named = [spec_of(name, said, aliases=serving.alias) for name in names]
    from_presets = section_specs(said, [*named, *from_folder])
    specs = [*named, *from_file, *from_folder, *from_presets]
    if specs == from_file and said.given:
        raise UsageError("options of a model have no effect on those of --models-file", hint="write them into the file")
    check_names(specs)
    return _within(serving.models_max, specs)


def _within(models_max: int, specs: list[ModelSpec]) -> list[ModelSpec]:
    """The models, of which no more are opened at the start than may be open; the others are when asked for."""
    ahead = [spec for spec in specs if spec.ahead]
    late = {spec.name for spec in ahead[models_max:]} if models_max else set()
    return [replace(spec, ahead=False) if spec.name in late else spec for spec in specs]


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
    asked = asked_for(given)
    brought_models(_names(given), asked)  # nobody can answer a question later
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
