"""`pacos serve`: answer requests over HTTP; start and stop a server in the background."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli.options import groups_from, with_options
from pacos.errors import UsageError
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, options_of
from pacos.settings.serve import ServeOptions

if TYPE_CHECKING:
    from pacos.server.model_file import ModelSpec

DEFAULT_MODEL = "storyteller"
RUN = "run"  # the subcommand that has no name on the command line


class _Serve(click.Group):
    """Run a server, unless the first word is the name of something to do with one in the background."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Send everything that is no subcommand to `run`, in our own words."""
        if not arguments or arguments[0] not in set(self.commands) - {RUN}:
            arguments = [RUN, *_ours(arguments)]
        return super().parse_args(context, arguments)

    def get_help(self, context: click.Context) -> str:
        """The help of the server itself, which names the subcommands."""
        with click.Context(self.commands[RUN], info_name=context.info_name, parent=context.parent) as inner:
            return self.commands[RUN].get_help(inner)


def _ours(arguments: list[str]) -> list[str]:
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


@click.group(cls=_Serve)
def command() -> None:
    """Serve models over HTTP."""


@command.command(RUN)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("-m", "--model", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("--chat-template", metavar="NAME|FILE", help="Use this chat template instead of the models' own.")
@with_options(ServeOptions, LoadOptions, SamplingOptions, GenerateOptions)
def run(**given: Any) -> None:
    """Serve models over HTTP until Ctrl-C or SIGTERM.

    MODEL is a GGUF file, a Hugging Face folder or a name, or NAME=MODEL to serve it under another name; without one,
    the bundled storyteller answers. Requests that run when the server is told to stop have 30 seconds to end.

    `pacos serve start|stop|status|logs` manage a server in the background.

    Example:  pacos serve storyteller --port 8080
    """
    serving, opening, *answering = groups_from((ServeOptions, LoadOptions, SamplingOptions, GenerateOptions), given)
    names = [*given["models"], *([given["model_option"]] if given["model_option"] is not None else [])]
    defaults = {
        one.name: value
        for group in answering
        for one in options_of(type(group))
        if (value := getattr(group, one.name)) != one.default
    }
    run_server(names, serving, opening, given["chat_template"], defaults)


def run_server(
    names: list[str],
    serving: ServeOptions,
    opening: LoadOptions,
    chat_template: str | None,
    defaults: Mapping[str, Any],
) -> None:
    """Serve the named models and those of the models file. Errors: as `pacos.server.run.serve`."""
    import sys

    from pacos import log
    from pacos.server.access import logs_to
    from pacos.server.residency import Residency
    from pacos.server.run import serve

    specs = specs_of(names, serving, opening, chat_template, defaults)
    log.warnings_to(None)
    logs_to(sys.stderr, serving.log_format)
    residency = Residency(
        specs, memory_bytes=int(serving.memory_limit * 1e9), keep_alive_seconds=serving.keep_alive_seconds
    )
    code = serve(residency, serving)
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
    from pacos.server.model_file import check_names, read_model_file, spec_of

    from_file = read_model_file(Path(serving.models_file)) if serving.models_file else []
    if not names and not from_file:
        names = [DEFAULT_MODEL]
    if serving.alias and len(names) != 1:
        raise UsageError("--alias is given, and not exactly one model", hint="use NAME=MODEL, or aliases in the file")
    if not names and (opening != LoadOptions() or chat_template is not None or defaults):
        raise UsageError("options of a model have no effect on those of --models-file", hint="write them into the file")
    specs = [
        spec_of(name, opening, aliases=serving.alias, chat_template=chat_template, defaults=defaults) for name in names
    ]
    check_names([*specs, *from_file])
    return [*specs, *from_file]
