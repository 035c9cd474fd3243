"""`pacos convert`: a Hugging Face folder, or a model file from before GGUF, to one GGUF file."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import need_folder_of, only_these
from pacos.cli.split import size_bytes
from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.hub.convert import Conversion


@click.command()
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--outtype",
    metavar="TYPE",
    help="Type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, tq1_0, tq2_0, or auto (f16 where the "
    "first matrix is, else bf16). Default: f16 from a folder; from a file, and of quantized weights, those they have.",
)
@click.option(
    "--base",
    metavar="MODEL",
    help="The model that an adapter belongs to: a folder with config.json or a GGUF file. Default: the one it names.",
)
@click.option("--vocab-only", is_flag=True, help="Metadata and vocabulary alone; a folder then needs no weights.")
@click.option("--split-max-size", metavar="SIZE", help="Write parts of at most so many bytes of tensors, as 2G.")
@click.option("--split-max-tensors", type=click.IntRange(min=1), metavar="N", help="Write parts of at most N tensors.")
@click.option("--model-name", metavar="NAME", help="The model's name, general.name.")
@click.option("--metadata", metavar="FILE", help="JSON object of keys and values to add or replace.")
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=TYPE:VALUE",
    help="Add or replace a key; TYPE is int, float, bool, str or a type of GGUF such as u32; lists are JSON.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def command(model: str, output: Path, outtype: str | None, base: str | None, force: bool, **given: Any) -> None:
    """Convert a model to GGUF: a Hugging Face folder, a file of GGML, GGMF, GGJT or llama2.c, or the name of one.

    A folder of PEFT's with a LoRA adapter becomes an adapter file, of F32 by default.

    Vectors stay F32. `pacos quantize` makes smaller files from the result.

    Example:  pacos convert ./my-model my-model-f16.gguf --outtype f16
    """
    from pacos.hub.convert import conversion, convert
    from pacos.hub.names import resolve

    check_output(output, force)
    if (Path(model) / "adapter_config.json").is_file():
        only_these({"model", "output", "outtype", "base", "force"}, "for an adapter")
        _convert_adapter(Path(model), output, outtype, base, force)
        return
    if base is not None:
        raise UsageError(f"--base is for adapters, and {model} is none", hint="drop it")
    limits = _limits(given["split_max_size"], given["split_max_tensors"])
    path = resolve(model)
    about = _about(given["metadata"], given["overrides"], given["model_name"])
    vocab_only = bool(given["vocab_only"])
    if given["dry_run"]:
        with conversion(path, outtype, None, about, vocab_only=vocab_only) as made:
            _tell(made, output)
        return
    with render.progress("converting", 1.0) as done:
        size = convert(path, output, outtype, done, about, replace=force, vocab_only=vocab_only, **limits)
    click.echo(f"{output}: {render.size_text(size)}{' in parts' if any(limits.values()) else ''}", err=True)


def _limits(size: str | None, tensors: int | None) -> dict[str, int]:
    if size and tensors:
        raise UsageError("--split-max-size and --split-max-tensors are both given", hint="drop one of them")
    return {"max_bytes": size_bytes(size, "--split-max-size") if size else 0, "max_tensors": tensors or 0}


def _about(file: str | None, overrides: tuple[str, ...], name: str | None) -> dict[str, Any]:
    """Metadata from a file, single keys, and the name; what comes later wins."""
    from pacos.hub.edit import typed_value
    from pacos.hub.hf_files import read_json

    about = dict(read_json(Path(file))) if file is not None else {}
    for text in overrides:
        key, equals, rest = text.partition("=")
        kind, colon, value = rest.partition(":")
        if not key or not equals or not colon or not kind:
            raise UsageError(f"--override {text!a} is no KEY=TYPE:VALUE", hint="for example: general.license=str:mit")
        about[key] = typed_value(key, kind, value)
    return about | ({"general.name": name} if name is not None else {})


def _tell(made: Conversion, output: Path) -> None:
    """What would be written, by type."""
    weights, count = Counter[str](), Counter[str]()
    for one in made.tensors:
        weights[one.type] += math.prod(one.shape)
        count[one.type] += 1
    for kind, number in count.items():
        click.echo(f"{kind}: {number} tensors, {weights[kind]} weights")
    size = render.size_text(made.nbytes)
    click.echo(
        f"{output}: {len(made.metadata)} keys, {len(made.tensors)} tensors, {size} of tensors; nothing is written"
    )


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
    need_folder_of(output)
