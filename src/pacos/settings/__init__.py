"""Options: small frozen dataclasses whose field metadata makes the flag, the environment variable, the docs row and
the request field.

A field written with `option(...)` carries everything; `options_of(group)` reads it back, `check(self)` in each
group's `__post_init__` enforces it, `read(groups, values)` builds groups from loose names, and `from_environment`
from variables. Long flag names follow llama.cpp's.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.settings.option import INT_MAX, Option, check, checked, from_environment, option, options_of, read, shown
from pacos.settings.queue import QueueOptions
from pacos.settings.sampling import EXTRA_SAMPLERS, LOGIT_BIAS_MAX, SAMPLERS, SamplingOptions, sampler_letters

__all__ = (
    "EXTRA_SAMPLERS",
    "LOGIT_BIAS_MAX",
    "SAMPLERS",
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
    "sampler_letters",
)

CACHE_TYPES = ("auto", "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
STOP_IDS_MAX = 128
ADAPTERS_MAX = 64
ADAPTER_SCALE_MAX = 1e6
STOP_STRINGS_MAX = 64
STOP_STRING_BYTES_MAX = 1024


def lower_case(value: Any) -> Any:
    """Text in small letters; anything else as it is."""
    return value.lower() if isinstance(value, str) else value


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


def _stop_id_text(text: str) -> tuple[int, ...]:
    try:
        return (int(text),)
    except ValueError:
        raise UsageError(f"stop_ids is {text[:80]!r}", hint="use a token id") from None


def _scales(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        for one in value:
            fits = isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) <= ADAPTER_SCALE_MAX
            if not fits:
                raise UsageError(f"lora_scales has the entry {shown(one)}", hint="use numbers such as 0.5")
        value = tuple(map(float, value))
    return value


def _listed(text: str) -> tuple[str, ...]:
    """Texts with commas between them; one in quotes may hold some."""
    return tuple(part for row in csv.reader([text]) for part in row if part)


def _scale_text(text: str) -> tuple[float, ...]:
    try:
        return (float(text),)
    except ValueError:
        raise UsageError(f"lora_scales is {text[:80]!r}", hint="use a number") from None


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
        (),
        most=STOP_IDS_MAX,
        parse=_stop_id_text,
        normal=_stop_ids,
        help="Token ids that end the generation, beside the model's own.",
    )
    ignore_eos: bool = option(False, flags=("--ignore-eos",), help="Go on past the model's end tokens.")
    cache_prompt: bool = option(
        True, flags=("--cache-prompt",), off_flags=("--no-cache-prompt",), help="Reuse what earlier prompts computed."
    )
    discard: int = option(
        0,
        minimum=0,
        maximum=INT_MAX,
        help="Tokens that a shift drops; 0 is half of those that may go.",
    )
    n_indent: int = option(
        0, minimum=0, maximum=INT_MAX, help="The answer ends before a line that begins with fewer blanks; 0 is off."
    )
    t_max_predict_ms: int = option(
        0, minimum=0, maximum=INT_MAX, help="Milliseconds after which the answer ends with its line; 0 is off."
    )
    return_progress: bool = option(False, help="Tell how far the prompt is computed, step by step.")
    scores: int = option(
        -1,
        minimum=-1,
        maximum=10_000,
        help="Tell each token's log-probability and those of so many likeliest; -1 is off.",
    )
    post_sampling_scores: bool = option(
        False, help="Scores are of what the token was drawn from, after all sampler stages, not the model's own."
    )
    context_policy: str = option(
        "error",
        flags=("--context-policy",),
        choices=("error", "shift", "truncate"),
        help="When prompt and answer exceed the context: error, truncate (cut the prompt), shift (drop older text).",
    )
    keep: int = option(
        0,
        flags=("--keep",),
        minimum=-1,
        maximum=INT_MAX,
        help="Tokens of the prompt's start that truncate and shift keep, beside BOS; -1 is all.",
    )

    lora_scales: tuple[float, ...] = option(
        (),
        most=ADAPTERS_MAX,
        parse=_scale_text,
        normal=_scales,
        help="How strongly each adapter acts, one number for each, in order; none: as the model was opened.",
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
        help="Most sequences that wait to start; 0 is no bound, 256 in a server.",
    )
    prompt_cache_dir: str = option(
        "",
        flags=("--prompt-cache-dir",),
        metavar="FOLDER",
        help="Folder where computed prompts outlive the program; none by default.",
    )
    prompt_cache_size: float = option(
        8.0,
        flags=("--prompt-cache-size",),
        above=0,
        maximum=1e6,
        help="GB that the folder of computed prompts may take; the longest unused go first.",
    )
    lora: tuple[str, ...] = option(
        (),
        flags=("--lora",),
        most=ADAPTERS_MAX,
        metavar="FILE",
        parse=_listed,
        help="LoRA adapter: a GGUF file or PEFT's folder; repeatable, or with commas.",
    )
    lora_scaled: tuple[str, ...] = option(
        (),
        flags=("--lora-scaled",),
        most=ADAPTERS_MAX,
        metavar="FILE:SCALE",
        parse=_listed,
        help="Adapter and how strongly it acts, as style.gguf:0.5; repeatable. These come after --lora's.",
    )
    lora_init_without_apply: bool = option(
        False, flags=("--lora-init-without-apply",), help="Adapters do nothing until a request or a client sets scales."
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
