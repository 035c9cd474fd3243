"""`pacos quantize`: make a GGUF file smaller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.convert import check_output
from pacos.cli.options import read_text_option
from pacos.cli.other_flags import TakesOthers
from pacos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacos.formats.gguf_types import TypedValue
    from pacos.hub.guide import Guide
    from pacos.hub.mixes import Wishes
    from pacos.hub.quantize import Changes

_TRUTHS = {"true": True, "false": False}


@click.command(cls=TakesOthers)
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path), required=False, metavar="OUTPUT")
@click.argument("type_name", metavar="TYPE", required=False)
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
@click.option(
    "--tensor-type-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file of such PATTERN=TYPE, apart by spaces or lines; those of --tensor-type come first.",
)
@click.option(
    "--imatrix", type=click.Path(path_type=Path), metavar="FILE", help="Importance matrix, from `pacos imatrix`."
)
@click.option(
    "--include-weights", "include", multiple=True, metavar="TEXT", help="Use it for tensors with this in their names."
)
@click.option(
    "--exclude-weights", "exclude", multiple=True, metavar="TEXT", help="Do not use it for tensors with this."
)
@click.option("--prune-layers", metavar="N,N,...", help="Leave out layers.")
@click.option(
    "--override-kv", "overrides", multiple=True, metavar="KEY=TYPE:VALUE", help="Set a key: int, float, bool or str."
)
@click.option("--keep-split", is_flag=True, help="Write as many parts as the source has.")
@click.option("--dry-run", is_flag=True, help="Only tell types and sizes; OUTPUT may be left out.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print one JSON object.")
@click.option("--threads", "-t", type=click.IntRange(min=0), default=0, help="Threads; 0: all processors, at most 8.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(source: str, output: Path | None, type_name: str | None, **given: Any) -> None:
    """Quantize a GGUF file, or a model by name, to TYPE.

    TYPE is F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S,
    Q5_K_M, Q6_K, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ2_M, IQ3_XXS, IQ3_XS, IQ3_S, IQ3_M, IQ4_XS, IQ4_NL, TQ1_0,
    TQ2_0, MXFP4_MOE, NVFP4, Q1_0 or Q2_0; some tensors get more bits, as in llama.cpp's mixes. Q2_K_S, IQ3_XXS and all
    IQ1 and IQ2 need --imatrix. Blocks of Q8_0, TQ, MXFP4, NVFP4, Q1_0 and Q2_0 are the same with it and without.

    Example:  pacos quantize model-f16.gguf model-q4.gguf Q4_K_M --imatrix model.imatrix.gguf
    """
    from pacos.hub.names import resolve
    from pacos.hub.quantize import quantize_file

    if type_name is None and given["dry_run"] and output is not None:
        output, type_name = None, str(output)
    if type_name is None or (output is None and not given["dry_run"]):
        raise UsageError("SOURCE, OUTPUT and TYPE are needed", hint="for example: model-f16.gguf model-q4.gguf Q4_K_M")
    if given["as_json"] and not given["dry_run"]:
        raise UsageError("--json goes with --dry-run only", hint="drop it")
    path = resolve(source)
    wishes, guide, changes = _wishes(given), _guide(given), _changes(given)
    if given["dry_run"] or output is None:
        _tell(path, type_name.upper(), wishes, guide, changes, given["as_json"])
        return
    check_output(output, given["force"])
    with render.progress("quantizing", 1.0) as done:
        after = quantize_file(
            *(path, output, type_name.upper(), done, given["threads"]),
            replace=given["force"],
            wishes=wishes,
            guide=guide,
            changes=changes,
        )
    sizes = _sizes_of(path)
    shown = str(output)
    if given["keep_split"] and len(sizes) > 1:
        count = _kept_parts(path, type_name, changes)
        shown = f"{output.stem}-*.gguf, {count} part{'s' if count != 1 else ''}"
    click.echo(f"{shown}: {render.size_text(after)} from {render.size_text(sum(sizes))}", err=True)


def _sizes_of(path: Path) -> list[int]:
    """Bytes of each part of a model."""
    from pacos.formats.gguf import read_gguf

    with read_gguf(path) as archive:
        return [part.stat().st_size for part in archive.parts]


def _kept_parts(path: Path, type_name: str, changes: Changes) -> int:
    """How many parts have a tensor left."""
    from pacos.formats.gguf import read_gguf
    from pacos.hub.quantize import plan_tensors

    with read_gguf(path) as archive:
        return len({one.entry.part for one in plan_tensors(archive, type_name, pruned=changes.pruned)})


def _wishes(given: dict[str, Any]) -> Wishes:
    from pacos.hub.mixes import Wishes

    texts = list(given["tensor_types"])
    if given["tensor_type_file"]:
        texts += read_text_option(str(given["tensor_type_file"]), "--tensor-type-file").split()
    patterns = [_pattern(text) for text in texts]
    for tensor, name in (("output", "output_tensor_type"), ("token_embd", "token_embedding_type")):
        patterns += [(f"^{tensor}\\.weight$", given[name])] if given[name] else []
    return Wishes(given["pure"], given["leave_output_tensor"], tuple(patterns))


def _guide(given: dict[str, Any]) -> Guide | None:
    from pacos.hub.guide import Guide

    if given["imatrix"] is None:
        if given["include"] or given["exclude"]:
            raise UsageError("--include-weights and --exclude-weights go with --imatrix", hint="give its FILE")
        return None
    if given["include"] and given["exclude"]:
        raise UsageError("--include-weights and --exclude-weights exclude each other", hint="give one of them")
    return Guide.read(given["imatrix"], given["include"], given["exclude"])


def _changes(given: dict[str, Any]) -> Changes:
    from pacos.hub.quantize import Changes

    words = [word.strip() for word in (given["prune_layers"] or "").split(",") if word.strip()]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"--prune-layers {given['prune_layers']!a} is no list such as 3,7", hint="layers count from 0")
    overrides = dict(_override(text) for text in given["overrides"])
    return Changes(frozenset(map(int, words)), overrides, given["keep_split"])


def _override(given: str) -> tuple[str, TypedValue]:
    from pacos.formats.gguf_types import TypedValue

    key, _, rest = given.partition("=")
    kind, _, text = rest.partition(":")
    readers: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "bool": _TRUTHS.__getitem__}
    try:
        value = readers[kind](text)
        if not key:
            raise ValueError
    except (KeyError, ValueError):
        problem = f"--override-kv {given!a} is no KEY=TYPE:VALUE"
        raise UsageError(problem, hint="TYPE is int, float, bool or str: llama.context_length=int:4096") from None
    integer = "U32" if kind == "int" and value >= 0 else "I32"
    return key, TypedValue({"float": "F32", "bool": "BOOL", "str": "STRING"}.get(kind, integer), value)


def _tell(path: Path, file_type: str, wishes: Wishes, guide: Guide | None, changes: Changes, as_json: bool) -> None:
    """Types and sizes that the new file would have."""
    from math import prod

    from pacos.hub.quantize import open_gguf, plan_tensors

    with open_gguf(path) as archive:
        planned = plan_tensors(archive, file_type, wishes, guide, changes.pruned)
        weights = sum(prod(one.entry.shape) for one in planned)
        before, after = sum(one.entry.nbytes for one in planned), sum(one.nbytes for one in planned)
        missing = [one.entry.name for one in planned if one.missing]
        if as_json:
            tensors = [
                {"name": one.name, "from": one.entry.type, "type": one.type, "bytes": one.nbytes} for one in planned
            ]
            totals = {"bytes_before": before, "bytes": after, "bits_per_weight": 8 * after / max(1, weights)}
            render.as_json({"type": file_type, **totals, "needs_imatrix": missing, "tensors": tensors})
            return
        kinds = sorted({one.type for one in planned})
        rows = []
        for kind in kinds:
            mine = [one for one in planned if one.type == kind]
            rows.append((kind, len(mine), render.size_text(sum(one.nbytes for one in mine))))
        render.table(("type", "tensors", "size"), rows)
        bits = [8 * size / max(1, weights) for size in (before, after)]
        click.echo(
            f"{render.size_text(before)} ({bits[0]:.2f} bits per weight) -> "
            f"{render.size_text(after)} ({bits[1]:.2f} bits per weight)"
        )
        if missing:
            render.warn(f"{file_type} needs an importance matrix (--imatrix) for {len(missing)} tensors")


def _pattern(given: str) -> tuple[str, str]:
    pattern, equals, kind = given.rpartition("=")
    if not pattern or not equals or not kind:
        raise UsageError(f"--tensor-type {given!a} is no PATTERN=TYPE", hint="for example: attn_v=Q6_K")
    return pattern, kind
