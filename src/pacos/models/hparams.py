"""Hyper-parameters of a model, read from metadata in GGUF's vocabulary and validated before any arithmetic.

Source: GGUF specification and llama.cpp's key names (gguf-py constants); limits are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import FormatError, UsageError
from pacos.ir.ops.rope import RopeSpec
from pacos.models.experts import Experts
from pacos.models.keys import Keys
from pacos.models.registry import Architecture, model_for
from pacos.types import TensorEntry

LAYERS_MAX = 1024
WIDTH_MAX = 1 << 20
HEADS_MAX = 1 << 14
HEAD_WIDTH_MAX = 1 << 14
HIDDEN_MAX = 1 << 22
CONTEXT_MAX = (1 << 31) - 1
VOCAB_MAX = 1 << 24
ROPE_FACTOR_MAX = 1e6
ROPE_BASE_MAX = 1e15

# How q and k rows lie in this archive, when not as the architecture's GGUF files have them: "pairs" or "halves".
ROPE_STYLE_KEY = "pacos.rope.style"


@dataclass(frozen=True, slots=True)
class RopeOverrides:
    """What a user may say against the file about rotary positions; an empty string, 0 or None keeps the file's.

    `scale` stretches the context (`--rope-scale`); `frequency_scale` is its inverse.
    """

    scaling: str = ""
    base: float = 0.0
    scale: float = 0.0
    frequency_scale: float = 0.0
    original_context: int = 0
    extrapolation: float | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None


@dataclass(frozen=True, slots=True)
class Hparams:
    """What the file says about the model's form; tuples have one entry a layer.

    Units: windows in positions, the own one counted, 0 keeps all; softcaps 0 means none.
    """

    architecture: str
    layers: int
    width: int
    vocab_size: int  # rows of the embedding; rows beyond the tokenizer's vocabulary are padding
    context_length: int
    heads: tuple[int, ...]
    key_heads: tuple[int, ...]
    hidden: tuple[int, ...]
    head_width: int
    value_width: int
    norm_eps: float
    keys: Keys = field(compare=False, repr=False)  # the metadata itself, for what one family alone has
    rope: RopeSpec
    rope_windowed: RopeSpec  # for layers with a window
    windows: tuple[int, ...]
    attention_scale: float  # 0: one over the root of the head width
    attention_softcap: float
    final_softcap: float
    causal: bool = True  # else an encoder: every token of a sequence sees all others
    context_asked: int = 0  # by the user; 0: none, the model's own
    head_width_windowed: int = 0  # of layers with a window, where theirs are others
    positions: int = 0  # rows of learned positions, which no context can exceed; 0: none are learned
    picked: int = 0  # keys that an indexer picks: of no more tokens, attention sees all; 0: there is no indexer
    experts: Experts | None = None
    loops: int = 1  # how many times a step goes through the layers, each time with keys and values of its own
    start_token: int = -1  # what the decoder of an encoder-decoder begins with; -1: there is no encoder

    @classmethod
    def from_metadata(
        cls,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, TensorEntry],
        overrides: RopeOverrides | None = None,
    ) -> Hparams:
        """Read and validate.

        Errors: FormatError naming key, value and range; UnsupportedModel for what this version does not compute.
        """
        entry = model_for(metadata.get("general.architecture"))
        if "token_embd.weight" not in tensors:  # such files lack many keys too
            hint = "a file of a vocabulary alone cannot run; give the whole model"
            raise FormatError("tensor 'token_embd.weight' is missing", hint=hint)
        keys = Keys(entry.name, metadata, entry.defaults)
        experts = Experts.read(keys)
        layers = _layers(keys)
        width = keys.integer("embedding_length", 1, WIDTH_MAX)
        context = keys.integer("context_length", 1, CONTEXT_MAX + 1)
        least = int(not entry.recurrent)
        heads = keys.per_layer("attention.head_count", layers, least, HEADS_MAX)
        key_heads = _key_heads(keys, layers, heads, least)
        head_width = _head_width(keys, "attention.key_length", width, heads)
        style = _rope_style(metadata, entry)
        rope = _rope_spec(keys, style, head_width, context, overrides or RopeOverrides())
        learned = tensors.get("position_embd.weight")
        positions = learned.shape[0] if learned is not None else 0
        picked = keys.integer("attention.indexer.top_k", 1, CONTEXT_MAX, 0)
        return cls(
            architecture=entry.name,
            layers=layers,
            width=width,
            vocab_size=_vocab_size(metadata, tensors, width),
            context_length=min(context, CONTEXT_MAX, positions or CONTEXT_MAX, picked or CONTEXT_MAX),
            heads=heads,
            key_heads=key_heads,
            hidden=_hidden(keys, layers, experts, least),
            head_width=head_width,
            value_width=_value_width(keys, width, heads, key_heads),
            norm_eps=_norm_eps(keys),
            keys=keys,
            rope=rope,
            rope_windowed=_windowed_rope(keys, rope),
            windows=_windows(keys, layers),
            attention_scale=keys.number("attention.scale", 0, 1e6, 0.0, above=True),
            attention_softcap=keys.number("attn_logit_softcapping", 0, 1e6, 0.0),
            final_softcap=keys.number("final_logit_softcapping", 0, 1e6, 0.0),
            causal=keys.truth("attention.causal", default=True),
            positions=positions,
            picked=picked,
            head_width_windowed=keys.integer("attention.key_length_swa", 0, HEAD_WIDTH_MAX, 0),
            experts=experts,
            loops=keys.integer("num_loops", 1, LAYERS_MAX // layers, 1),
            start_token=keys.integer("decoder_start_token_id", 0, VOCAB_MAX, 0) if entry.encoder is not None else -1,
        )

    @property
    def scale(self) -> float:
        """Factor on attention scores."""
        return self.attention_scale or float(self.head_width**-0.5)

    def needed_experts(self) -> Experts:
        """The mixture of a family that has no other units. Errors: FormatError when the file says nothing of it."""
        if self.experts is None:
            raise self.keys.refuse("expert_count", "a number above 0")
        return self.experts

    def head_width_of(self, layer: int) -> int:
        """The width of a layer's heads of queries and keys."""
        return self.head_width_windowed or self.head_width if self.windows[layer] else self.head_width

    def value_width_of(self, layer: int) -> int:
        """The width of a layer's heads of values."""
        return self.head_width_windowed or self.value_width if self.windows[layer] else self.value_width

    def rope_of(self, layer: int) -> RopeSpec:
        """Rotary positions of a layer: families with windows may turn those layers more quickly."""
        return self.rope_windowed if self.windows[layer] else self.rope


