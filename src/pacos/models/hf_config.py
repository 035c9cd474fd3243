"""Say in GGUF's metadata keys what a decoder's config.json says: the parts that families' readers are made of.

Source: transformers 5.24 configuration classes (`rope_parameters`, and `rope_theta` with `rope_scaling` of older
files); llama.cpp's conversion scripts for the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.models.hf_words import WORDS
from pacos.models.hparams import HEAD_WIDTH_MAX, LAYERS_MAX

Config = Mapping[str, Any]
Metadata = dict[str, Any]

META_LAYOUT = "Meta AI original pth"  # what some files say of the order of their query and key rows


def decoder(config: Config) -> Metadata:
    """Sizes and rotary positions of a decoder whose config speaks as Llama's."""
    return sizes(config) | rotary(config)


def whole_decoder(config: Config) -> Metadata:
    """The same, with the width of heads that the config may leave out."""
    return decoder({**config, "head_dim": head_width(config)})


def sizes(config: Config) -> Metadata:
    """Sizes, norms, scale and caps, in whichever words the config has."""
    found = {key: first(config, *words) for key, words in WORDS.items()}
    if config.get("query_pre_attn_scalar"):
        found["attention.scale"] = positive(config, "query_pre_attn_scalar") ** -0.5
    return found


def first(config: Config, *words: str) -> Any:
    """What the config says under the first of these words that it has."""
    return next((config[word] for word in words if config.get(word) is not None), None)


def needed(config: Config, *words: str) -> int:
    """The whole number under the first of these words that the config has. Errors: FormatError when it has none."""
    found = first(config, *words)
    if not isinstance(found, int):
        raise FormatError(f"config.json: {words[0]} is {found!a}, needed: a whole number")
    return found


def four_times(config: Config) -> Metadata:
    """The hidden width of older decoders, four times the width where the config is silent."""
    width, given = first(config, *WORDS["embedding_length"]), first(config, *WORDS["feed_forward_length"])
    return {"feed_forward_length": given or (4 * width if isinstance(width, int) else None)}


def windows(config: Config, pattern: int | Sequence[bool] | None = None) -> Metadata:
    """The window of attention: of all layers, of those that the pattern or the config's `layer_types` names.

    A number N as the pattern says that the last of every N layers sees all.
    """
    window = config.get("sliding_window")
    layers = config.get("num_hidden_layers")
    if not window or not isinstance(layers, int) or config.get("use_sliding_window") is False:
        return {}
    if layers > LAYERS_MAX:
        raise FormatError(f"config.json: {layers} layers, at most {LAYERS_MAX} are supported")
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        pattern = [kind == "sliding_attention" for kind in kinds]
    if isinstance(pattern, list) and not any(pattern):
        return {}
    return {"attention.sliding_window": window, "attention.sliding_window_pattern": pattern}


def full_layers(config: Config, every: int) -> list[bool]:
    """Which layers attend to all before them: those that `layer_types` names, else the last of every so many."""
    layers, kinds = positive(config, "num_hidden_layers"), config.get("layer_types")
    if layers > LAYERS_MAX:
        raise FormatError(f"config.json: {layers:g} layers, at most {LAYERS_MAX} are supported")
    if isinstance(kinds, list) and kinds:
        return [kind in _FULL for kind in kinds]
    return [(i + 1) % every == 0 for i in range(int(layers))]


_FULL = ("full_attention", "attention")  # of which the second is older


def rope_settings(config: Config) -> tuple[dict[str, Any], float | None]:
    """The rotary settings in one form (`rope_theta`, `rope_type`, ...), and the base of windowed layers if other."""
    new = config.get("rope_parameters") or {}
    if not isinstance(new, dict):
        raise FormatError(f"config.json: rope_parameters is {type(new).__name__}, needed: an object")
    windowed: float | None = None
    if isinstance(new.get("full_attention"), dict):
        windowed = (new.get("sliding_attention") or {}).get("rope_theta")
        new = new["full_attention"]
    else:
        windowed = config.get("rope_local_base_freq")
    old = config.get("rope_scaling") or {}
    settings = {"rope_theta": config.get("rope_theta"), **old, **new}
    settings["rope_type"] = settings.get("rope_type") or settings.get("type") or "default"
    return settings, windowed


def position_sections(config: Config, usual: Sequence[int]) -> Metadata:
    """How many rotary pairs turn with time, height and width: of text, all three are the token's place."""
    sections = rope_settings(config)[0].get("mrope_section") or usual
    return {"rope.dimension_sections": [*sections, 0, 0, 0, 0][:4]}


def rotary(config: Config) -> Metadata:
    """Base, rotated width and scaling of rotary positions. Errors: UnsupportedModel for a scaling that is not known."""
    settings, windowed = rope_settings(config)
    found = {"rope.freq_base": settings.get("rope_theta") or 10000.0, "rope.freq_base_swa": windowed}
    width = head_width(config)
    partial = settings.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    found["rope.dimension_count"] = int(width * partial) if isinstance(width, int) else None
    kind = settings["rope_type"]
    scaling = _SCALINGS.get(kind)
    if scaling is None:
        known = ", ".join(_SCALINGS)
        raise UnsupportedModel(f"config.json: rotary scaling {kind!a} is not supported", hint=f"supported: {known}")
    found.update(scaling(settings, config))
    return found


def head_width(config: Config) -> int | None:
    """The width of a head, given or by the number of heads."""
    given = config.get("head_dim")
    if isinstance(given, int) and given:
        return given
    width, heads = (first(config, *WORDS[key]) for key in ("embedding_length", "attention.head_count"))
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None


