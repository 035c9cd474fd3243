"""Rows that say which tensor of a Hugging Face folder is which of a GGUF file, and what is done to it on the way.

A family lists its rows in its own file, most of them with the builders below. Several rows may name one Hugging Face
tensor (fused queries, keys and values that GGUF keeps apart); a row with `{e}` stacks one tensor an expert.
Source: Hugging Face modeling files; llama.cpp's gguf-py/gguf/tensor_mapping.py and conversion scripts.
Shapes: N rows of a tensor, D columns, E experts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pacos.lazy import np

Array = Any
Config = Mapping[str, Any]
Sizes = tuple[int, ...]

# Rows of rotary halves in the folder that lie as pairs in GGUF files: of query heads, or of key heads.
QUERIES, KEYS = "queries", "keys"
# Vectors, also where each head has its own; they are f32 wherever they lie.
NORM_ENDING = ("_norm.weight", "_norm.bias")


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a tensor: to its shape, and to its values, both by the config.

    Values come as they are stored, cells of 2 or 4 bytes, when the change only moves them; else as f32. One that takes
    whole parts along an `axis` works on rows of blocks too, if that is not the last.
    """

    name: str
    shape: Callable[[Sizes, Config], Sizes]
    values: Callable[[Array, Config], Array]
    moves: bool = True
    axis: int | None = None

    def __repr__(self) -> str:
        return self.name


def _swapped(shape: Sizes, _: Config) -> Sizes:
    return (*shape[:-2], *reversed(shape[-2:]))


# [in, out] becomes [out, in], also of each matrix of a stack; vectors stay.
TRANSPOSE = Change("transpose", _swapped, lambda x, _: x.swapaxes(-1, -2) if x.ndim > 1 else x)
PLUS_ONE = Change("plus one", lambda shape, _: shape, lambda x, _: x + np.float32(1), moves=False)


def mapped(name: str, values: Callable[[Array, Config], Array]) -> Change:
    """A change of f32 values one by one, as `-exp(x)`."""
    return Change(name, lambda shape, _: shape, values, moves=False)


def reshaped(name: str, shape: Callable[[Sizes, Config], Sizes]) -> Change:
    """The same values in another shape."""
    return Change(name, shape, lambda x, config: x.reshape(shape(x.shape, config)))


def picked(name: str, ranges: Callable[[int, Config], Sequence[range]]) -> Change:
    """Some of the rows, in a new order; `ranges` is told how many there are."""

    def values(x: Array, config: Config) -> Array:
        parts = [x[one.start : one.stop : one.step] for one in ranges(x.shape[0], config)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def shape(shape: Sizes, config: Config) -> Sizes:
        return (sum(map(len, ranges(shape[0], config))), *shape[1:])

    return Change(name, shape, values, axis=0)


def part(index: int, count: int, axis: int = 0) -> Change:
    """One of so many equal parts along an axis: gate or up of both in one, or queries, keys or values."""

    def shape(shape: Sizes, _: Config) -> Sizes:
        return (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])

    def values(x: Array, _: Config) -> Array:
        size = x.shape[axis] // count
        return x[(slice(None),) * axis + (slice(index * size, (index + 1) * size),)]

    return Change(f"part {index} of {count}", shape, values, axis=axis)


Counts = Callable[[Config], tuple[int, int]]


def split_heads(index: int, counts: Counts) -> Change:
    """Queries (0), keys (1) or values (2) of a matrix that holds all queries, then all keys, then all values.

    `counts` says how many query and key heads there are.
    """

    def ranges(rows: int, config: Config) -> Sequence[range]:
        heads, key_heads = counts(config)
        width = rows // (heads + 2 * key_heads)
        ends = (0, heads * width, (heads + key_heads) * width, rows)
        return (range(ends[index], ends[index + 1]),)

    return picked(f"heads {index}", ranges)


def split_groups(index: int, counts: Counts) -> Change:
    """Queries (0), keys (1) or values (2) of a matrix in which each key head follows the queries that share it."""
    return picked(f"groups {index}", lambda rows, config: _groups(rows, *counts(config))[index])


def gathered_groups(counts: Counts) -> Change:
    """All queries, then all keys, then all values, of a matrix as that of `split_groups`."""
    return picked("gathered", lambda rows, config: [one for part in _groups(rows, *counts(config)) for one in part])


def _groups(rows: int, heads: int, key_heads: int) -> tuple[list[range], list[range], list[range]]:
    share = heads // key_heads
    width = rows // (heads + 2 * key_heads)
    starts = [group * (share + 2) * width for group in range(key_heads)]
    return (
        [range(start, start + share * width) for start in starts],
        [range(start + share * width, start + (share + 1) * width) for start in starts],
        [range(start + (share + 1) * width, start + (share + 2) * width) for start in starts],
    )


