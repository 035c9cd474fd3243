"""`pacos convert`: a Hugging Face folder, or a model file from before GGUF, to one GGUF file."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render
from pacos.errors import UsageError


@click.command()
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--outtype",
    metavar="TYPE",
    help="Type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0 or q5_1. Default: f16 from a folder, from a "
    "file the types that it has.",
)
@click.option(
    "--base",
    metavar="MODEL",
    help="The model that an adapter belongs to: a folder with config.json or a GGUF file. Default: the one it names.",
)
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(model: str, output: Path, outtype: str | None, base: str | None, force: bool) -> None:
    """Convert a model to GGUF: a Hugging Face folder, a file of GGML, GGMF, GGJT or llama2.c, or the name of one.

    A folder of PEFT's with a LoRA adapter becomes an adapter file, of F32 by default.

    Vectors stay F32. `pacos quantize` makes smaller files from the result.

    Example:  pacos convert ./my-model my-model-f16.gguf --outtype f16
    """
    from pacos.hub.convert import convert
    from pacos.hub.names import resolve

    check_output(output, force)
    if (Path(model) / "adapter_config.json").is_file():
        _convert_adapter(Path(model), output, outtype, base, force)
        return
    if base is not None:
        raise UsageError(f"--base is for adapters, and {model} is none", hint="drop it")
    path = resolve(model)
    check_output(output, force)
    with render.progress("converting", 1.0) as done:
        convert(path, output, outtype, progress=done, replace=force)
    click.echo(f"{output}: {render.size_text(output.stat().st_size)}", err=True)


def _convert_adapter(folder: Path, output: Path, outtype: str | None, base: str | None, force: bool) -> None:
    from pacos.hub.adapter_rows import base_at
    from pacos.hub.adapters import base_named_in, convert_adapter

    named = base or base_named_in(folder)
    if not named:
        raise UsageError(f"{folder} does not say which model it belongs to", hint="give it with --base MODEL")
    size = convert_adapter(folder, base_at(named), output, (outtype or "f32").upper(), replace=force)
    click.echo(f"{output}: {render.size_text(size)}", err=True)


def check_output(output: Path, force: bool) -> None:
    """Refuse to overwrite. Errors: UsageError when the output exists, or its folder does not."""
    if output.exists() and not force:
        raise UsageError(f"{output} exists", hint="give another name, or --force to replace it")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint="make it first")
