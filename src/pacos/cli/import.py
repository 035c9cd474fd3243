"""`pacos import`: use models that are on this disk already."""

from __future__ import annotations

from dataclasses import replace

import click

from pacos.cli import render
from pacos.errors import UsageError


@click.command()
@click.argument("path")
@click.option("-a", "--alias", metavar="NAME", help="The name that it gets; default the file's name.")
@click.option("--copy", is_flag=True, help="Copy the files into the store.")
@click.option("--link", "--symlink", is_flag=True, help="Use the files where they are (the default).")
@click.option("--force", is_flag=True, help="Replace what has the name.")
@click.option("--json", "as_json", is_flag=True, help="Print what was imported as JSON.")
def command(path: str, alias: str | None, copy: bool, link: bool, force: bool, as_json: bool) -> None:
    """Give a name to a model file or folder, or to all models of another program's cache.

    PATH is a GGUF file, a Hugging Face folder, the model folder of Ollama, LM Studio or Hugging Face, or one of the
    words ollama, lm-studio and huggingface for the folder where that program keeps its models. Nothing is moved.

    Example:  pacos import ./model.gguf --alias mine
    """
    from pacos.hub.bring_in import found_at, keep

    if copy and link:
        raise UsageError("--copy and --link are both given", hint="drop one of them")
    entries, notes = found_at(path)
    if alias is not None and len(entries) != 1:
        raise UsageError(f"--alias is given, for {len(entries)} models", hint="`pacos alias NAME MODEL` names one")
    for note in notes:
        render.warn(note)
    if alias is not None:
        entries = [replace(entries[0], name=alias)]
    kept, failed = [], None
    for entry in entries:
        try:
            kept.append(keep(entry, copy=copy, replace_it=force)[0])
        except UsageError as error:  # of a whole cache the others are imported
            if len(entries) == 1:
                raise
            failed = error
            render.warn(f"{error.message}; {error.hint}")
    if as_json:
        render.as_json([{"name": entry.name, "path": str(entry.target)} for entry in kept])
    else:
        for entry in kept:
            click.echo(f"{render.printable(entry.name)}  {render.printable(str(entry.target))}")
    if failed is not None and not kept:
        raise failed
