"""`pacos gguf`: look at and change the metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pacos.cli import render
from pacos.errors import UsageError


@click.group()
def command() -> None:
    """Look at and change the metadata of a GGUF file.

    Example:  pacos gguf set model.gguf general.name "My model"
    """


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with types and whole lists.")
def dump(file: Path, as_json: bool) -> None:
    """Print every key with its type and value."""
    from pacos.formats.gguf import read_gguf
    from pacos.hub.describe import metadata_rows

    with read_gguf(file) as archive:
        if as_json:
            render.as_json(
                {
                    key: {"type": archive.value_types[key], "value": _plain(value)}
                    for key, value in archive.metadata.items()
                }
            )
            return
        rows = [(key, archive.value_types[key], value) for key, value in metadata_rows(archive)]
        render.table(("key", "type", "value"), [tuple(map(render.printable, row)) for row in rows])


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("key")
def get(file: Path, key: str) -> None:
    """Print one value; lists as JSON."""
    from pacos.formats.gguf import read_gguf

    with read_gguf(file) as archive:
        if key not in archive.metadata:
            raise UsageError(f"{file} has no key {key!a}", hint="`pacos gguf dump` lists the keys")
        value = _plain(archive.metadata[key])
        if isinstance(value, list):
            render.as_json(value)
        else:
            click.echo(value)


@command.command(name="set")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("key")
@click.argument("value")
@click.option("--type", "kind", default="", help="Type of the value, such as U32 or STRING. Default: the key's type.")
@click.option("--output", type=click.Path(path_type=Path), help="Write this file in place of changing FILE.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def set_key(file: Path, key: str, value: str, kind: str, output: Path | None, force: bool) -> None:
    """Set a key; lists are JSON. The file is written anew and takes the old one's place when it is whole."""
    _edit(file, {key: (kind, value)}, (), output, force)


@command.command(name="rm")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("key")
@click.option("--output", type=click.Path(path_type=Path), help="Write this file in place of changing FILE.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def remove_key(file: Path, key: str, output: Path | None, force: bool) -> None:
    """Remove a key."""
    _edit(file, {}, (key,), output, force)


def _plain(value: Any) -> Any:
    """A value of a file as JSON knows it."""
    return value if isinstance(value, (str, int, float)) else list(value)


def _edit(
    file: Path, changed: dict[str, tuple[str, str]], removed: tuple[str, ...], output: Path | None, force: bool
) -> None:
    from pacos.cli.convert import check_output
    from pacos.hub.edit import edit_metadata

    if output is not None:
        check_output(output, force)
    nbytes = edit_metadata(file, changed, removed, output, replace=force)
    click.echo(f"{output or file}: {render.size_text(nbytes)}", err=True)
