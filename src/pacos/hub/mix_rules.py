"""Which tensors of a mix get another type than most, by their kind and their place in the model.

A rule gives the type, or None for the one that most get.
Source: llama.cpp, src/llama-quant.cpp (llama_tensor_get_type_impl).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

# About two bits a weight: what costs most gets the next type.
ABOUT_TWO_BITS = dict.fromkeys(["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"], "Q2_K")
ABOUT_TWO_BITS |= dict.fromkeys(["IQ2_S", "IQ2_M"], "IQ3_S")
_MANY_QUERIES = 4  # for each key head: then the values are few
_FEW_EXPERTS = 8  # as Mixtral has: attention is small beside them
_OF_EIGHT = "Q2_K IQ3_XS IQ3_XXS Q3_K_S Q3_K_M IQ4_NL Q4_K_S Q4_K_M IQ3_S IQ3_M IQ4_XS".split()


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's place, number `index` of `count` of its kind, in a model; `mostly` is the type that most get."""

    file_type: str
    queries_per_key: int
    experts: int
    falcon: bool
    like_70b: bool
    importance: bool
    index: int = 0
    count: int = 1
    mostly: str = ""

    def at(self, index: int, count: int, mostly: str) -> Place:
        """The same model, another tensor."""
        return replace(self, index=index, count=count, mostly=mostly)

    @property
    def many(self) -> bool:
        """Whether many query heads share the values."""
        return self.queries_per_key >= _MANY_QUERIES

    @property
    def few_experts(self) -> bool:
        """Whether it is of Mixtral's kind."""
        return self.experts == _FEW_EXPERTS

    @property
    def early(self) -> bool:
        """Whether it is in the first eighth."""
        return self.index < self.count // 8

    @property
    def costly(self) -> bool:
        """Whether it is among those whose errors cost most: the ends, and each third between."""
        eighth = self.count // 8
        return self.early or self.index >= 7 * self.count // 8 or (self.index - eighth) % 3 == 2


def _attn_v(place: Place) -> str | None:
    if place.file_type in ABOUT_TWO_BITS:
        return "Q4_K" if place.many or place.experts >= _MANY_QUERIES else ABOUT_TWO_BITS[place.file_type]
    if place.few_experts:
        return "Q8_0"
    chosen = {
        "Q2_K": "Q4_K" if place.many else "Q3_K",
        "Q2_K_S": "Q4_K" if place.many else None,
        "Q3_K_M": "Q5_K" if place.index < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if place.index < 4 else None,
        "Q4_K_M": "Q6_K" if place.costly else None,
        "Q5_K_M": "Q6_K" if place.costly else None,
        "IQ3_XXS": "Q4_K" if place.many else None if place.importance else "IQ3_S",
        "IQ3_XS": "Q4_K" if place.many else None,
        "IQ3_S": "Q4_K" if place.many else None,
        "IQ3_M": "Q4_K",
        "IQ4_NL": "Q5_K" if place.many else None,
        "IQ4_XS": "Q5_K" if place.many else None,
    }.get(place.file_type)
    if place.like_70b and (chosen or place.mostly) in ("Q3_K", "Q4_K"):
        return "Q5_K"  # eight heads share these weights: bits are cheap here
    return chosen


def _attn_k(place: Place) -> str | None:
    if place.few_experts:
        return "Q4_K" if place.file_type in ABOUT_TWO_BITS else "Q8_0"
    return _attn_q(place)


def _attn_q(place: Place) -> str | None:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(place.file_type)


def _attn_output(place: Place) -> str | None:
    if place.file_type in ABOUT_TWO_BITS:
        chosen = dict.fromkeys(["IQ1_S", "IQ1_M"], "IQ2_XXS") | dict.fromkeys(["IQ2_S", "IQ2_M"], "IQ3_S")
        return "Q5_K" if place.few_experts else chosen.get(place.file_type)
    if place.falcon:
        return "Q4_K" if place.file_type == "Q3_K_L" else None
    if place.few_experts:
        return "Q5_K" if place.file_type in _OF_EIGHT else None
    chosen = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_XXS": "IQ3_S", "IQ3_M": "Q4_K"}
    return chosen.get(place.file_type)


def _ffn_down(place: Place) -> str | None:
    early, falcon = place.early, place.falcon
    if place.file_type in ABOUT_TWO_BITS:
        return ABOUT_TWO_BITS[place.file_type] if early else None
    rarely = place.index < place.count // 16
    four = "Q4_K" if early else "Q3_K"
    of_falcon = "Q6_K" if rarely else "Q5_K" if place.costly else "Q4_K"
    return {
        "Q2_K": "Q3_K",
        "Q2_K_S": "Q4_K" if early else None,
        "Q3_K_M": "Q5_K" if rarely else "Q4_K" if not falcon or place.costly else "Q3_K",
        "Q3_K_L": "Q4_K" if falcon else "Q5_K",
        "Q4_K_S": "Q5_K" if early and not falcon else None,
        "Q4_K_M": of_falcon if falcon else "Q6_K" if place.costly else None,
        "Q5_K_M": "Q6_K" if place.costly else None,
        "IQ3_XXS": None if place.importance else four,
        "IQ3_M": "Q4_K" if early or (place.few_experts and place.costly) else None,
        "IQ4_NL": "Q5_K" if early and not place.importance else None,
        "IQ4_XS": "Q5_K" if early and not place.importance else None,
        "Q4_0": "Q4_1" if early and place.importance else None,  # an importance matrix may lead these astray there
        "Q5_0": "Q5_1" if early and place.importance else None,
    }.get(place.file_type)


def _ffn_gate_or_up(place: Place) -> str | None:
    middle = place.count // 8 <= place.index < 7 * place.count // 8
    return "IQ3_XXS" if place.file_type == "IQ3_XS" and middle else None


RULES: Mapping[str, Callable[[Place], str | None]] = {
    "attn_v": _attn_v,
    "attn_k": _attn_k,
    "attn_q": _attn_q,
    "attn_output": _attn_output,
    "ffn_down": _ffn_down,
    "ffn_gate": _ffn_gate_or_up,
    "ffn_up": _ffn_gate_or_up,
}
