"""Which type each tensor of a quantized file gets: llama.cpp's mixes, as rules.

Source: llama.cpp, src/llama-quant.cpp (llama_tensor_get_type), without importance matrices and IQ types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pacos import quants
from pacos.errors import UsageError
from pacos.hub.file_types import FILE_TYPES
from pacos.types import TensorEntry

# The type that most matrices get.
_MOSTLY = {name: name[:4] if name.endswith(("_S", "_M", "_L")) else name for name in FILE_TYPES}
_FLOATS = ("F32", "F16", "BF16")
# Where rows are no whole number of blocks.
_SMALLER_BLOCKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_LAYER = re.compile(r"^blk\.(\d+)\.")
_LAYERS_70B = 80


@dataclass(frozen=True, slots=True)
class Mix:
    """The rules of one file type for one model."""

    file_type: str
    layers: int
    queries_per_key: int
    tied: bool  # the embedding is the output too

    @classmethod
    def of(cls, file_type: str, metadata: Mapping[str, Any], tensors: Mapping[str, TensorEntry]) -> Mix:
        """The mix for a model. Errors: UsageError for a file type that does not exist."""
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
        )

    def type_of(self, entry: TensorEntry) -> str:
        """The type of a tensor in the file."""
        if not _is_quantized(entry):
            return entry.type if entry.type in _FLOATS and len(entry.shape) > 1 else "F32"
        wanted = _MOSTLY[self.file_type]
        if wanted not in _FLOATS:
            wanted = self._mixed(entry, wanted)
        columns = entry.shape[-1]
        if columns % quants.block_format(wanted).block:
            wanted = _SMALLER_BLOCKS.get(wanted, "F16")
        return wanted if columns % quants.block_format(wanted).block == 0 else "F16"

    def _mixed(self, entry: TensorEntry, wanted: str) -> str:
        name = entry.name
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            whole = entry.shape[-1] % quants.block_format(wanted).block == 0
            return "Q6_K" if whole and wanted != "Q8_0" else "Q8_0"
        layer = _LAYER.match(name)
        if layer is None:
            return wanted
        part = name[layer.end() :]
        rule = _RULES.get(part.removesuffix(".weight"))
        chosen = rule(self, int(layer[1])) if rule else None
        return chosen or wanted

    def more_bits(self, layer: int) -> bool:
        """Whether the layer is among those whose errors cost most: the ends, and each third between."""
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2


def _is_quantized(entry: TensorEntry) -> bool:
    name = entry.name
    fixed = name.endswith("_norm.weight") or name in ("position_embd.weight", "token_types.weight")
    return len(entry.shape) > 1 and name.endswith(".weight") and not fixed and "ffn_gate_inp" not in name


def _largest(value: Any) -> int:
    values = value if isinstance(value, list) or hasattr(value, "tolist") else [value]
    return max((one for one in values if isinstance(one, int)), default=0)


def _attn_v(mix: Mix, layer: int) -> str | None:
    chosen = {
        "Q2_K": "Q4_K" if mix.queries_per_key >= 4 else "Q3_K",
        "Q3_K_M": "Q5_K" if layer < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if layer < 4 else None,
        "Q4_K_M": "Q6_K" if mix.more_bits(layer) else None,
        "Q5_K_M": "Q6_K" if mix.more_bits(layer) else None,
    }.get(mix.file_type)
    if mix.layers == _LAYERS_70B and mix.queries_per_key > 1:  # eight heads share these weights: bits are cheap here
        mostly = chosen or _MOSTLY[mix.file_type]
        return "Q5_K" if mostly in ("Q3_K", "Q4_K") else chosen
    return chosen


def _ffn_down(mix: Mix, layer: int) -> str | None:
    return {
        "Q2_K": "Q3_K",
        "Q3_K_M": "Q5_K" if layer < mix.layers // 16 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if layer < mix.layers // 8 else None,
        "Q4_K_M": "Q6_K" if mix.more_bits(layer) else None,
        "Q5_K_M": "Q6_K" if mix.more_bits(layer) else None,
    }.get(mix.file_type)


def _attn_output(mix: Mix, _: int) -> str | None:
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(mix.file_type)


def _attn_qkv(mix: Mix, _: int) -> str | None:
    return {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(mix.file_type)


_RULES = {"attn_v": _attn_v, "ffn_down": _ffn_down, "attn_output": _attn_output, "attn_qkv": _attn_qkv}
