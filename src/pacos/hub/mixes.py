"""Which type each tensor of a quantized file gets: llama.cpp's mixes, as rules.

Source: llama.cpp, src/llama-quant.cpp (llama_tensor_get_type), without importance matrices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pacos import quants
from pacos.errors import UnsupportedModel, UsageError
from pacos.hub.file_types import FILE_TYPES
from pacos.types import TensorEntry

_NAMED_BY_SIZE = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S", "MXFP4_MOE": "MXFP4"}
# The type that most matrices get.
_MOSTLY = {name: _NAMED_BY_SIZE.get(name, re.sub(r"_K_[SML]$", "_K", name)) for name in FILE_TYPES}
_FLOATS = ("F32", "F16", "BF16")
# Where rows are no whole number of blocks.
_SMALLER_BLOCKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_SMALLER_BLOCKS |= {"TQ1_0": "Q4_0", "TQ2_0": "Q4_0"}
_SMALLER_BLOCKS |= dict.fromkeys("IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_XS".split(), "IQ4_NL")
# About two bits a weight: what costs most gets the next type, the embedding too.
_NEXT = dict.fromkeys(["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"], "Q2_K") | dict.fromkeys(["IQ2_S", "IQ2_M"], "IQ3_S")
_EMBEDDING = {**_NEXT, "IQ3_XXS": "IQ3_S", "TQ1_0": "Q4_K", "TQ2_0": "Q4_K"}
_LAYER = re.compile(r"^blk\.(\d+)\.")
# llama-quant.cpp, tensor_allows_quantization: norms, positions, biases of distances, routers, taps of short
# convolutions, RWKV's small ones.
_FLOAT_NAMES = re.compile(
    r"_norm\.weight$|^position_embd\.|attn_rel_b|^token_types\.|ffn_gate_inp|ssm_conv1d|shortconv\.conv"
    r"|time_mix_(first|lerp_fused|[wavg][0-2]|decay_w[12])\."
)
_LAYERS_70B = 80
_MATRIX_AXES = 2
_MANY_QUERIES = 4  # for each key head: then the values are few


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
    layers: int
    queries_per_key: int
    tied: bool  # the embedding is the output too
    wishes: Wishes = NO_WISHES

    @classmethod
    def of(
        cls,
        file_type: str,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, TensorEntry],
        wishes: Wishes = NO_WISHES,
    ) -> Mix:
        """The mix for a model. Errors: UsageError for a file type that does not exist, or a senseless wish."""
        wishes.check()
        if file_type not in FILE_TYPES:
            raise UsageError(f"no file type {file_type!a}", hint=f"types: {', '.join(FILE_TYPES)}")
        prefix = f"{metadata.get('general.architecture')}."
        heads, key_heads = (
            _largest(metadata.get(prefix + key)) for key in ("attention.head_count", "attention.head_count_kv")
        )
        numbers = [int(found[1]) for found in map(_LAYER.match, tensors) if found]
        return cls(
            file_type,
            max(numbers, default=-1) + 1,
            heads // key_heads if heads and key_heads else 1,
            "output.weight" not in tensors,
            wishes,
        )

    def type_of(self, entry: TensorEntry) -> str:
        """The type of a tensor in the file."""
        if not _is_quantized(entry):
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

    def _mixed(self, entry: TensorEntry, wanted: str) -> str:
        name = entry.name
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            if wanted in ("Q8_0", "MXFP4") or entry.shape[-1] % quants.block_format(wanted).block:
                return "Q8_0"
            return "Q5_K" if self.file_type in _NEXT or self.file_type == "IQ3_XXS" else "Q6_K"
        if wanted == "MXFP4":
            return wanted if len(entry.shape) > _MATRIX_AXES else "Q8_0"  # only experts are worth four bits
        if name == "token_embd.weight":
            return _EMBEDDING.get(self.file_type, wanted)
        layer = _LAYER.match(name)
        if layer is None:
            return wanted
        part = name[layer.end() :]
        rule = _RULES.get(re.sub("(_exps|_shexp)?.weight$", "", part))
        chosen = rule(self, int(layer[1])) if rule else None
        return chosen or wanted

    def more_bits(self, layer: int) -> bool:
        """Whether the layer is among those whose errors cost most: the ends, and each third between."""
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2


def stays_float(name: str) -> bool:
    """Whether a tensor is never quantized: norms, positions, and what is small beside its worth."""
    return not name.endswith(".weight") or bool(_FLOAT_NAMES.search(name))


def _is_quantized(entry: TensorEntry) -> bool:
    return len(entry.shape) > 1 and not stays_float(entry.name)


def _largest(value: Any) -> int:
    values = value if isinstance(value, list) or hasattr(value, "tolist") else [value]
    return max((one for one in values if isinstance(one, int)), default=0)


def _attn_v(mix: Mix, layer: int) -> str | None:
    many = mix.queries_per_key >= _MANY_QUERIES
    if mix.file_type in _NEXT:
        return "Q4_K" if many else _NEXT[mix.file_type]
    chosen = {
        "Q2_K": "Q4_K" if many else "Q3_K",
        "Q3_K_M": "Q5_K" if layer < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if layer < 4 else None,
        "Q4_K_M": "Q6_K" if mix.more_bits(layer) else None,
        "Q5_K_M": "Q6_K" if mix.more_bits(layer) else None,
        "IQ3_XXS": "Q4_K" if many else "IQ3_S",
        "IQ3_XS": "Q4_K" if many else None,
        "IQ3_S": "Q4_K" if many else None,
        "IQ3_M": "Q4_K",
        "IQ4_NL": "Q5_K" if many else None,
        "IQ4_XS": "Q5_K" if many else None,
    }.get(mix.file_type)
    if mix.layers == _LAYERS_70B and mix.queries_per_key > 1:  # eight heads share these weights: bits are cheap here
        mostly = chosen or _MOSTLY[mix.file_type]
        return "Q5_K" if mostly in ("Q3_K", "Q4_K") else chosen
    return chosen


def _ffn_down(mix: Mix, layer: int) -> str | None:
    early = layer < mix.layers // 8
    if mix.file_type in _NEXT:
        return _NEXT[mix.file_type] if early else None
    return {
        "Q2_K": "Q3_K",
        "Q3_K_M": "Q5_K" if layer < mix.layers // 16 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if early else None,
        "Q4_K_M": "Q6_K" if mix.more_bits(layer) else None,
        "Q5_K_M": "Q6_K" if mix.more_bits(layer) else None,
        "IQ3_XXS": "Q4_K" if early else "Q3_K",
        "IQ3_M": "Q4_K" if early else None,
        "IQ4_NL": "Q5_K" if early else None,
        "IQ4_XS": "Q5_K" if early else None,
    }.get(mix.file_type)


def _attn_output(mix: Mix, _: int) -> str | None:
    chosen = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_XXS": "IQ3_S", "IQ3_M": "Q4_K"}
    chosen |= {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}
    return chosen.get(mix.file_type)


def _attn_qkv(mix: Mix, layer: int) -> str | None:
    if mix.file_type in _NEXT:
        return _attn_v(mix, layer)
    chosen = {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K", "IQ3_M": "Q4_K"}
    return chosen.get(mix.file_type)


def _attn_q_or_k(mix: Mix, _: int) -> str | None:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix.file_type)


def _ffn_gate_or_up(mix: Mix, layer: int) -> str | None:
    middle = mix.layers // 8 <= layer < 7 * mix.layers // 8
    return "IQ3_XXS" if mix.file_type == "IQ3_XS" and middle else None


_RULES = {
    "attn_v": _attn_v,
    "attn_q": _attn_q_or_k,
    "attn_k": _attn_q_or_k,
    "attn_qkv": _attn_qkv,
    "attn_output": _attn_output,
    "ffn_down": _ffn_down,
    "ffn_gate": _ffn_gate_or_up,
    "ffn_up": _ffn_gate_or_up,
}
