"""Which type each tensor of a quantized file gets: llama.cpp's mixes. The rules themselves are in mix_rules.py.

Source: llama.cpp, src/llama-quant.cpp (llama_tensor_get_type).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pacos import quants
from pacos.errors import UnsupportedModel, UsageError
from pacos.hub.file_types import FILE_TYPES
from pacos.hub.mix_rules import ABOUT_TWO_BITS, RULES, Place
from pacos.types import TensorEntry

_NAMED_BY_SIZE = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S", "MXFP4_MOE": "MXFP4"}
# The type that most matrices get.
_MOSTLY = {name: _NAMED_BY_SIZE.get(name, re.sub(r"_K_[SML]$", "_K", name)) for name in FILE_TYPES}
_FLOATS = ("F32", "F16", "BF16")
# Where rows are no whole number of blocks.
_SMALLER_BLOCKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_SMALLER_BLOCKS |= dict.fromkeys(["Q2_0", "TQ1_0", "TQ2_0"], "Q4_0")
_SMALLER_BLOCKS |= dict.fromkeys("IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_XS".split(), "IQ4_NL")
_EMBEDDING = dict.fromkeys(["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"], "Q2_K")
_EMBEDDING |= dict.fromkeys(["IQ2_S", "IQ2_M", "IQ3_XXS"], "IQ3_S")
_EMBEDDING |= dict.fromkeys(["Q2_0", "TQ1_0", "TQ2_0"], "Q4_K")
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_OUTPUT = "output.weight"
_LAYER = re.compile(r"^blk\.(\d+)\.")
# llama-quant.cpp, tensor_allows_quantization: norms, positions, biases of distances, routers, taps of short
# convolutions, small ones.
_FLOAT_NAMES = re.compile(
    r"_norm\.weight|^position_embd\.|attn_rel_b|^token_types\.|ffn_gate_inp|ssm_conv1d|shortconv\.conv|altup|laurel"
    r"|per_layer_model_proj|time_mix_(first|lerp_fused|[wavg][0-2]|decay_w[12])\."
)
# The kinds of tensors that rules tell apart: the first whose name is found. Queries, keys and values in one matrix, and
# the one that keys and values of latent attention come from, are like values.
_KINDS = {
    **dict.fromkeys(("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"), "attn_v"),
    **{f"attn_{name}.weight": f"attn_{name}" for name in ("k", "q", "output")},
    **{name: name for name in ("ffn_up", "ffn_gate", "ffn_down")},
}
_NEEDS_IMPORTANCE = {"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"}
_LAYERS_70B = {"llama": 80, "qwen2": 80, "olmo": 80, "deci": 80, "jais2": 68}
_MATRIX_AXES = 2


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person wants otherwise than a mix has it; of several `patterns` that a name holds the first counts.

    `pure` gives every matrix the mix's own type, `keep_output` leaves the output as it is. Types are ggml's names.
    """

    pure: bool = False
    keep_output: bool = False
    patterns: tuple[tuple[str, str], ...] = ()

    def check(self) -> None:
        """Errors: UsageError for a pattern that is no regular expression, or a type that does not exist."""
        for pattern, kind in self.patterns:
            try:
                re.compile(pattern)
                quants.block_format(kind)
            except (re.error, UnsupportedModel) as error:
                raise UsageError(f"{pattern}={kind}: {error}", hint="for example: attn_v=Q6_K") from None

    def type_of(self, entry: TensorEntry) -> str | None:
        """The type that is wanted for a tensor, or None."""
        if self.keep_output and entry.name == "output.weight":
            return entry.type
        return next((kind.upper() for pattern, kind in self.patterns if re.search(pattern, entry.name)), None)


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class Mix:
    """The rules of one file type for one model."""

    file_type: str
    model: Place  # what the rules ask of the model; the place of a tensor is filled in for each
    tied: bool  # the embedding is the output too
    places: Mapping[str, tuple[int, int]]  # by tensor: the how manyth of its kind, and of how many
    importance: bool = False
    wishes: Wishes = field(default=NO_WISHES)

    @classmethod
    def of(
        cls,
        file_type: str,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, TensorEntry],
        wishes: Wishes = NO_WISHES,
        *,
        importance: bool = False,
    ) -> Mix:
        """The mix for a model, with an importance matrix or without.

        Errors: UsageError for a file type that does not exist, a senseless wish, or one for no tensor.
        """
        wishes.check()
        if file_type not in FILE_TYPES:
            raise UsageError(f"no file type {file_type!a}", hint=f"types: {', '.join(FILE_TYPES)}")
        for pattern, kind in wishes.patterns:
            if not any(re.search(pattern, name) for name in tensors):
                hint = "`pacos show MODEL --tensors` lists the names"
                raise UsageError(f"{pattern}={kind}: no tensor of the model has such a name", hint=hint)
        architecture = str(metadata.get("general.architecture"))
        heads, key_heads, experts = (
            _first(metadata.get(f"{architecture}.{key}"))
            for key in ("attention.head_count", "attention.head_count_kv", "expert_count")
        )
        layers = max((int(found[1]) for found in map(_LAYER.match, tensors) if found), default=-1) + 1
        named = _first(metadata.get(f"{architecture}.block_count")) or layers
        model = Place(
            file_type=file_type,
            queries_per_key=heads // key_heads if key_heads else 0,
            experts=experts,
            falcon=architecture == "falcon",
            like_70b=named == _LAYERS_70B.get(architecture) and (architecture != "llama" or heads != key_heads),
            importance=importance,
        )
        places = _places(tensors, named, by_name=experts > 1)
        return cls(file_type, model, _OUTPUT not in tensors, places, importance, wishes)

    def type_of(self, entry: TensorEntry) -> str:
        """The type of a tensor in the file."""
        if not is_quantized(entry):
            return entry.type if entry.type in _FLOATS and len(entry.shape) > 1 else "F32"
        wanted = _MOSTLY[self.file_type]
        wished = self.wishes.type_of(entry)
        if wished is not None:
            wanted = wished
        elif wanted not in _FLOATS and not self.wishes.pure:
            wanted = self._mixed(entry, wanted)
        columns = entry.shape[-1]
        if columns % quants.block_format(wanted).block:
            wanted = _SMALLER_BLOCKS.get(wanted, "F16")
        return wanted if columns % quants.block_format(wanted).block == 0 else "F16"

    def needs_importance(self, entry: TensorEntry) -> bool:
        """Whether the tensor would be garbage without an importance matrix."""
        kind = self.type_of(entry)
        needs = kind in _NEEDS_IMPORTANCE or (self.file_type == "Q2_K_S" and kind == "Q2_K")
        return needs and is_quantized(entry) and entry.name not in (*_EMBEDDINGS, _OUTPUT)

    def _mixed(self, entry: TensorEntry, wanted: str) -> str:
        name = entry.name
        if name == _OUTPUT or (self.tied and name in _EMBEDDINGS):
            if wanted in ("Q8_0", "MXFP4") or self.model.falcon or entry.shape[-1] % quants.block_format(wanted).block:
                return "Q8_0"
            return "Q5_K" if self.file_type in ABOUT_TWO_BITS or self.file_type == "IQ3_XXS" else "Q6_K"
        if wanted == "MXFP4":
            return wanted if len(entry.shape) > _MATRIX_AXES else "Q8_0"  # only experts are worth four bits
        if name in _EMBEDDINGS:
            return _EMBEDDING.get(self.file_type, wanted)
        kind = kind_of(name)
        if kind not in RULES:
            return wanted
        index, count = self.places.get(name, (0, 1))
        return RULES[kind](self.model.at(index, count, wanted)) or wanted