@dataclass(frozen=True, slots=True)
class TensorName:
    """One tensor: `{i}` stands for the layer, `{e}` for the expert whose matrix is one of a stack.

    Hugging Face names are without their leading "model." or the like. `changes` happen whenever a folder is opened,
    `rotary` rows move when it is converted. `place` is that in a stack of tensors whose names have no numbers.
    """

    gguf: str
    hf: str
    changes: tuple[Change, ...] = ()
    rotary: str = ""
    place: int | None = None

    def shape(self, shape: Sizes, config: Config) -> Sizes:
        """The shape after the changes."""
        for change in self.changes:
            shape = change.shape(shape, config)
        return shape

    @property
    def moves(self) -> bool:
        """Whether changes leave every value as it is."""
        return all(change.moves for change in self.changes)

    def keeps_rows(self, axes: int) -> bool:
        """Whether changes only pick and move whole rows of a tensor of so many axes."""
        return all(change.axis is not None and change.axis < axes - 1 for change in self.changes)


Names = tuple[TensorName, ...]


def changed(names: Iterable[TensorName], change: Change, ending: str) -> Names:
    """The rows with one more change where the Hugging Face name has that ending."""
    return tuple(replace(one, changes=(*one.changes, change)) if one.hf.endswith(ending) else one for one in names)


def without(names: Iterable[TensorName], *gguf: str) -> Names:
    """The rows but those of some GGUF names."""
    return tuple(one for one in names if one.gguf not in gguf)


def pair(gguf: str, hf: str, *changes: Change, rotary: str = "") -> Names:
    """A weight and its bias."""
    return tuple(TensorName(f"{gguf}.{kind}", f"{hf}.{kind}", changes, rotary) for kind in ("weight", "bias"))


def layer_pair(gguf: str, hf: str, *changes: Change, at: str = "layers.{i}", rotary: str = "") -> Names:
    """A weight and its bias in each layer."""
    return pair(f"blk.{{i}}.{gguf}", f"{at}.{hf}", *changes, rotary=rotary)


def in_layers(at: str = "layers.{i}", /, **names: str) -> Names:
    """Weights and their biases in each layer: GGUF name = Hugging Face name."""
    return tuple(one for gguf, hf in names.items() for one in layer_pair(gguf, hf, at=at))


def outside(**names: str) -> Names:
    """Weights and their biases outside of layers: GGUF name = Hugging Face name."""
    return tuple(one for gguf, hf in names.items() for one in pair(gguf, hf))


# ---- what most decoders share ----------------------------------------------------------------------------------------

ENDS = outside(token_embd="embed_tokens", output_norm="norm", output="lm_head")
TWO_NORMS = in_layers(attn_norm="input_layernorm", ffn_norm="post_attention_layernorm")
FOUR_NORMS = in_layers(
    attn_norm="input_layernorm",
    post_attention_norm="post_attention_layernorm",
    ffn_norm="pre_feedforward_layernorm",
    post_ffw_norm="post_feedforward_layernorm",
)
HEAD_NORMS = in_layers(attn_q_norm="self_attn.q_norm", attn_k_norm="self_attn.k_norm")
_VALUES = in_layers(attn_v="self_attn.v_proj", attn_output="self_attn.o_proj")
ATTENTION = (*in_layers(attn_q="self_attn.q_proj", attn_k="self_attn.k_proj"), *_VALUES)
# The same where GGUF files have the rows of queries and keys as rotary pairs.
PAIRED_ATTENTION = (
    *layer_pair("attn_q", "self_attn.q_proj", rotary=QUERIES),
    *layer_pair("attn_k", "self_attn.k_proj", rotary=KEYS),
    *_VALUES,
)
GATED = in_layers(ffn_gate="mlp.gate_proj", ffn_up="mlp.up_proj", ffn_down="mlp.down_proj")


# ---- finding a row ---------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(?<![^.])(0|[1-9]\d{0,3})(?![^.])")
_PLACE = re.compile(r"\{([ie])\}")


@dataclass(frozen=True, slots=True)
class Found:
    """A row with its layer filled in, and which of a stack this is, mostly an expert's matrix."""

    name: TensorName
    expert: int | None


class NameTable:
    """Rows by Hugging Face name."""

    def __init__(self, names: Iterable[TensorName], prefixes: Sequence[str]) -> None:
        self._prefixes = prefixes
        self._rows: dict[str, list[TensorName]] = {}
        for one in names:
            self._rows.setdefault(_NUMBER.sub("#", _PLACE.sub("#", one.hf)), []).append(one)

    def find(self, name: str) -> list[Found]:
        """The rows of a tensor that a file calls `name`; none when it is not known."""
        for prefix in self._prefixes:
            name = name.removeprefix(prefix)
        found = []
        for row in self._rows.get(_NUMBER.sub("#", name), ()):
            numbers = dict(zip(_places(row.hf), _NUMBER.findall(name), strict=True))
            filled = row.hf
            for place, number in numbers.items():
                filled = filled.replace(f"{{{place}}}", number)
            if filled != name:  # a number that the row spells out is another one here
                continue
            gguf = row.gguf.replace("{i}", numbers.get("i", ""))
            expert = int(numbers["e"]) if "e" in numbers else row.place
            found.append(Found(replace(row, gguf=gguf, hf=name), expert))
        return found


def _places(hf: str) -> list[str]:
    """What each number of a name stands for; a number that is spelled out stands for itself."""
    return [match[1] or match[0] for match in re.finditer(r"\{([ie])\}|(?<![^.])\d+(?![^.])", hf)]
