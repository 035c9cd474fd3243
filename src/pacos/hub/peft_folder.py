"""Read PEFT's folders: pairs of matrices, modules saved whole and single tokens' rows, by GGUF's names.

All experts of a layer may share one pair (`target_parameters`): its A has a block of rows for each expert, its B a
column of each expert for each rank. Rows are as in the folder; hub/adapters.py turns them where the base wants it.
Source: PEFT's LoraConfig for scales; tuners/lora/layer.py, ParamWrapper, for experts; TrainableTokensLayer for tokens.
Shapes: r rank, N outputs, D inputs, X experts, V vocabulary, n tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import FormatError, ModelNotFound, UnsupportedModel
from pacos.formats.wording import shown
from pacos.hub.adapter_rows import BaseModel
from pacos.hub.hf_files import read_json
from pacos.hub.weights import read_weights
from pacos.lazy import need_numpy, np
from pacos.models.adapters import EMBEDDING, OUTPUT, Factor, Pair, in_memory

CONFIG_NAME = "adapter_config.json"
SCALE_MAX = 1e6
MERGE_HINT = "merge it into the model with PEFT, and use that"
PLAIN_TYPES = ("F32", "F16", "BF16")
_PREFIX = r"^(?:base_model\.model\.)?"
_PAIR = re.compile(
    _PREFIX + r"(?P<module>.+)\.lora_(?:embedding_)?(?P<half>[AB]|magnitude)(?:\.[A-Za-z0-9_-]+)?(?:\.weight)?$"
)
_MAGNITUDES = re.compile(r"\.lora_magnitude_vector(\.[A-Za-z0-9_-]+)?(\.weight)?$")
_TOKENS = re.compile(_PREFIX + r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.[A-Za-z0-9_-]+)?$")
_WHOLE = re.compile(
    _PREFIX
    + r"(?P<module>.+?)(?:\.modules_to_save(?:\.[A-Za-z0-9_-]+)?)?(?P<base>\.base_layer)?\.(?P<part>weight|bias)$"
)
_INNER = ".base_layer"  # a parameter's pair, inside that of another parameter of the same module
# Parameters of experts in the order in which their modules have them, that of PEFT's pairs from the inmost on.
_FUSED = ("gate_up_proj", "up_proj", "down_proj")
_MATRIX_AXES = 2
# What PEFT can do beside these, and the value under which it does not.
_REFUSED: tuple[tuple[str, Any], ...] = (("bias", "none"), ("lora_bias", False), ("alora_invocation_tokens", None))

Halves = Mapping[str, Any]


@dataclass(slots=True)
class Peft:
    """What a folder holds, by names of the base's tensors.

    `wholes` replace these, `copies` are the base's own, which PEFT saves beside a pair for an embedding.
    Shapes: tokens: numbers of n tokens, and their rows [n, D].
    """

    config: Mapping[str, Any]
    pairs: dict[str, Pair] = field(default_factory=dict)
    wholes: dict[str, Factor] = field(default_factory=dict)
    copies: dict[str, Factor] = field(default_factory=dict)
    tokens: dict[str, tuple[list[int], Any]] = field(default_factory=dict)


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a folder. Errors: UnsupportedModel for a kind of adapter that is not computed."""
    said = read_json(folder / CONFIG_NAME)
    if said.get("peft_type") != "LORA":
        kind = shown(said.get("peft_type"))
        raise UnsupportedModel(f"{folder}: an adapter of type {kind}", hint="supported: LORA")
    for key, harmless in _REFUSED:
        value = said.get(key)
        if value is not None and value != harmless and value != []:
            raise UnsupportedModel(f"{folder}: {key} is {shown(value)}, which is not supported", hint=MERGE_HINT)
    return said


def alpha_and_rank(said: Mapping[str, Any], module: str) -> tuple[float, int]:
    """What the config says of a module; alpha so that alpha over rank is the scale. Errors: FormatError."""
    alpha, rank = said.get("lora_alpha", 8), said.get("r", 8)
    for patterns, key in ((said.get("alpha_pattern"), "alpha"), (said.get("rank_pattern"), "rank")):
        for pattern, value in (patterns or {}).items():
            if module and re.match(rf"(.*\.)?({pattern})$", module):
                alpha, rank = (value, rank) if key == "alpha" else (alpha, value)
                break
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1 or not abs(alpha) <= SCALE_MAX:
        raise FormatError(f"{CONFIG_NAME}: lora_alpha is {shown(alpha)} and r is {shown(rank)}")
    return (alpha * math.sqrt(rank) if said.get("use_rslora") else float(alpha)), rank


