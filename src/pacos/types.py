"""Frozen data that several rings share: tensors of a file, a step, page layouts, sampling and messages."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file.

    Shapes: numpy order, rows first (GGUF's `ne` reversed); a vector is (n,).
    Units: offset and nbytes in bytes, absolute in the file `part`, proved to lie inside it.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    part: int
    offset: int
    nbytes: int


class Archive(Protocol):
    """A model on disk, whatever the container; metadata keys and tensor names in GGUF's vocabulary."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorEntry]

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor, read-only, without a copy."""

    def address(self, name: str) -> int:
        """Address of a tensor's first byte, valid until close()."""

    def close(self) -> None:
        """Release the file; addresses given before are dead."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How one page of the KV cache is laid out.

    Shapes: per layer, keys [page_tokens, key_width] and values [page_tokens, value_width]; 0 = no cache.
    `states` are the f32 numbers of each part of the state that a sequence of a recurrent model carries besides.
    """

    page_tokens: int
    key_width: tuple[int, ...]
    value_width: tuple[int, ...]
    type_k: str = "F16"
    type_v: str = "F16"
    states: tuple[int, ...] = ()

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return len(self.key_width)


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass over the tokens of one or more sequences, along one ragged axis T.

    Shapes: tokens [T], positions [T], sequence_starts [S + 1] (ranges in T), page_tables S arrays of page
    numbers in order of position (they cover the positions of this step too), outputs [R] indices into T, types [T]
    or None when all are 0. All are array("i"); scales [T * A] array("f"), how strongly each of A adapters acts on each
    token, None for models without adapters.
    A recurrent model reads the state of each sequence from slot states_from [S] and leaves the next in states_to [S];
    a sequence that begins at position 0 reads nothing. The two may be the same; None for models without states.
    Of a sequence of an encoder-decoder the first positions, sources [S] of them, are what the encoder reads.
    """

    tokens: array[int]
    positions: array[int]
    sequence_starts: array[int]
    page_tables: tuple[array[int], ...]
    outputs: array[int]
    types: array[int] | None = None
    states_from: array[int] | None = None
    states_to: array[int] | None = None
    sources: array[int] | None = None
    scales: array[float] | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """What a generation cost.

    Units: seconds and tokens; cached tokens came from the prefix cache.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_seconds: float = 0.0
    generated_tokens: int = 0
    generate_seconds: float = 0.0

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens computed per second."""
        return (self.prompt_tokens - self.cached_tokens) / self.prompt_seconds if self.prompt_seconds > 0 else 0.0

    @property
    def generate_rate(self) -> float:
        """Tokens generated per second, the first one left out (it belongs to the prompt)."""
        return max(0, self.generated_tokens - 1) / self.generate_seconds if self.generate_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; a call's first piece alone has its id and name.

    `index` counts the calls of an answer; the `arguments` of all pieces of a call, joined, are one JSON text.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Log-probability of a token, and of the likeliest ones in its place.

    Units: natural logarithm. Shapes: `top` holds pairs of a token id and its log-probability, the likeliest first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What a context without room for prompt and answer led to; which policy decided.

    Units: tokens. `cut_tokens` of the prompt were left out before it was computed, `shifted_tokens` of prompt and
    answer later, in so many `shifts`. `full`: the answer ended because the context did.
    """

    policy: str
    context_tokens: int
    cut_tokens: int = 0
    shifts: int = 0
    shifted_tokens: int = 0
    full: bool = False


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """How far a prompt is computed.

    Units: tokens, of which `cached_tokens` came from the cache; seconds since it began.
    """

    total_tokens: int
    cached_tokens: int
    computed_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Event:
    """A piece of a streamed answer: its text, its token ids; the last one says why it ended, and has all that is known.

    Reasons are "stop" (an end token or a stop string), "length", "tool_calls", "deadline" and "cancelled".
    `reasoning` is what the model thinks and does not say. `scores` belong to `token_ids`, when they were asked for.
    With `progress` there is nothing else: the prompt is being computed.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    stop_string: str | None = None
    timings: Timings | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    context: ContextUse | None = None
    progress: PromptProgress | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer; each of its `tool_calls` is whole."""

    text: str
    token_ids: tuple[int, ...]
    prompt_token_ids: tuple[int, ...]
    finish_reason: str
    timings: Timings
    stop_string: str | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    context: ContextUse | None = None
