"""`pacos export-lora`: a model with LoRA adapters merged into its weights."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render
from pacos.cli.convert import check_output


@click.command()
@click.argument("model")
@click.option("--lora", multiple=True, metavar="FILE", help="Adapter: a GGUF file or PEFT's folder; repeatable.")
@click.option(
    "--lora-scaled", multiple=True, metavar="FILE:SCALE", help="Adapter and how strongly it acts; repeatable."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new GGUF file.")
@click.option("--outtype", metavar="TYPE", help="Type of the tensors that change; default the one that each has.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(
    model: str, lora: tuple[str, ...], lora_scaled: tuple[str, ...], output: Path, outtype: str | None, force: bool
) -> None:
    """Merge LoRA adapters into a GGUF model.

    Quantized tensors are quantized again, which loses a little; merge into a model of F16 and quantize that where it
    matters. `pacos run MODEL --lora FILE` uses an adapter without merging.

    Example:  pacos export-lora model-q8_0.gguf --lora style.gguf --lora-scaled tone.gguf:0.5 -o merged.gguf
    """
    from pacos.hub.export_lora import export_lora
    from pacos.hub.names import resolve

    path = resolve(model)
    check_output(output, force)
    with render.progress("merging", 1.0) as done:
        size = export_lora(path, output, lora, lora_scaled, outtype, done, replace=force)
    click.echo(f"{output}: {render.size_text(size)}", err=True)