def read_peft(folder: Path, base: BaseModel) -> Peft:
    """All that a folder holds. Errors: ModelNotFound, FormatError, UnsupportedModel for what is not computed."""
    need_numpy("an adapter in PEFT's form")
    found = Peft(read_config(folder))
    source = read_weights(folder)
    halves: dict[str, dict[str, Any]] = {}
    try:
        for name, entry in source.tensors.items():
            if entry.type not in PLAIN_TYPES:
                problem = f"{folder}: tensor '{name}' ({entry.type}) is no part of two matrices"
                raise UnsupportedModel(problem, hint=MERGE_HINT)
            values = quants.dequantize(entry.type, source.data(name), entry.shape)
            if (pair := _PAIR.match(_MAGNITUDES.sub(".lora_magnitude.weight", name))) is not None:
                halves.setdefault(pair["module"], {})[pair["half"]] = values
            elif (tokens := _TOKENS.match(name)) is not None:
                _take_tokens(found, folder, tokens["module"], values, base)
            else:
                _take_whole(found, folder, name, entry.type, values, base)
    finally:
        source.close()
    if not (halves or found.wholes or found.tokens):
        raise ModelNotFound(f"{folder}: there are no adapter's tensors")
    found.pairs = dict(_all_pairs(folder, halves, found.config, base))
    alone = next((name for name in found.copies if name not in found.pairs), None)
    if alone is not None:
        raise FormatError(f"{folder}: '{alone}' has a base_layer and no pair", hint="the file is incomplete")
    return found


# ---- what replaces the base's own ------------------------------------------------------------------------------------


def _take_tokens(found: Peft, folder: Path, module: str, values: Any, base: BaseModel) -> None:
    said = found.config.get("trainable_token_indices")
    if isinstance(said, dict):
        said = next((one for key, one in said.items() if module == key or module.endswith("." + key)), None)
    if not isinstance(said, list) or not all(isinstance(one, int) and one >= 0 for one in said):
        raise FormatError(f"{folder}: trainable_token_indices of '{module}' are {shown(said)}, needed: token numbers")
    if values.ndim != _MATRIX_AXES or len(values) != len(said) or len(set(said)) != len(said):
        raise FormatError(f"{folder}: '{module}' has rows {values.shape} for {len(said)} token numbers")
    for name, _, rows in base.rows_of(module, values, folder):
        if name not in (EMBEDDING, OUTPUT):
            raise UnsupportedModel(f"{folder}: '{module}' is no table of tokens", hint=MERGE_HINT)
        found.tokens[name] = said, rows


def _take_whole(found: Peft, folder: Path, name: str, kind: str, values: Any, base: BaseModel) -> None:
    match = _WHOLE.match(name)
    module = match["module"] if match is not None else name
    named = found.config.get("modules_to_save") or []
    saved = any(re.search(rf"(^|\.){re.escape(str(one))}(\.|$)", module) for one in named)
    rows = [] if match is None else base.tensors_of(f"{module}.{match['part']}", values, folder)
    ends = bool(rows) and all(target in (EMBEDDING, OUTPUT) for target, _, _ in rows)
    if match is None or not (saved or ends):
        raise UnsupportedModel(f"{folder}: tensor '{name}' is no part of two matrices", hint=MERGE_HINT)
    if not rows or any(expert is not None for _, expert, _ in rows):
        problem = f"{folder}: the adapter replaces '{module}', which {base.architecture} does not have as a matrix"
        raise UnsupportedModel(problem, hint=MERGE_HINT)
    for target, _, whole in rows:
        kept = Factor(whole.shape, kind, memoryview(quants.quantize(kind, np.ascontiguousarray(whole))))
        (found.copies if match["base"] else found.wholes)[target] = kept


# ---- pairs -----------------------------------------------------------------------------------------------------------


def _all_pairs(
    folder: Path, halves: Mapping[str, Halves], said: Mapping[str, Any], base: BaseModel
) -> Iterator[tuple[str, Pair]]:
    fused = _fused(folder, halves, said)
    swapped = [_is_swapped(one, base) for one in fused]
    for one in fused:
        yield from _pairs_of_stack(folder, one, said, base, swapped=True in swapped)
    taken = {one.key for one in fused}
    rest = {module: one for module, one in halves.items() if module not in taken}
    for module, halves_of in rest.items():
        _check_halves(folder, module, halves_of, dora=bool(said.get("use_dora")))
    yield from _stacked(folder, rest, said, base)


def _check_halves(folder: Path, module: str, one: Halves, *, dora: bool) -> None:
    """Errors: FormatError for what is missing or does not fit; UnsupportedModel for a convolution's."""
    hint = "the file is incomplete"
    if any(half.ndim > _MATRIX_AXES for half in one.values()):
        problem = f"{folder}: '{module}' is a convolution, and its adapter none of two matrices"
        raise UnsupportedModel(problem, hint=MERGE_HINT)
    if not {"A", "B"} <= set(one) or one["A"].ndim != _MATRIX_AXES or one["A"].shape[0] != one["B"].shape[-1]:
        raise FormatError(f"{folder}: '{module}' has no A and B that fit", hint=hint)
    if dora != ("magnitude" in one):
        found = "has no magnitudes" if dora else "has magnitudes"
        raise FormatError(f"{folder}: '{module}' {found}, use_dora is {dora}", hint=hint)
    if dora and one["magnitude"].size != one["B"].shape[0]:
        problem = f"{folder}: '{module}' has magnitudes of shape {one['magnitude'].shape}, B is {one['B'].shape}"
        raise FormatError(problem, hint=hint)


