"""`pacos merge`: the parts of a split GGUF model as one file."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render
from pacos.cli.convert import check_output


@click.command()
@click.argument("part")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(part: str, output: Path, force: bool) -> None:
    """Join the parts of a split model, of which any one is given.

    Example:  pacos merge parts/model-00001-of-00003.gguf model.gguf
    """
    from pacos.hub.names import resolve
    from pacos.hub.parts import merge_file

    check_output(output, force)
    with render.progress("merging", 1.0) as done:
        nbytes = merge_file(resolve(part), output, replace=force, progress=done)
    click.echo(f"{output}: {render.size_text(nbytes)}", err=True)
