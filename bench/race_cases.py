"""What is raced: cases by name, and suites of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

K_TYPES = ("Q4_K_M", "Q8_0", "Q6_K", "Q4_0", "Q2_K", "Q5_K_M", "Q3_K_M")
OLD_TYPES = ("Q4_1", "Q5_0", "Q5_1")
FLOAT_TYPES = ("BF16", "F16")
IQ_TYPES = ("IQ4_XS", "IQ4_NL", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")
OTHER_TYPES = ("TQ1_0", "TQ2_0", "MXFP4")
BOTH = ("llama_cpp", "llama_cpp_no_repack")


@dataclass(frozen=True, slots=True)
class Case:
    """Tests that one process of each contender runs on one model.

    `model` is a tensor type (a random model of 1.2 billion weights is made of it) or a file. Counts are lists as
    `pacos bench` takes them. `peers` are the settings of llama.cpp that race.
    """

    model: str
    name: str
    prompt: str = "0"
    generate: str = "0"
    depth: str = "0"
    parallel: str = "1"
    cache: str = "f16"
    busy: bool = False  # another process keeps one core busy
    first_token: bool = False  # whole processes from their start to the first token, instead of rates
    rounds: int = 2
    peers: tuple[str, ...] = BOTH

    @property
    def key(self) -> str:
        """How the case is named on the command line."""
        return f"{self.model}/{self.name}"

    @property
    def suffix(self) -> str:
        """What its tests' names say beside those of `pacos bench`."""
        cache = "" if self.cache == "f16" else f", cache {self.cache}"
        return cache + (", one core busy" if self.busy else "")


def base(model: str, rounds: int = 2) -> Case:
    """A prompt and a generation: what every file is measured by."""
    return Case(model, "base", prompt="512", generate="32", rounds=rounds)


def special(model: str) -> list[Case]:
    """Depth, cache types, many sequences, a busy machine, the first token: on one file."""
    return [
        Case(model, "first-token", first_token=True, rounds=3),
        Case(model, "busy", generate="8", busy=True),
        Case(model, "depth", generate="16", depth="4096"),
        Case(model, "depth-q8_0", generate="16", depth="4096", cache="q8_0"),
        Case(model, "parallel", generate="16", depth="32", parallel="2,4,8,16,32"),
        Case(model, "deep", generate="8", depth="16384", rounds=1),
        Case(model, "deep-q8_0", generate="8", depth="16384", cache="q8_0", rounds=1),
    ]


def long_prompt(model: str) -> Case:
    """A prompt that takes llama.cpp minutes: once, and with the setting that reads prompts faster."""
    return Case(model, "long", prompt="8192", rounds=1, peers=("llama_cpp_no_repack",))


TINY = [Case(model, "tiny", generate="100", rounds=3) for model in ("storyteller", "stories260K")]
SUITES = {
    "quick": [base("Q4_K_M", 1), *special("Q4_K_M")[:4], *TINY],
    "issue": [
        *TINY,
        base("Q4_K_M"),
        *special("Q4_K_M"),
        *(base(kind) for kind in (*K_TYPES[1:], *OLD_TYPES, *FLOAT_TYPES, *IQ_TYPES)),
        long_prompt("Q4_K_M"),
    ],
    "full": [
        *TINY,
        *(base(kind, 3) for kind in (*K_TYPES, *OLD_TYPES, *FLOAT_TYPES, *IQ_TYPES, *OTHER_TYPES)),
        *special("Q4_K_M"),
        *(
            Case("Q4_K_M", f"depth-{cache}", generate="16", depth="4096", cache=cache)
            for cache in ("bf16", "q4_0", "q5_0", "iq4_nl")
        ),
        *special("Q8_0"),
        long_prompt("Q4_K_M"),
    ],
}


def chosen(cases: Iterable[Case], patterns: list[str]) -> list[Case]:
    """The cases that a pattern names, by model, by name or by both: Q4_K_M, */parallel, Q8_0/base."""
    if not patterns:
        return list(cases)
    return [
        case
        for case in cases
        if any(fnmatch.fnmatch(case.key, pattern if "/" in pattern else f"{pattern}/*") for pattern in patterns)
    ]
