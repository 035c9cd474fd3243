"""Open LoRA adapters for a model: GGUF files of llama.cpp's form, and PEFT's folders, which are turned into that form.

Source: llama.cpp's convert_lora_to_gguf.py for names, keys and the order of rows; PEFT's LoraConfig for the scales.
Shapes: r rank, N outputs, D inputs, X experts; A [r, D] and B [N, r], of experts [X, r, D] and [X, N, r].
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import FormatError, ModelNotFound, UnsupportedModel, UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_types import F32
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.formats.mapped import MappedArchive
from pacos.formats.wording import shown
from pacos.hub.adapter_rows import BaseModel, base_of
from pacos.hub.dora import parts
from pacos.hub.hf_files import read_json
from pacos.hub.weights import read_weights
from pacos.lazy import need_numpy, np
from pacos.log import logger
from pacos.models.adapters import EMBEDDING, Adapter, Factor, Pair, in_memory
from pacos.types import Archive

CONFIG_NAME = "adapter_config.json"
SCALE_MAX = 1e6
_PEFT_NAME = re.compile(
    r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?:embedding_)?(?P<half>[AB]|magnitude)(?:\.[A-Za-z0-9_-]+)?(?:\.weight)?$"
)
_MAGNITUDES = re.compile(r"\.lora_magnitude_vector(\.[A-Za-z0-9_-]+)?(\.weight)?$")
_SUFFIXES = (".lora_a", ".lora_b")
_MATRIX_AXES = 2
_PLAIN_TYPES = ("F32", "F16", "BF16")
# What PEFT can do beside two matrices, and the value under which it does not.
_REFUSED: tuple[tuple[str, Any], ...] = (
    ("bias", "none"),
    ("modules_to_save", None),
    ("trainable_token_indices", None),
    ("target_parameters", None),
    ("lora_bias", False),
    ("alora_invocation_tokens", None),
)


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
        found = dict(_peft_pairs(given, model))
        turned = found if model.halves else _turned(found, model, to_pairs=True)
        return Adapter(given, scale, {name: _reading(base, name, pair) for name, pair in turned.items()})
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
    if outtype not in (*_PLAIN_TYPES, "Q8_0"):
        raise UsageError(f"cannot convert an adapter to {outtype!a}", hint="types: F32, F16, BF16, Q8_0")
    need_numpy("convert")
    said = _read_config(folder)
    pairs = _turned(dict(_peft_pairs(folder, base)), base, to_pairs=True)
    alpha, _ = _alpha_and_rank(said, "")
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
    named = _read_config(folder).get("base_model_name_or_path")
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


# ---- PEFT ------------------------------------------------------------------------------------------------------------


def _read_config(folder: Path) -> dict[str, Any]:
    said = read_json(folder / CONFIG_NAME)
    if said.get("peft_type") != "LORA":
        kind = shown(said.get("peft_type"))
        raise UnsupportedModel(f"{folder}: an adapter of type {kind}", hint="supported: LORA")
    for key, harmless in _REFUSED:
        value = said.get(key)
        if value is not None and value != harmless and value != []:
            hint = "merge it into the model with PEFT, and use that"
            raise UnsupportedModel(f"{folder}: {key} is {shown(value)}, which is not supported", hint=hint)
    return said


def _alpha_and_rank(said: Mapping[str, Any], module: str) -> tuple[float, int]:
    """What the config says of a module; alpha so that alpha over rank is the scale."""
    alpha, rank = said.get("lora_alpha", 8), said.get("r", 8)
    for patterns, key in ((said.get("alpha_pattern"), "alpha"), (said.get("rank_pattern"), "rank")):
        for pattern, value in (patterns or {}).items():
            if module and re.match(rf"(.*\.)?({pattern})$", module):
                alpha, rank = (value, rank) if key == "alpha" else (alpha, value)
                break
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1 or not abs(alpha) <= SCALE_MAX:
        raise FormatError(f"{CONFIG_NAME}: lora_alpha is {shown(alpha)} and r is {shown(rank)}")
    return (alpha * math.sqrt(rank) if said.get("use_rslora") else float(alpha)), rank


def _peft_pairs(folder: Path, base: BaseModel) -> Iterator[tuple[str, Pair]]:
    """Pairs by GGUF's names, rows as in the folder."""
    need_numpy("an adapter in PEFT's form")
    said = _read_config(folder)
    source = read_weights(folder)
    try:
        halves: dict[str, dict[str, Any]] = {}
        for name, entry in source.tensors.items():
            found = _PEFT_NAME.match(_MAGNITUDES.sub(".lora_magnitude.weight", name))
            if found is None or entry.type not in _PLAIN_TYPES:
                hint = "merge it into the model with PEFT, and use that"
                raise UnsupportedModel(
                    f"{folder}: tensor '{name}' ({entry.type}) is no part of two matrices", hint=hint
                )
            values = quants.dequantize(entry.type, source.data(name), entry.shape)
            halves.setdefault(found["module"], {})[found["half"]] = values
        if not halves:
            raise ModelNotFound(f"{folder}: there are no adapter's tensors")
        for module, one in halves.items():
            _check_halves(folder, module, one, dora=bool(said.get("use_dora")))
        yield from _stacked(folder, halves, said, base)
    finally:
        source.close()


