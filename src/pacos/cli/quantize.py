"""`pacos quantize`: make a GGUF file smaller."""

from __future__ import annotations

from pathlib import Path

import click

from pacos.cli import render
from pacos.cli.convert import check_output
from pacos.cli.other_flags import TakesOthers
from pacos.errors import UsageError


@click.command(cls=TakesOthers)
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("type_name", metavar="TYPE")
@click.option("--pure", is_flag=True, help="Give every matrix the one type, without a mix.")
@click.option("--leave-output-tensor", is_flag=True, help="Leave output.weight as it is.")
@click.option("--output-tensor-type", metavar="TYPE", help="Type of output.weight.")
@click.option("--token-embedding-type", metavar="TYPE", help="Type of token_embd.weight.")
@click.option(
    "--tensor-type",
    "tensor_types",
    multiple=True,
    metavar="PATTERN=TYPE",
    help="Type of the tensors in whose names the regular expression is found; the first that fits counts.",
)
@click.option("--threads", "-t", type=click.IntRange(min=0), default=0, help="Threads; 0: all processors, at most 8.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(
    source: str,
    output: Path,
    type_name: str,
    pure: bool,
    leave_output_tensor: bool,
    output_tensor_type: str | None,
    token_embedding_type: str | None,
    tensor_types: tuple[str, ...],
    threads: int,
    force: bool,
) -> None:
    """Quantize a GGUF file, or a model by name, to TYPE.

    TYPE is F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M,
    Q6_K, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ2_M, IQ3_XXS, IQ3_XS, IQ3_S, IQ3_M, IQ4_XS, IQ4_NL, TQ1_0, TQ2_0,
    MXFP4_MOE, NVFP4 or Q1_0; some tensors get more bits, as in llama.cpp's mixes. IQ1 and IQ2 lose much: no importance
    matrix is used.

    Example:  pacos quantize model-f16.gguf model-q4.gguf Q4_K_M
    """
    from pacos.hub.mixes import Wishes
    from pacos.hub.names import resolve
    from pacos.hub.quantize import quantize_file

    path = resolve(source)
    check_output(output, force)
    patterns = [_pattern(given) for given in tensor_types]
    patterns += [("^output\\.weight$", output_tensor_type)] if output_tensor_type else []
    patterns += [("^token_embd\\.weight$", token_embedding_type)] if token_embedding_type else []
    wishes = Wishes(pure, leave_output_tensor, tuple(patterns))
    with render.progress("quantizing", 1.0) as done:
        quantize_file(path, output, type_name.upper(), done, threads, replace=force, wishes=wishes)
    before, after = path.stat().st_size, output.stat().st_size
    click.echo(f"{output}: {render.size_text(after)} from {render.size_text(before)}", err=True)


def _pattern(given: str) -> tuple[str, str]:
    pattern, equals, kind = given.rpartition("=")
    if not pattern or not equals or not kind:
        raise UsageError(f"--tensor-type {given!a} is no PATTERN=TYPE", hint="for example: attn_v=Q6_K")
    return pattern, kind