def _linear(settings: Config, _: Config) -> dict[str, Any]:
    return {"rope.scaling.type": "linear", "rope.scaling.factor": positive(settings, "factor")}


def _yarn(settings: Config, config: Config) -> dict[str, Any]:
    factor = positive(settings, "factor")
    found = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": settings.get("original_max_position_embeddings")
        or config.get("max_position_embeddings"),
        "rope.scaling.yarn_beta_fast": settings.get("beta_fast") or None,
        "rope.scaling.yarn_beta_slow": settings.get("beta_slow") or None,
        "rope.scaling.yarn_truncate": settings.get("truncate"),
    }
    attention = settings.get("attention_factor")
    if attention is None and settings.get("mscale") and settings.get("mscale_all_dim"):
        attention = _temperature(factor, settings["mscale"]) / _temperature(factor, settings["mscale_all_dim"])
    if attention is not None:  # the file's factor stands alone; GGUF's multiplies YaRN's own
        found["rope.scaling.yarn_attn_factor"] = attention / _temperature(factor, 1.0)
    return found


def _temperature(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def long_rope_vectors(config: Config) -> Mapping[str, list[float]]:
    """The tensors of LongRoPE's factors, where the config asks for it."""
    settings, _ = rope_settings(config)
    if settings["rope_type"] not in _LONG_ROPE:
        return {}
    found = {}
    for name in ("long", "short"):
        values = settings.get(f"{name}_factor")
        if not isinstance(values, list) or not all(isinstance(one, int | float) and one > 0 for one in values):
            raise FormatError(
                f"config.json: {name}_factor is {type(values).__name__}, needed: a list of numbers above 0"
            )
        found[f"rope_factors_{name}.weight"] = [float(one) for one in values]
    return found


def _long_rope(settings: Config, config: Config) -> Metadata:
    trained = positive(config, "max_position_embeddings")
    original = int(positive({**config, **settings}, "original_max_position_embeddings"))
    stretch = settings.get("factor") or trained / original
    given = settings.get("attention_factor")
    wanted = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    return {
        "rope.scaling.original_context_length": original,
        "rope.scaling.attn_factor": float(given) if given is not None else wanted,
    }


_LONG_ROPE = ("longrope", "su")
_BY_FACTORS = (*_LONG_ROPE, "llama3", "proportional")  # whose scaling is in tensors


_SCALINGS: Mapping[str, Callable[[Config, Config], dict[str, Any]]] = {
    "default": lambda settings, config: {},
    "mrope": lambda settings, config: {},  # its sections are of places in pictures
    "llama3": lambda settings, config: {},  # its factors are a tensor, see llama3_vectors
    "proportional": lambda settings, config: {},  # its factors are a tensor too, see gemma4.py
    "dynamic": lambda settings, config: {},  # changes nothing up to the trained context
    **dict.fromkeys(_LONG_ROPE, _long_rope),
    "linear": _linear,
    "yarn": _yarn,
}


_NEEDED = ("block_count", "embedding_length", "context_length", "attention.head_count", "feed_forward_length")


def refuse_gaps(architecture: str, metadata: Metadata) -> None:
    """Errors: FormatError when the config lacks a size that neither it nor its class tells."""
    for key in _NEEDED:
        experts = key == "feed_forward_length" and f"{architecture}.expert_feed_forward_length" in metadata
        if f"{architecture}.{key}" not in metadata and not experts:
            first_word, *others = WORDS[key]
            raise FormatError(f"config.json: {first_word} is missing", hint=f"also understood: {', '.join(others)}")


def refuse_lost_factors(architecture: str, config: Config, vectors: Mapping[str, Any]) -> None:
    """Errors: UnsupportedModel when rotary positions are scaled by factors, and the family makes no tensor of them."""
    kind = rope_settings(config)[0]["rope_type"]
    if kind in _BY_FACTORS and not vectors:
        raise UnsupportedModel(f"config.json: rotary scaling {kind!a} is not supported for {architecture}")


def factor_vectors(config: Config) -> Mapping[str, list[float]]:
    """The tensors of rotary factors, Llama 3.1's or LongRoPE's, where the config asks for them."""
    return {**llama3_vectors(config), **long_rope_vectors(config)}


def llama3_vectors(config: Config) -> Mapping[str, list[float]]:
    """The tensor of Llama 3.1's rotary factors, where the config asks for it."""
    settings, _ = rope_settings(config)
    if settings["rope_type"] != "llama3":
        return {}
    width = rotary(config)["rope.dimension_count"]
    if not isinstance(width, int):
        width = int(positive(config, "hidden_size") / positive(config, "num_attention_heads"))
    return {"rope_freqs.weight": llama3_factors(settings, width)}


def llama3_factors(settings: Config, width: int) -> list[float]:
    """What Llama 3.1's scaling divides each rotary frequency by. Shapes: width / 2 numbers."""
    factor, low, high = (positive(settings, key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    context = positive(settings, "original_max_position_embeddings")
    base = positive(settings, "rope_theta")
    if low > high:
        raise FormatError(f"config.json: low_freq_factor {low:g} is above high_freq_factor {high:g}")
    if not 0 < width <= HEAD_WIDTH_MAX:
        raise FormatError(f"config.json: heads of width {width}, at most {HEAD_WIDTH_MAX} are supported")
    factors = []
    for i in range(width // 2):
        wavelength = 2 * math.pi * base ** (2 * i / width)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low or low == high:  # Llama 4 has no frequencies in between
            factors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def positive(settings: Config, key: str) -> float:
    """The number under a key. Errors: FormatError unless it is above 0."""
    value = settings.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise FormatError(f"config.json: {key} is {value!a}, needed: a number above 0")
    return float(value)
