"""Say in GGUF's metadata keys what a Hugging Face config.json says.

Source: transformers 5.23 configuration classes (defaults of keys that a file leaves out; `rope_parameters`, and
`rope_theta` with `rope_scaling` of older files); llama.cpp's convert_hf_to_gguf.py for the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.models.hparams import HEAD_WIDTH_MAX, LAYERS_MAX

Config = Mapping[str, Any]

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"rms_norm_eps": 1e-6},
    "qwen2": {"rms_norm_eps": 1e-6, "max_window_layers": 28},
    "qwen3": {"rms_norm_eps": 1e-6, "head_dim": 128, "max_window_layers": 28},
    "gemma": {"rms_norm_eps": 1e-6, "head_dim": 256, "tie_word_embeddings": True},
    "gemma2": {
        **{"rms_norm_eps": 1e-6, "head_dim": 256, "tie_word_embeddings": True, "query_pre_attn_scalar": 256},
        **{"sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    },
    "gemma3": {
        **{"rms_norm_eps": 1e-6, "head_dim": 256, "tie_word_embeddings": True, "query_pre_attn_scalar": 256},
        **{"sliding_window": 4096, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
    },
    "gpt2": {"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "activation_function": "gelu_new"},
    "bert": {
        **{"layer_norm_eps": 1e-12, "tie_word_embeddings": True, "hidden_act": "gelu", "pad_token_id": 0},
        **{"max_position_embeddings": 512},
    },
    "nomic-bert": {"layer_norm_epsilon": 1e-12, "tie_word_embeddings": True, "rotary_emb_base": 1000.0},
}
_ROBERTA = ("roberta", "xlm-roberta", "camembert")
POSITIONS_SKIPPED_MAX = 8
_MISTRAL_DEFAULTS = {"sliding_window": 4096}
_ACTIVATIONS = {
    **dict.fromkeys(("llama", "qwen2", "qwen3"), ("silu", "swish")),
    **dict.fromkeys(("gemma", "gemma2", "gemma3"), ("gelu_pytorch_tanh", "gelu")),  # "gelu" meant tanh in old files
    "gpt2": ("gelu_new", "gelu_pytorch_tanh"),
    "bert": ("gelu",),
    "nomic-bert": ("silu", "swish", "swiglu"),
}
_FLOATS = ("epsilon", "freq_base", "freq_base_swa", "factor", "softcapping", "attention.scale", "_fast", "_slow")
# What changes the computation in a way that no family here has, and the value that is harmless.
_REFUSED = (
    ("scale_attn_by_inverse_layer_idx", False),
    ("scale_attn_weights", True),
    ("add_cross_attention", False),
    ("use_bidirectional_attention", False),
    ("num_experts", 0),
    ("position_embedding_type", "absolute"),
    ("is_decoder", False),
    ("num_local_experts", 0),
)


def with_defaults(architecture: str, config: Config) -> dict[str, Any]:
    """The config with what its class would fill in."""
    defaults = dict(_DEFAULTS[architecture])
    if config.get("model_type") == "mistral":
        defaults.update(_MISTRAL_DEFAULTS)
    return {**defaults, **config}


def metadata_of(architecture: str, given: Config) -> dict[str, Any]:
    """Metadata, keys with the architecture's prefix; values are checked when hyper-parameters are read.

    Errors: UnsupportedModel for a setting that the family's model function does not compute.
    """
    config = with_defaults(architecture, given)
    _refuse(architecture, config)
    reader = _READERS.get(architecture)
    found = (reader or _decoder)(config)
    if reader is None:
        found.update(_rope(config))
        found.update(_windows(architecture, config))
    return {f"{architecture}.{key}": _typed(key, value) for key, value in found.items() if value is not None}


def _typed(key: str, value: Any) -> Any:
    return float(value) if key.endswith(_FLOATS) and type(value) is int else value


def is_tied(architecture: str, config: Config) -> bool:
    """Whether the output shares the embedding's weights."""
    return bool(with_defaults(architecture, config).get("tie_word_embeddings"))


