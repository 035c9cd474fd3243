"""Options of sampling: how the next token is chosen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.settings.option import INT_MAX, check, option, shown

LOGIT_BIAS_MAX = 1024  # entries; reliability limits of the field's servers
BREAKERS_MAX = 64
BREAKER_BYTES_MAX = 40

# llama.cpp's names in its default order (common/common.h), those that run only when named or switched on, and the
# other spellings that its parser takes.
SAMPLERS = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")
EXTRA_SAMPLERS = ("tfs_z", "top_a", "adaptive_p")
_SPELLINGS = {
    **dict.fromkeys(("typical", "typical_p", "typ"), "typ_p"),
    **dict.fromkeys(("tfs", "tail_free"), "tfs_z"),
    **{"nucleus": "top_p", "temp": "temperature", "top_nsigma": "top_n_sigma"},
}
_LETTERS = {
    **{"e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "f": "tfs_z", "y": "typ_p", "p": "top_p"},
    **{"m": "min_p", "x": "xtc", "t": "temperature", "a": "adaptive_p"},
}
_NO_INFILL = "sampler 'infill' is not supported"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


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
        if spelled not in (*SAMPLERS, *EXTRA_SAMPLERS):
            problem = _NO_INFILL if spelled == "infill" else f"unknown sampler {shown(name)}"
            raise UsageError(problem, hint=f"there are {', '.join((*SAMPLERS, *EXTRA_SAMPLERS))}")
        chain.append(spelled)
    return tuple(chain)


def sampler_letters(text: str) -> tuple[str, ...]:
    """A sampler chain from llama.cpp's letters, such as "edskypmxt". Errors: UsageError naming the letter."""
    for letter in text:
        if letter not in _LETTERS:
            problem = _NO_INFILL if letter == "i" else f"unknown sampler letter {letter!r}"
            raise UsageError(
                problem, hint=f"there are {', '.join(f'{one} ({name})' for one, name in _LETTERS.items())}"
            )
    return tuple(_LETTERS[letter] for letter in text)


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


def _breaker_text(text: str) -> tuple[str, ...]:
    return () if text == "none" else (re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text),)


def _breakers(value: Any) -> Any:
    value = (value,) if isinstance(value, str) else value
    if isinstance(value, (list, tuple)):
        for text in value:
            if not isinstance(text, str) or not 0 < len(text.encode("utf-8", "replace")) <= BREAKER_BYTES_MAX:
                raise UsageError(
                    f"dry_sequence_breakers has the entry {shown(text)}",
                    hint=f"use texts of 1 to {BREAKER_BYTES_MAX} bytes",
                )
        value = tuple(dict.fromkeys(value))
    return value


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token is chosen; names and defaults are llama.cpp's."""

    temp: float = option(
        0.8, flags=("--temp", "--temperature"), minimum=0, maximum=1000, help="Temperature; 0 is greedy."
    )
    dynatemp_range: float = option(
        0.0, flags=("--dynatemp-range",), minimum=0, maximum=1000, help="Let entropy move it up to this far; 0 is off."
    )
    dynatemp_exponent: float = option(
        1.0, flags=("--dynatemp-exp",), minimum=0, maximum=1000, help="How entropy maps to dynamic temperature."
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
    top_n_sigma: float = option(
        -1.0,
        flags=("--top-nsigma", "--top-n-sigma"),
        minimum=-1,
        maximum=1000,
        help="Keep logits this many standard deviations below the best; 0 or less is off.",
    )
    tfs_z: float = option(1.0, flags=("--tfs",), minimum=0, maximum=1, help="Cut the tail off here; 1 is off.")
    top_a: float = option(
        0.0,
        flags=("--top-a",),
        minimum=0,
        maximum=1,
        help="Drop below this times the best probability squared; 0 is off.",
    )
    xtc_probability: float = option(
        0.0, flags=("--xtc-probability",), minimum=0, maximum=1, help="Chance to drop the top choices; 0 is off."
    )
    xtc_threshold: float = option(
        0.1, flags=("--xtc-threshold",), minimum=0, maximum=1, help="Probability of a top choice; above 0.5 is off."
    )
    min_keep: int = option(
        0, flags=("--min-keep",), minimum=0, maximum=INT_MAX, help="Candidates that top-p, min-p and others leave."
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
    dry_multiplier: float = option(
        0.0, flags=("--dry-multiplier",), minimum=0, maximum=1000, help="Lower what prolongs a repetition; 0 is off."
    )
    dry_base: float = option(
        1.75, flags=("--dry-base",), minimum=0, maximum=1000, help="DRY grows by this with each token; below 1 is off."
    )
    dry_allowed_length: int = option(
        2, flags=("--dry-allowed-length",), minimum=0, maximum=INT_MAX, help="Repetitions up to here are free."
    )
    dry_penalty_last_n: int = option(
        64, flags=("--dry-penalty-last-n",), minimum=-1, maximum=INT_MAX, help="Tokens DRY looks back; -1 is all."
    )
    dry_sequence_breakers: tuple[str, ...] = option(
        ("\n", ":", '"', "*"),
        flags=("--dry-sequence-breaker",),
        most=BREAKERS_MAX,
        parse=_breaker_text,
        normal=_breakers,
        help=r"Text that ends a repetition, such as \n; repeatable; none is none.",
    )
    mirostat: int = option(
        0, flags=("--mirostat",), minimum=0, maximum=2, help="Mirostat 1 or 2 instead of what truncates; 0 is off."
    )
    mirostat_tau: float = option(
        5.0, flags=("--mirostat-ent",), above=0, maximum=100, help="Mirostat's surprise, in bits."
    )
    mirostat_eta: float = option(0.1, flags=("--mirostat-lr",), minimum=0, maximum=10, help="Mirostat's learning rate.")
    adaptive_target: float = option(
        -1.0, flags=("--adaptive-target",), minimum=-1, maximum=1, help="Prefer this probability; below 0 is off."
    )
    adaptive_decay: float = option(
        0.9, flags=("--adaptive-decay",), minimum=0, maximum=0.99, help="How long adaptive-p remembers."
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
    sampler_seq: str = option(
        "", flags=("--sampler-seq", "--sampling-seq"), help="The stages as letters, such as edskypmxt."
    )

    def __post_init__(self) -> None:
        check(self)
        chain = self.samplers
        if self.sampler_seq:
            if chain != SAMPLERS:
                raise UsageError("samplers and sampler_seq say the same thing", hint="give one of them")
            chain = sampler_names(sampler_letters(self.sampler_seq))
            object.__setattr__(self, "sampler_seq", "")
        elif chain == SAMPLERS:
            chain = self._with_extras()
        object.__setattr__(self, "samplers", chain)

    def _with_extras(self) -> tuple[str, ...]:
        chain = list(SAMPLERS)
        if self.tfs_z < 1:
            chain.insert(chain.index("top_k") + 1, "tfs_z")
        if self.top_a > 0:
            chain.insert(chain.index("min_p") + 1, "top_a")
        if self.adaptive_target >= 0:
            chain.append("adaptive_p")
        return tuple(chain)
