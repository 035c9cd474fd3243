"""`pacos split`: a GGUF file in parts."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pacos.cli import render
from pacos.errors import UsageError

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}


@click.command()
@click.argument("source")
@click.argument("prefix", type=click.Path(path_type=Path))
@click.option("--max-size", metavar="SIZE", help="Bytes of tensors in a part, as 500M or 2G.")
@click.option("--max-tensors", type=click.IntRange(min=1), help="Tensors in a part.")
@click.option("--force", is_flag=True, help="Replace parts that are there.")
def command(source: str, prefix: Path, max_size: str | None, max_tensors: int | None, force: bool) -> None:
    """Split a GGUF file, or a model by name, into PREFIX-00001-of-0000N.gguf and so on.

    Any part opens the whole model; llama.cpp reads them too. `pacos merge` joins them again.

    Example:  pacos split model.gguf parts/model --max-size 2G
    """
    from pacos.hub.names import resolve
    from pacos.hub.parts import split_file

    limit = size_bytes(max_size, "--max-size") if max_size else 0
    with render.progress("splitting", 1.0) as done:
        paths = split_file(
            resolve(source), prefix, max_bytes=limit, max_tensors=max_tensors or 0, replace=force, progress=done
        )
    for path in paths:
        click.echo(f"{path}: {render.size_text(path.stat().st_size)}")


def size_bytes(text: str, option: str) -> int:
    """The bytes of a text such as 2G. Errors: UsageError naming the option."""
    found = re.fullmatch(r"(\d{1,12})([KMG]?)B?", text.strip().upper())
    if found is None or int(found[1]) == 0:
        raise UsageError(f"{option} {text!a} is no size", hint="give bytes, or a number with K, M or G: 2G")
    return int(found[1]) * _UNITS[found[2]]