def _refuse(architecture: str, config: Config) -> None:
    keys = ("hidden_activation", "hidden_act", "activation_function")
    activation = next((config[key] for key in keys if config.get(key)), None)
    if activation is not None and activation not in _ACTIVATIONS[architecture]:
        allowed = " or ".join(_ACTIVATIONS[architecture])
        raise UnsupportedModel(f"config.json: the activation is {activation!a}, needed for {architecture}: {allowed}")
    for key, harmless in _REFUSED:
        value = config.get(key)
        if value is not None and value != harmless:
            raise UnsupportedModel(f"config.json: {key} is {value!a}, supported is {harmless!a} alone")


def _decoder(config: Config) -> dict[str, Any]:
    scalar = config.get("query_pre_attn_scalar")
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": config.get("max_position_embeddings"),
        "embedding_length": config.get("hidden_size"),
        "feed_forward_length": config.get("intermediate_size"),
        "attention.head_count": config.get("num_attention_heads"),
        "attention.head_count_kv": config.get("num_key_value_heads"),
        "attention.key_length": config.get("head_dim"),
        "attention.value_length": config.get("head_dim"),
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps"),
        "attention.scale": _number(config, "query_pre_attn_scalar") ** -0.5 if scalar else None,
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "vocab_size": config.get("vocab_size"),
    }


def _gpt2(config: Config) -> dict[str, Any]:
    width = config.get("n_embd")
    return {
        "block_count": config.get("n_layer"),
        "context_length": config.get("n_positions", config.get("n_ctx")),
        "embedding_length": width,
        "feed_forward_length": config.get("n_inner") or (4 * width if isinstance(width, int) else None),
        "attention.head_count": config.get("n_head"),
        "attention.layer_norm_epsilon": config.get("layer_norm_epsilon"),
        "vocab_size": config.get("vocab_size"),
    }


def _bert(config: Config) -> dict[str, Any]:
    context = config.get("max_position_embeddings")
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": context - first_position(config) if isinstance(context, int) else None,
        "embedding_length": config.get("hidden_size"),
        "feed_forward_length": config.get("intermediate_size"),
        "attention.head_count": config.get("num_attention_heads"),
        "attention.layer_norm_epsilon": config.get("layer_norm_eps"),
        "attention.causal": False,
        "vocab_size": config.get("vocab_size"),
    }


def first_position(config: Config) -> int:
    """The row of learned positions that the first token takes: RoBERTa's begin behind that of padding."""
    if config.get("model_type") not in _ROBERTA:
        return 0
    padding = config.get("pad_token_id", 1)
    if not isinstance(padding, int) or not 0 <= padding < POSITIONS_SKIPPED_MAX:
        raise FormatError(f"config.json: pad_token_id is {padding!a}, needed: 0 to {POSITIONS_SKIPPED_MAX - 1}")
    return padding + 1


