"""`pacos convert`: a Hugging Face folder to one GGUF file."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--outtype",
    default="f16",
    show_default=True,
    metavar="TYPE",
    help="Type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0 or q5_1.",
)
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(folder: Path, output: Path, outtype: str, force: bool) -> None:
    """Convert a Hugging Face folder (config.json, safetensors, tokenizer.json) to GGUF.

    Vectors stay F32. `pacos quantize` makes smaller files from the result.

    Example:  pacos convert ./my-model my-model-f16.gguf --outtype f16
    """
    from pacos.hub.convert import convert

    check_output(output, force)
    with render.progress("converting", 1.0) as done:
        convert(folder, output, outtype.upper(), progress=done, replace=force)
    click.echo(f"{output}: {render.size_text(output.stat().st_size)}", err=True)


def check_output(output: Path, force: bool) -> None:
    """Refuse to overwrite. Errors: UsageError when the output exists, or its folder does not."""
    from pacos.errors import UsageError

    if output.exists() and not force:
        raise UsageError(f"{output} exists", hint="give another name, or --force to replace it")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint="make it first")
