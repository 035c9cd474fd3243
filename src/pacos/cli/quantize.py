"""`pacos quantize`: make a GGUF file smaller."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render
from pacos.cli.convert import check_output


@click.command()
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("type_name", metavar="TYPE")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(source: str, output: Path, type_name: str, force: bool) -> None:
    """Quantize a GGUF file, or a model by name, to TYPE.

    TYPE is F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M,
    Q6_K, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ2_M, IQ3_XXS, IQ3_XS, IQ3_S, IQ3_M, IQ4_XS, IQ4_NL, TQ1_0, TQ2_0,
    MXFP4_MOE, NVFP4 or Q1_0; some tensors get more bits, as in llama.cpp's mixes. IQ1 and IQ2 lose much: no importance
    matrix is used.

    Example:  pacos quantize model-f16.gguf model-q4.gguf Q4_K_M
    """
    from pacos.hub.names import resolve
    from pacos.hub.quantize import quantize_file

    path = resolve(source)
    check_output(output, force)
    with render.progress("quantizing", 1.0) as done:
        quantize_file(path, output, type_name.upper(), progress=done, replace=force)
    before, after = path.stat().st_size, output.stat().st_size
    click.echo(f"{output}: {render.size_text(after)} from {render.size_text(before)}", err=True)