def _nomic_bert(config: Config) -> dict[str, Any]:
    """In the words of the published files, or in those of transformers."""
    width, heads = (config.get(new, config.get(old)) for new, old in (("hidden_size", "n_embd"), _HEADS))
    head_width = width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None
    fraction = config.get("rotary_emb_fraction", 1.0)
    return {
        "block_count": config.get("num_hidden_layers", config.get("n_layer")),
        "context_length": config.get("max_position_embeddings", config.get("n_positions")),
        "embedding_length": width,
        "feed_forward_length": config.get("intermediate_size", config.get("n_inner")),
        "attention.head_count": heads,
        "attention.layer_norm_epsilon": config.get("layer_norm_eps", config.get("layer_norm_epsilon")),
        "attention.causal": False,
        "rope.freq_base": (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rotary_emb_base"),
        "rope.dimension_count": int(head_width * fraction) if head_width else None,
        "vocab_size": config.get("vocab_size"),
    }


_HEADS = ("num_attention_heads", "n_head")
_READERS: Mapping[str, Callable[[Config], dict[str, Any]]] = {
    "gpt2": _gpt2,
    "bert": _bert,
    "nomic-bert": _nomic_bert,
}


def _windows(architecture: str, config: Config) -> dict[str, Any]:
    window = config.get("sliding_window")
    layers = config.get("num_hidden_layers")
    if not window or not isinstance(layers, int) or config.get("use_sliding_window") is False:
        return {}
    if layers > LAYERS_MAX:
        raise FormatError(f"config.json: {layers} layers, at most {LAYERS_MAX} are supported")
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        pattern: Any = [kind == "sliding_attention" for kind in kinds]
    elif architecture in ("qwen2", "qwen3"):
        if not config.get("use_sliding_window"):
            return {}
        pattern = [i >= config["max_window_layers"] for i in range(layers)]
    elif architecture == "gemma2":
        pattern = 2
    elif architecture == "gemma3":
        pattern = config["sliding_window_pattern"]
    else:
        pattern = None
    if isinstance(pattern, list) and not any(pattern):
        return {}
    return {"attention.sliding_window": window, "attention.sliding_window_pattern": pattern}


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


def _rope(config: Config) -> dict[str, Any]:
    settings, windowed = rope_settings(config)
    found = {"rope.freq_base": settings.get("rope_theta") or 10000.0, "rope.freq_base_swa": windowed}
    width = config.get("head_dim") or _width_by_heads(config)
    partial = settings.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    found["rope.dimension_count"] = int(width * partial) if isinstance(width, int) else None
    kind = settings["rope_type"]
    scaling = _SCALINGS.get(kind)
    if scaling is None:
        known = ", ".join(_SCALINGS)
        raise UnsupportedModel(f"config.json: rotary scaling {kind!a} is not supported", hint=f"supported: {known}")
    found.update(scaling(settings, config))
    return found


def _width_by_heads(config: Config) -> int | None:
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None


def _linear(settings: Config, _: Config) -> dict[str, Any]:
    return {"rope.scaling.type": "linear", "rope.scaling.factor": _number(settings, "factor")}


def _yarn(settings: Config, config: Config) -> dict[str, Any]:
    if settings.get("truncate") is False:
        raise UnsupportedModel("config.json: YaRN with truncate false is not supported")
    factor = _number(settings, "factor")
    found = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": settings.get("original_max_position_embeddings")
        or config.get("max_position_embeddings"),
        "rope.scaling.yarn_beta_fast": settings.get("beta_fast") or None,
        "rope.scaling.yarn_beta_slow": settings.get("beta_slow") or None,
    }
    attention = settings.get("attention_factor")
    if attention is None and settings.get("mscale") and settings.get("mscale_all_dim"):
        attention = _temperature(factor, settings["mscale"]) / _temperature(factor, settings["mscale_all_dim"])
    if attention is not None:  # the file's factor stands alone; GGUF's multiplies YaRN's own
        found["rope.scaling.yarn_attn_factor"] = attention / _temperature(factor, 1.0)
    return found


def _temperature(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


_SCALINGS: Mapping[str, Callable[[Config, Config], dict[str, Any]]] = {
    "default": lambda settings, config: {},
    "llama3": lambda settings, config: {},  # its factors are a tensor, see llama3_factors
    "dynamic": lambda settings, config: {},  # changes nothing up to the trained context
    "linear": _linear,
    "yarn": _yarn,
}


def llama3_factors(config: Config, width: int) -> list[float] | None:
    """What Llama 3.1's scaling divides each rotary frequency by; None when the model has another scaling.

    Shapes: width / 2 numbers, as tensor `rope_freqs.weight` holds them.
    """
    settings, _ = rope_settings(config)
    if settings["rope_type"] != "llama3":
        return None
    factor, low, high = (_number(settings, key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    context = _number(settings, "original_max_position_embeddings")
    base = _number(settings, "rope_theta")
    if low >= high:
        raise FormatError(f"config.json: low_freq_factor {low:g} is not below high_freq_factor {high:g}")
    if not 0 < width <= HEAD_WIDTH_MAX:
        raise FormatError(f"config.json: heads of width {width}, at most {HEAD_WIDTH_MAX} are supported")
    factors = []
    for i in range(width // 2):
        wavelength = 2 * math.pi * base ** (2 * i / width)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _number(settings: Config, key: str) -> float:
    value = settings.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise FormatError(f"config.json: {key} is {value!a}, needed: a number above 0")
    return float(value)
