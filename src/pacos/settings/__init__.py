"""Options: small frozen dataclasses whose field metadata makes the flag, the environment variable, the docs row and
the request field.

A field written with `option(...)` carries everything; `options_of(group)` reads it back, `check(self)` in each
group's `__post_init__` enforces it, `read(groups, values)` builds groups from loose names, and `from_environment`
from variables. Long flag names follow llama.cpp's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.settings.option import Option, check, checked, from_environment, option, options_of, read, shown
from pacos.settings.queue import QueueOptions

__all__ = (
    "GenerateOptions",
    "LoadOptions",
    "Option",
    "QueueOptions",
    "SamplingOptions",
    "check",
    "checked",
    "from_environment",
    "option",
    "options_of",
    "read",
)

INT_MAX = 2**31 - 1
LOGIT_BIAS_MAX = 1024  # entries; reliability limits of the field's servers
CACHE_TYPES = ("auto", "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
STOP_IDS_MAX = 128
STOP_STRINGS_MAX = 64
STOP_STRING_BYTES_MAX = 1024

# llama.cpp's names in its default order (common/common.h), those of its names that are not here, and the other
# spellings that its parser takes.
SAMPLERS = ("penalties", "top_k", "typ_p", "top_p", "min_p", "temperature")
_MISSING_SAMPLERS = ("dry", "top_n_sigma", "xtc")
_SPELLINGS = {"nucleus": "top_p", "typical": "typ_p", "typical_p": "typ_p", "typ": "typ_p", "temp": "temperature"}


def lower_case(value: Any) -> Any:
    """Text in small letters; anything else as it is."""
    return value.lower() if isinstance(value, str) else value


def sampler_names(value: Any) -> Any:
    """A sampler chain from "a;b;c" or names, in llama.cpp's spelling.

    Errors: UsageError naming the name that is unknown or not supported, and the known ones.
    """
    names = value.split(";") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)):
        return value
    chain = []
    for name in names:
        spelled = name.strip().replace("-", "_") if isinstance(name, str) else name
        spelled = _SPELLINGS.get(spelled, spelled) if isinstance(spelled, str) else spelled
        if spelled == "":
            continue
        if spelled not in SAMPLERS:
            hint = f"there are {', '.join(SAMPLERS)}"
            if spelled in _MISSING_SAMPLERS:
                raise UsageError(f"sampler {shown(name)} is not supported yet", hint=hint)
            raise UsageError(f"unknown sampler {shown(name)}", hint=hint)
        chain.append(spelled)
    return tuple(chain)


def logit_biases(value: Any) -> Any:
    """Biases as (token id, bias) pairs, from a mapping or pairs; bias -inf bans the token.

    Errors: UsageError naming the entry; finite biases lie within 100, as in the OpenAI dialect.
    """
    if isinstance(value, Mapping):
        value = tuple(value.items())
    if not isinstance(value, (list, tuple)):
        return value
    pairs = {}
    for entry in value:
        if not isinstance(entry, (list, tuple)) or len(entry) != 2:
            raise UsageError(f"logit_bias has the entry {shown(entry)}", hint="use pairs of token id and bias")
        token, bias = entry
        numbers = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in entry)
        if not numbers or not isinstance(token, int) or not 0 <= token <= INT_MAX:
            raise UsageError(
                f"logit_bias has the entry {shown(entry)}", hint="use a token id of 0 or more and a number"
            )
        if not (-100 <= bias <= 100 or bias == -math.inf):
            raise UsageError(f"logit_bias of token {token} is {bias}", hint="use -100 to 100, or -inf to ban it")
        pairs[token] = float(bias)
    return tuple(pairs.items())


def _bias_text(text: str) -> Any:
    found = re.fullmatch(r"\s*(\d{1,10})\s*([+-].{1,20})", text)
    try:
        return ((int(found[1]), float(found[2])),)  # type: ignore[index]  # no match is refused below
    except (TypeError, ValueError):
        raise UsageError(f"logit_bias is {text!r}", hint="use TOKEN+BIAS or TOKEN-BIAS, such as 29905-100") from None


def _stop_strings(value: Any) -> Any:
    value = (value,) if isinstance(value, str) else value
    if isinstance(value, (list, tuple)):
        for text in value:
            if not isinstance(text, str) or not 0 < len(text.encode("utf-8", "replace")) <= STOP_STRING_BYTES_MAX:
                hint = f"use texts of 1 to {STOP_STRING_BYTES_MAX} bytes"
                raise UsageError(f"stop has the entry {shown(text)}", hint=hint)
    return value


def _stop_ids(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        value = tuple(sorted(value)) if isinstance(value, (set, frozenset)) else tuple(value)
        for token in value:
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token <= INT_MAX:
                raise UsageError(f"stop_ids has the entry {shown(token)}", hint="use token ids of 0 or more")
    return value


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token is chosen; names and defaults are llama.cpp's."""

    temp: float = option(
        0.8, flags=("--temp", "--temperature"), minimum=0, maximum=1000, help="Temperature; 0 is greedy."
    )
    top_k: int = option(40, flags=("--top-k",), minimum=-1, maximum=INT_MAX, help="Keep the k likeliest; 0 is off.")
    top_p: float = option(
        0.95, flags=("--top-p",), minimum=0, maximum=1, help="Keep the likeliest up to this probability; 1 is off."
    )
    min_p: float = option(
        0.05, flags=("--min-p",), minimum=0, maximum=1, help="Drop below this part of the likeliest; 0 is off."
    )
    typical_p: float = option(
        1.0, flags=("--typical", "--typical-p"), minimum=0, maximum=1, help="Keep locally typical tokens; 1 is off."
    )
    repeat_penalty: float = option(
        1.0, flags=("--repeat-penalty",), above=0, maximum=1000, help="Divide repeated tokens' logits; 1 is off."
    )
    repeat_last_n: int = option(
        64, flags=("--repeat-last-n",), minimum=-1, maximum=INT_MAX, help="Tokens to look back; -1 is all."
    )
    presence_penalty: float = option(
        0.0, flags=("--presence-penalty",), minimum=-100, maximum=100, help="Lower what appeared."
    )
    frequency_penalty: float = option(
        0.0, flags=("--frequency-penalty",), minimum=-100, maximum=100, help="Lower per appearance."
    )
    logit_bias: tuple[tuple[int, float], ...] = option(
        (),
        flags=("--logit-bias", "-l"),
        most=LOGIT_BIAS_MAX,
        parse=_bias_text,
        normal=logit_biases,
        help="Add to a token's logit, as TOKEN+BIAS or TOKEN-BIAS; repeatable.",
    )
    seed: int = option(-1, flags=("--seed", "-s"), minimum=-1, maximum=2**64 - 1, help="Random seed; -1 draws one.")
    samplers: tuple[str, ...] = option(
        SAMPLERS,
        flags=("--samplers",),
        most=32,
        parse=sampler_names,
        normal=sampler_names,
        help="Sampler stages in order, joined with semicolons.",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """When a generation ends and what it may reuse."""

    n_predict: int = option(
        -1,
        flags=("--n-predict", "--predict", "-n"),
        minimum=-1,
        maximum=INT_MAX,
        help="Tokens to generate; -1 is until the model ends or the context is full.",
    )
    stop: tuple[str, ...] = option(
        (),
        flags=("--stop", "--reverse-prompt", "-r"),
        most=STOP_STRINGS_MAX,
        normal=_stop_strings,
        help="Text that ends the generation and is not shown; repeatable.",
    )
    stop_ids: tuple[int, ...] = option(
        (), most=STOP_IDS_MAX, normal=_stop_ids, help="Token ids that end the generation, beside the model's own."
    )
    ignore_eos: bool = option(False, flags=("--ignore-eos",), help="Go on past the model's end tokens.")
    cache_prompt: bool = option(
        True, flags=("--cache-prompt",), off_flags=("--no-cache-prompt",), help="Reuse what earlier prompts computed."
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is opened."""

    ctx_size: int = option(
        0, flags=("--ctx-size", "-c"), minimum=0, maximum=INT_MAX, help="Context in tokens; 0 is the model's own."
    )
    batch_size: int = option(512, flags=("--batch-size", "-b"), minimum=1, maximum=65536, help="Most tokens in a step.")
    parallel: int = option(
        0, flags=("--parallel", "-np"), minimum=0, maximum=4096, help="Contexts that the cache has room for; 0 is some."
    )
    queue_size: int = option(
        0,
        flags=("--queue-size",),
        minimum=0,
        maximum=1_000_000,
        help="Most sequences that wait to start; 0 is no bound, 128 in a server.",
    )
    threads: int = option(0, flags=("--threads", "-t"), minimum=0, maximum=1024, help="0 is one per physical core.")
    backend: str = option("cpu", flags=("--backend",), help="What computes: cpu or reference.")
    activations: str = option(
        "q8",
        flags=("--activations",),
        choices=("q8", "f32"),
        help="What quantised matrices multiply: q8 (fast, as llama.cpp) or f32 (exact, slow).",
    )
    cache_type_k: str = option(
        "auto",
        flags=("--cache-type-k", "-ctk"),
        choices=CACHE_TYPES,
        normal=lower_case,
        help=f"Type of cached keys: {', '.join(CACHE_TYPES[1:])}; auto: f32 for files of F32, else f16.",
    )
    cache_type_v: str = option(
        "auto",
        flags=("--cache-type-v", "-ctv"),
        choices=CACHE_TYPES,
        normal=lower_case,
        help="Type of cached values; types and auto as for keys.",
    )
    rope_scaling: str = option(
        "",
        flags=("--rope-scaling",),
        choices=("", "none", "linear", "yarn"),
        help="Rotary scaling; default the model's.",
    )
    rope_scale: float = option(
        0.0, flags=("--rope-scale",), minimum=0, maximum=1e6, help="Stretch the context by this; 0 is the model's."
    )
    rope_freq_base: float = option(
        0.0, flags=("--rope-freq-base",), minimum=0, maximum=1e15, help="Rotary base frequency; 0 is the model's."
    )
    rope_freq_scale: float = option(
        0.0, flags=("--rope-freq-scale",), minimum=0, maximum=1e6, help="Rotary frequency factor; 0 is the model's."
    )
    yarn_orig_ctx: int = option(
        0, flags=("--yarn-orig-ctx",), minimum=0, maximum=INT_MAX, help="YaRN: the trained context; 0 is the model's."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.rope_scale and self.rope_freq_scale:
            raise UsageError("rope_scale and rope_freq_scale say the same thing", hint="give one of them")
        if self.rope_scaling == "none" and (self.rope_scale or self.rope_freq_scale):
            name = "rope_scale" if self.rope_scale else "rope_freq_scale"
            raise UsageError(f"{name} has no effect with rope_scaling none", hint="drop one of them")