def _places(tensors: Mapping[str, TensorEntry], layers: int, *, by_name: bool) -> dict[str, tuple[int, int]]:
    """Number the tensors of each kind; `by_name`: those of feed-forward layers by the layer in their names."""
    kinds = {name: kind_of(name) for name in sorted(tensors, key=lambda name: (_layer_of(name), name))}
    counts = Counter(kinds.values())
    seen: Counter[str] = Counter()
    found: dict[str, tuple[int, int]] = {}
    for name, kind in kinds.items():
        if not kind or not is_quantized(tensors[name]):
            continue
        feeds = kind.startswith("ffn")
        found[name] = (_layer_of(name) if feeds and by_name else seen[kind], layers if feeds else counts[kind])
        seen[kind] += 1
    return found


def _layer_of(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def kind_of(name: str) -> str:
    """The kind of tensor that rules are made for, or nothing."""
    return next((kind for part, kind in _KINDS.items() if part in name), "")


def stays_float(name: str) -> bool:
    """Whether a tensor is never quantized: norms, positions, and what is small beside its worth."""
    return not name.endswith(".weight") or bool(_FLOAT_NAMES.search(name))


def is_quantized(entry: TensorEntry) -> bool:
    """Whether a tensor is a matrix that may be quantized."""
    return len(entry.shape) > 1 and not stays_float(entry.name)


def _first(value: Any) -> int:
    """A number, or of one number a layer the first."""
    values = value if isinstance(value, list) or hasattr(value, "tolist") else [value]
    return next((one for one in values if isinstance(one, int)), 0)
