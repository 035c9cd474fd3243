"""Options of embeddings and ranks."""

from __future__ import annotations

from dataclasses import dataclass

from pacos.settings.option import INT_MAX, check, option

POOLINGS = ("none", "mean", "cls", "last", "rank")  # a file's pooling_type is the place in this list


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How long an input may be."""

    max_length: int = option(
        0, flags=("--max-length",), minimum=0, maximum=INT_MAX, help="Most tokens of an input; 0 is the context."
    )
    truncate: bool = option(
        False, flags=("--truncate",), help="Cut longer inputs, and say which, instead of refusing them."
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """What becomes of the hidden states of an input's tokens."""

    pooling: str = option(
        "",
        flags=("--pooling",),
        choices=("", *POOLINGS),
        help=f"One vector from many: {', '.join(POOLINGS)}; default the model's.",
    )
    normalize: int = option(
        2,
        flags=("--embd-normalize",),
        minimum=-1,
        maximum=1000,
        help="Divide by a norm: -1 none, 0 the largest (becomes 32760), 1 taxicab, 2 euclidean, else a p-norm.",
    )
    dimensions: int = option(
        0, flags=("--dimensions",), minimum=0, maximum=INT_MAX, help="Keep so many numbers of a vector; 0 is all."
    )

    def __post_init__(self) -> None:
        check(self)