def _stacked(
    folder: Path, halves: Mapping[str, Halves], said: Mapping[str, Any], base: BaseModel
) -> Iterator[tuple[str, Pair]]:
    """Pairs in GGUF's names, those of experts in one."""
    stacks: dict[str, dict[int, tuple[Any, Any, float]]] = {}
    for module, one in halves.items():
        alpha, rank = alpha_and_rank(said, module)
        if rank != one["B"].shape[-1]:
            raise FormatError(f"{folder}: '{module}' is of rank {one['B'].shape[-1]}, {CONFIG_NAME} says {rank}")
        sizes = one.get("magnitude")
        both = one["B"] if sizes is None else np.concatenate([one["B"], sizes.reshape(-1, 1)], axis=1)
        for name, expert, rows in base.rows_of(module, both, folder):
            a, b = np.ascontiguousarray(one["A"].T) if name == EMBEDDING else one["A"], rows[:, :rank]
            if sizes is not None and (expert is not None or name == EMBEDDING):
                problem = f"{folder}: '{module}' has magnitudes (DoRA), which are computed for plain matrices alone"
                raise UnsupportedModel(problem, hint=MERGE_HINT)
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


# ---- all experts in one ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fused:
    """A parameter of a layer's experts. Shapes: a [X * r, D], b [N, r * X]."""

    key: str
    module: str
    parameter: str
    a: Any
    b: Any


def _fused(folder: Path, halves: Mapping[str, Halves], said: Mapping[str, Any]) -> list[_Fused]:
    """The pairs of parameters, each with the parameter that it belongs to: those of a module lie in each other.

    Errors: FormatError, UnsupportedModel for parameters that are no matrices of experts.
    """
    targets = [one for one in said.get("target_parameters") or [] if not str(one).endswith(".weight")]
    odd = [one for one in targets if str(one).rpartition(".")[2] not in _FUSED]
    if odd:
        problem = f"{folder}: target_parameters has {shown(odd[0])}, computed are {', '.join(_FUSED)}"
        raise UnsupportedModel(problem, hint=MERGE_HINT)
    by_module: dict[str, list[str]] = {}
    for key in sorted(halves, key=len, reverse=True):  # the inmost first
        by_module.setdefault(key.replace(_INNER, ""), []).append(key)
    found = []
    for module, keys in by_module.items():
        full = {one: f"{module}.{one}" for one in _FUSED}
        meant = [one for one, name in full.items() if any(f".{name}".endswith(f".{target}") for target in targets)]
        if not meant:
            continue
        if len(meant) != len(keys):
            problem = f"{folder}: '{module}' has {len(keys)} pairs for {', '.join(meant)} of target_parameters"
            raise FormatError(problem, hint="the file is incomplete")
        for key, parameter in zip(keys, meant, strict=True):
            one = halves[key]
            if set(one) != {"A", "B"} or any(half.ndim != _MATRIX_AXES for half in one.values()):
                raise FormatError(f"{folder}: '{module}.{parameter}' has no A and B that fit")
            found.append(_Fused(key, module, parameter, one["A"], one["B"]))
    return found


def _is_swapped(one: _Fused, base: BaseModel) -> bool:
    """Whether inputs and outputs have changed places, as PEFT of before 0.19 has them in some models."""
    width = base.metadata.get(f"{base.architecture}.embedding_length")
    inputs, outputs = one.a.shape[1], one.b.shape[0]
    model_width, other = (outputs, inputs) if one.parameter == "down_proj" else (inputs, outputs)
    return bool(model_width != width and other == width)


def _pairs_of_stack(
    folder: Path, one: _Fused, said: Mapping[str, Any], base: BaseModel, *, swapped: bool
) -> Iterator[tuple[str, Pair]]:
    name = f"{one.module}.{one.parameter}"
    experts = base.metadata.get(f"{base.architecture}.expert_count")
    alpha, rank = alpha_and_rank(said, name)
    if not isinstance(experts, int) or (one.a.shape[0], one.b.shape[1]) != (experts * rank, rank * experts):
        problem = f"{folder}: '{name}' has matrices {one.a.shape} and {one.b.shape}, needed: rank {rank} for each of"
        raise FormatError(f"{problem} {experts} experts", hint="is it an adapter of another model?")
    a = one.a.reshape(experts, rank, -1)  # [X, r, D]
    b = one.b.reshape(-1, rank, experts).transpose(2, 0, 1)  # [X, N, r]
    if swapped:
        a, b = b.swapaxes(1, 2), a.swapaxes(1, 2)
    for target, rows in base.stacks_of(name, b, folder):
        yield target, Pair(in_memory(a), in_memory(rows), alpha / rank)
