"""Open LoRA adapters for a model: GGUF files of llama.cpp's form, and PEFT's folders, which are turned into that form.

Source: llama.cpp's convert_lora_to_gguf.py for names, keys and the order of rows; PEFT's LoraConfig for the scales.
Shapes: r rank, N outputs, D inputs, X experts; A [r, D] and B [N, r], of experts [X, r, D] and [X, N, r].
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pacos import quants
from pacos.errors import FormatError, UnsupportedModel, UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_types import F32
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.formats.mapped import MappedArchive
from pacos.formats.wording import shown
from pacos.hub.adapter_rows import BaseModel, base_of
from pacos.hub.dora import parts
from pacos.hub.peft_folder import PLAIN_TYPES, SCALE_MAX, alpha_and_rank, read_config, read_peft
from pacos.hub.replaced_rows import other_than_base, token_pairs
from pacos.lazy import need_numpy, np
from pacos.log import logger
from pacos.models.adapters import Adapter, Factor, Pair, in_memory
from pacos.types import Archive

_SUFFIXES = (".lora_a", ".lora_b")


def split_scale(text: str) -> tuple[str, float]:
    """Path and scale of FILE:SCALE. Errors: UsageError."""
    path, _, number = text.rpartition(":")
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not path or not abs(scale) <= SCALE_MAX:
        raise UsageError(f"lora_scaled is {shown(text)!r}", hint="use FILE:SCALE, such as style.gguf:0.5")
    return path, scale


def open_adapters(lora: Sequence[str], lora_scaled: Sequence[str], base: Archive) -> tuple[Adapter, ...]:
    """Open the adapters of a model in this order, the scaled ones last.

    Errors: as `open_adapter`, and UsageError for a text without a scale.
    """
    given = [*((path, 1.0) for path in lora), *map(split_scale, lora_scaled)]
    return tuple(open_adapter(path, base, scale) for path, scale in given)


def open_adapter(path: str | os.PathLike[str], base: Archive, scale: float = 1.0) -> Adapter:
    """Read an adapter, rows in the order that the base has them; it stays in memory, and no file stays open.

    Errors: ModelNotFound, FormatError, UnsupportedModel for a kind of adapter that is not computed.
    """
    given = Path(path).expanduser()
    model = base_of(base)
    if given.is_dir():
        found = read_peft(given, model)
        pairs = found.pairs | token_pairs(found, base)
        wholes = found.wholes | other_than_base(found, base)
        if not model.halves:
            pairs = _turned(pairs, model, to_pairs=True)
            wholes = {name: _turned_rows(one, model, name, to_pairs=True) for name, one in wholes.items()}
        return Adapter(given, scale, {name: _reading(base, name, pair) for name, pair in pairs.items()}, wholes)
    with read_gguf(given) as archive:
        pairs = _gguf_pairs(archive, model.architecture)
    return Adapter(given, scale, _turned(pairs, model, to_pairs=False) if model.halves else pairs)


def _reading(base: Archive, name: str, pair: Pair) -> Pair:
    return pair if pair.magnitudes is None else replace(pair, made=lambda: parts(base, name, pair))


def convert_adapter(
    folder: Path, base: BaseModel, output: str | os.PathLike[str], outtype: str = "F32", *, replace: bool = True
) -> int:
    """Write a PEFT folder as an adapter file, as llama.cpp reads it, and give its size in bytes.

    Errors: as `open_adapter`; UsageError for a type that adapters do not have.
    """
    if outtype not in (*PLAIN_TYPES, "Q8_0"):
        raise UsageError(f"cannot convert an adapter to {outtype!a}", hint="types: F32, F16, BF16, Q8_0")
    need_numpy("convert")
    found = read_peft(folder, base)
    said = found.config
    pairs = _turned(found.pairs, base, to_pairs=True)
    alpha, _ = alpha_and_rank(said, "")
    metadata = {
        "general.type": "adapter",
        "general.architecture": base.architecture,
        "general.name": folder.resolve().name,
        "adapter.type": "lora",
        "adapter.lora.alpha": F32(alpha),
    }
    if said.get("use_dora"):
        problem = f"{folder}: use_dora is True, and GGUF's adapters hold no magnitudes"
        raise UnsupportedModel(problem, hint="use the folder itself, or merge it with `pacos export-lora`")
    for kind, names in (("whole tensors", found.wholes), ("single tokens", found.tokens)):
        if names:
            problem = f"{folder}: it has {kind} ({', '.join(names)}), which GGUF's adapters do not hold"
            raise UnsupportedModel(problem, hint="use the folder itself, or merge it with `pacos export-lora`")
    tensors = []
    for name, pair in pairs.items():
        # One alpha serves all: what differs from it goes into B.
        more = pair.factor / (alpha / pair.rank) if alpha else pair.factor
        for half, ending, times in zip((pair.a, pair.b), _SUFFIXES, (1.0, more), strict=True):
            values = quants.dequantize(half.type, half.data, half.shape) * np.float32(times)
            kind = outtype if half.shape[-1] % quants.block_format(outtype).block == 0 else "F16"
            tensors.append(TensorData(name + ending, half.shape, kind, quants.quantize(kind, values)))
    return write_gguf(output, metadata, tensors, replace=replace)


def base_named_in(folder: Path) -> str:
    """The base model that a PEFT folder names, "" when it names none."""
    named = read_config(folder).get("base_model_name_or_path")
    return named if isinstance(named, str) else ""


# ---- GGUF ------------------------------------------------------------------------------------------------------------


def _gguf_pairs(archive: MappedArchive, architecture: str) -> dict[str, Pair]:
    metadata, where = archive.metadata, shown(archive.path)
    if metadata.get("general.type") != "adapter":
        found = metadata.get("general.type")
        what = f"general.type is {shown(found)}" if found is not None else "it is a model"
        raise FormatError(f"{where} is no adapter: {what}", hint="give an adapter's GGUF file or PEFT folder")
    if metadata.get("adapter.type") != "lora":
        raise UnsupportedModel(f"{where}: an adapter of type {shown(metadata.get('adapter.type'))}, supported: lora")
    if metadata.get("general.architecture") != architecture:
        problem = f"{where}: an adapter of {shown(metadata.get('general.architecture'))}, the model is {architecture}"
        raise FormatError(problem, hint="use an adapter that was made of this model")
    if "adapter.alora.invocation_tokens" in metadata:
        raise UnsupportedModel(f"{where}: the adapter acts from certain tokens on (aLoRA), which is not supported")
    alpha = metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, int | float) or not abs(alpha) <= SCALE_MAX:
        raise FormatError(f"{where}: adapter.lora.alpha is {shown(alpha)}")
    halves: dict[str, dict[str, Factor]] = {}
    for name, entry in archive.tensors.items():
        target, dot, half = name.rpartition(".")
        if dot + half not in _SUFFIXES:
            if name.endswith("_norm.weight"):
                logger(__name__).warning("%s: '%s' is ignored, as llama.cpp does", where, name)
                continue
            raise FormatError(f"{where}: tensor {shown(name)} is neither .lora_a nor .lora_b")
        halves.setdefault(target, {})[half] = Factor(entry.shape, entry.type, memoryview(bytes(archive.data(name))))
    if not halves:
        raise FormatError(f"{where}: the adapter has no tensors")
    found = {}
    for target, one in halves.items():
        if len(one) != len(_SUFFIXES):
            raise FormatError(f"{where}: '{target}' has {', '.join(one)} alone", hint="the file is incomplete")
        a, b = one["lora_a"], one["lora_b"]
        rank = b.shape[-1]
        found[target] = Pair(a, b, alpha / rank if alpha else 1.0)
    return found


# ---- rows in the base's order ----------------------------------------------------------------------------------------


def _turned(pairs: Mapping[str, Pair], base: BaseModel, *, to_pairs: bool) -> dict[str, Pair]:
    """Pairs with the rows of queries and keys in the other order of rotary dimensions, where the family turns them."""
    found = {}
    for name, pair in pairs.items():
        lengths = None if pair.magnitudes is None else _turned_rows(pair.magnitudes, base, name, to_pairs=to_pairs)
        found[name] = replace(pair, b=_turned_rows(pair.b, base, name, to_pairs=to_pairs), magnitudes=lengths)
    return found


def _turned_rows(one: Factor, base: BaseModel, name: str, *, to_pairs: bool) -> Factor:
    turn = base.turn(name, to_pairs=to_pairs)
    return one if turn is None else in_memory(turn(quants.dequantize(one.type, one.data, one.shape)))
