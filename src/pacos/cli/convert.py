"""`pacos convert`: a Hugging Face folder, or a model file from before GGUF, to one GGUF file."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render


@click.command()
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--outtype",
    metavar="TYPE",
    help="Type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0 or q5_1. Default: f16 from a folder, from a "
    "file the types that it has.",
)
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(model: str, output: Path, outtype: str | None, force: bool) -> None:
    """Convert a model to GGUF: a Hugging Face folder, a file of GGML, GGMF, GGJT or llama2.c, or the name of one.

    Vectors stay F32. `pacos quantize` makes smaller files from the result.

    Example:  pacos convert ./my-model my-model-f16.gguf --outtype f16
    """
    from pacos.hub.convert import convert
    from pacos.hub.names import resolve

    path = resolve(model)
    check_output(output, force)
    with render.progress("converting", 1.0) as done:
        convert(path, output, outtype, progress=done, replace=force)
    click.echo(f"{output}: {render.size_text(output.stat().st_size)}", err=True)


def check_output(output: Path, force: bool) -> None:
    """Refuse to overwrite. Errors: UsageError when the output exists, or its folder does not."""
    from pacos.errors import UsageError

    if output.exists() and not force:
        raise UsageError(f"{output} exists", hint="give another name, or --force to replace it")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint="make it first")