def _check_halves(folder: Path, module: str, one: Mapping[str, Any], *, dora: bool) -> None:
    """Errors: FormatError for what is missing or does not fit; UnsupportedModel for a convolution's."""
    hint = "the file is incomplete"
    if any(half.ndim > _MATRIX_AXES for half in one.values()):
        problem = f"{folder}: '{module}' is a convolution, and its adapter none of two matrices"
        raise UnsupportedModel(problem, hint="merge it into the model with PEFT, and use that")
    if not {"A", "B"} <= set(one) or one["A"].ndim != _MATRIX_AXES or one["A"].shape[0] != one["B"].shape[-1]:
        raise FormatError(f"{folder}: '{module}' has no A and B that fit", hint=hint)
    if dora != ("magnitude" in one):
        found = "has no magnitudes" if dora else "has magnitudes"
        raise FormatError(f"{folder}: '{module}' {found}, use_dora is {dora}", hint=hint)
    if dora and one["magnitude"].size != one["B"].shape[0]:
        problem = f"{folder}: '{module}' has magnitudes of shape {one['magnitude'].shape}, B is {one['B'].shape}"
        raise FormatError(problem, hint=hint)


def _stacked(
    folder: Path, halves: Mapping[str, Mapping[str, Any]], said: Mapping[str, Any], base: BaseModel
) -> Iterator[tuple[str, Pair]]:
    """Pairs in GGUF's names, those of experts in one."""
    stacks: dict[str, dict[int, tuple[Any, Any, float]]] = {}
    for module, one in halves.items():
        alpha, rank = _alpha_and_rank(said, module)
        if rank != one["B"].shape[-1]:
            raise FormatError(f"{folder}: '{module}' is of rank {one['B'].shape[-1]}, {CONFIG_NAME} says {rank}")
        sizes = one.get("magnitude")
        both = one["B"] if sizes is None else np.concatenate([one["B"], sizes.reshape(-1, 1)], axis=1)
        for name, expert, rows in base.rows_of(module, both, folder):
            a, b = np.ascontiguousarray(one["A"].T) if name == EMBEDDING else one["A"], rows[:, :rank]
            if sizes is not None and (expert is not None or name == EMBEDDING):
                problem = f"{folder}: '{module}' has magnitudes (DoRA), which are computed for plain matrices alone"
                raise UnsupportedModel(problem, hint="merge it into the model with PEFT, and use that")
            if expert is None:
                lengths = None if sizes is None else in_memory(rows[:, rank])
                yield name, Pair(in_memory(a), in_memory(b), alpha / rank, lengths)
            else:
                stacks.setdefault(name, {})[expert] = (a, b, alpha / rank)
    for name, by_expert in stacks.items():
        parts = [by_expert.get(expert) for expert in range(len(by_expert))]
        if None in parts or len({(one[0].shape, one[2]) for one in parts if one is not None}) != 1:
            raise FormatError(f"{folder}: the experts of '{name}' have not all a pair of one rank and scale")
        a, b = (np.stack([one[half] for one in parts if one is not None]) for half in (0, 1))
        yield name, Pair(in_memory(a), in_memory(b), next(iter(by_expert.values()))[2])


def _turned(pairs: Mapping[str, Pair], base: BaseModel, *, to_pairs: bool) -> dict[str, Pair]:
    """Pairs with the rows of queries and keys in the other order of rotary dimensions, where the family turns them."""
    found = dict(pairs)
    for name, pair in pairs.items():
        turn = base.turn(name, to_pairs=to_pairs)
        if turn is not None:
            b, lengths = (
                None if one is None else in_memory(turn(quants.dequantize(one.type, one.data, one.shape)))
                for one in (pair.b, pair.magnitudes)
            )
            found[name] = replace(pair, b=b or pair.b, magnitudes=lengths)
    return found
