"""`pacos create`: give a model a name with defaults of its own, from a Modelfile."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render
from pacos.cli.options import read_text_option


@click.command()
@click.argument("name")
@click.option("-f", "--file", default="Modelfile", show_default=True, metavar="FILE", help="The Modelfile; - is stdin.")
def command(name: str, file: str) -> None:
    """Give a model a name with default options, a system text, a template and first messages of its own.

    The file is in Ollama's Modelfile language: FROM, PARAMETER, SYSTEM, TEMPLATE, MESSAGE, LICENSE. FROM names a model
    in the store, or a file. Templates are in Jinja, the name of a built-in one, or Ollama's well-known ones.

    Example:  pacos create brief -f Modelfile
    """
    from pacos.hub.modelfile import entry_from, read_modelfile
    from pacos.hub.naming import create

    folder = Path.cwd() if file == "-" else Path(file).absolute().parent
    entry, notes = entry_from(name, read_modelfile(read_text_option(file, "--file")), folder)
    create(entry)
    for note in notes:
        render.warn(note)
    click.echo(f"{name} is {entry.model or entry.target}")