def _layers(keys: Keys) -> int:
    """Layers that answer: a decoder's; those behind them guess further tokens, which nobody asks for here."""
    layers = keys.integer("block_count", 1, LAYERS_MAX)
    layers = keys.integer("decoder_block_count", 1, LAYERS_MAX, layers)
    return layers - keys.integer("nextn_predict_layers", 0, layers - 1, 0)


def _hidden(keys: Keys, layers: int, experts: Experts | None, least: int) -> tuple[int, ...]:
    """Widths of the feed-forward units; a file may give those of experts alone."""
    if experts is None:
        return keys.per_layer("feed_forward_length", layers, least, HIDDEN_MAX)
    width = keys.integer("expert_feed_forward_length", 0, HIDDEN_MAX, 0)
    return keys.per_layer("feed_forward_length", layers, 0, HIDDEN_MAX, width)


def _key_heads(keys: Keys, layers: int, heads: tuple[int, ...], least: int) -> tuple[int, ...]:
    if "attention.head_count_kv" not in keys:
        return heads
    key_heads = keys.per_layer("attention.head_count_kv", layers, least, HEADS_MAX)
    if any(k and h % k for h, k in zip(heads, key_heads, strict=True)):
        raise keys.refuse("attention.head_count_kv", f"a divisor of {keys.name('attention.head_count')}, {heads[0]}")
    return key_heads


def _head_width(keys: Keys, key: str, width: int, heads: tuple[int, ...]) -> int:
    if key not in keys and any(h and width % h for h in heads):
        raise keys.refuse(key, f"a width, as {keys.name('embedding_length')} {width} does not divide by the heads")
    most = max(heads)
    return keys.integer(key, 1, HEAD_WIDTH_MAX, width // most) if most else 0


def _value_width(keys: Keys, width: int, heads: tuple[int, ...], key_heads: tuple[int, ...]) -> int:
    """The width of cached values; of latent rows, which all heads share, it is the rows' own."""
    if "attention.key_length_mla" in keys and max(key_heads) == 1:
        return keys.integer("attention.kv_lora_rank", 1, HEAD_WIDTH_MAX)
    return _head_width(keys, "attention.value_length", width, heads)


def _norm_eps(keys: Keys) -> float:
    key = "attention.layer_norm_rms_epsilon"
    return keys.number(key if key in keys else "attention.layer_norm_epsilon", 0, 1, above=True)


def _vocab_size(metadata: Mapping[str, Any], tensors: Mapping[str, TensorEntry], width: int) -> int:
    table = tensors["token_embd.weight"]
    if len(table.shape) != 2 or table.shape[1] != width or not 1 <= table.shape[0] <= VOCAB_MAX:
        raise FormatError(f"tensor 'token_embd.weight' is {table.shape}, needed: (vocabulary, {width})")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Sequence) and not isinstance(tokens, str) and len(tokens) > table.shape[0]:
        raise FormatError(f"'token_embd.weight' has {table.shape[0]} rows, the vocabulary has {len(tokens)} tokens")
    return table.shape[0]


def _windows(keys: Keys, layers: int) -> tuple[int, ...]:
    window = keys.integer("attention.sliding_window", 0, CONTEXT_MAX, 0)
    key = "attention.sliding_window_pattern"
    pattern = keys.get(key)
    if isinstance(pattern, list | tuple):  # one truth value a layer: does it have the window?
        if len(pattern) != layers or not all(isinstance(one, bool | int) for one in pattern):
            raise keys.refuse(key, f"{layers} truth values, one for each layer")
        return tuple(window if one else 0 for one in pattern)
    every = keys.integer(key, 0, LAYERS_MAX, 0)  # the last of every so many layers sees all
    sees_all = keys.integer(
        "attention.sliding_window_offset", 0, LAYERS_MAX, every - 1
    )  # or another one, in some families
    return tuple(window if every == 0 or i % every != sees_all else 0 for i in range(layers))


def _rope_style(metadata: Mapping[str, Any], entry: Architecture) -> str:
    style = metadata.get(ROPE_STYLE_KEY, entry.rope)
    if style not in ("pairs", "halves", ""):
        raise FormatError(f"metadata key {ROPE_STYLE_KEY} is {style!a}, needed: pairs or halves")
    return str(style)


def _rope_spec(keys: Keys, style: str, head_width: int, context: int, overrides: RopeOverrides) -> RopeSpec:
    if not style:
        if overrides != RopeOverrides():
            raise UsageError("the model has no rotary positions to change", hint="drop the --rope and --yarn options")
        return RopeSpec(head_width)
    width = keys.integer("rope.dimension_count", 2, head_width, head_width)
    if width % 2:
        raise keys.refuse("rope.dimension_count", f"an even number up to {head_width}")
    scaling = keys.choice("rope.scaling.type", "none", "linear", "yarn", "longrope", default="")
    legacy = keys.number("rope.scale_linear", 0, ROPE_FACTOR_MAX, 1.0, above=True)
    factor = keys.number("rope.scaling.factor", 0, ROPE_FACTOR_MAX, legacy, above=True)
    stretched = overrides.scale or (1 / overrides.frequency_scale if overrides.frequency_scale else 0.0)
    factor = stretched or factor
    scaling = overrides.scaling or scaling or ("none" if factor == 1 else "linear")
    if stretched and scaling == "none" and not overrides.scaling:
        scaling = "linear"
    if overrides.original_context and scaling != "yarn":
        problem = f"yarn_orig_ctx is {overrides.original_context}, the rotary scaling is {scaling}"
        raise UsageError(problem, hint="add --rope-scaling yarn")
    base = overrides.base or keys.number("rope.freq_base", 1, ROPE_BASE_MAX, 10000.0, above=True)
    if base <= 1:
        raise UsageError(f"a rotary base of {base:g} turns nothing, needed: above 1", hint="10000 is usual")
    plain = RopeSpec(width)
    given_factor = keys.number("rope.scaling.attn_factor", 0, 1e6, plain.attention_factor, above=True)
    if scaling in ("none", "longrope"):  # LongRoPE's factors are tensors
        return RopeSpec(width, style, base, attention_factor=given_factor)
    if scaling == "linear":
        return RopeSpec(width, style, base, "linear", factor)
    return RopeSpec(
        width,
        style,
        base,
        "yarn",
        factor,
        overrides.original_context or keys.integer("rope.scaling.original_context_length", 1, CONTEXT_MAX, context),
        _first(overrides.beta_fast, keys.number("rope.scaling.yarn_beta_fast", 0, 1e6, plain.beta_fast, above=True)),
        _first(overrides.beta_slow, keys.number("rope.scaling.yarn_beta_slow", 0, 1e6, plain.beta_slow, above=True)),
        _first(overrides.extrapolation, keys.number("rope.scaling.yarn_ext_factor", 0, 1, plain.extrapolation)),
        _first(
            overrides.attention_factor, keys.number("rope.scaling.yarn_attn_factor", 0, 1e6, given_factor, above=True)
        ),
        keys.truth("rope.scaling.yarn_truncate", default=True),
    )


def _windowed_rope(keys: Keys, rope: RopeSpec) -> RopeSpec:
    if "rope.freq_base_swa" not in keys:
        return rope
    width = keys.integer("rope.dimension_count_swa", 2, HEAD_WIDTH_MAX, rope.width)
    return RopeSpec(width, rope.style, keys.number("rope.freq_base_swa", 1, ROPE_BASE_MAX, above=True))


def _first(override: float | None, value: float) -> float:
    return value if override is None else override
