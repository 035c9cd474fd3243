"""Several answers to one prompt: their seeds, and which are the best."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from pacos.errors import UsageError
from pacos.llm.stream import Stream, collected
from pacos.settings import SamplingOptions
from pacos.types import Completion

CHOICES_MAX = 128  # as OpenAI's


def checked_count(count: int) -> int:
    """How many answers to give. Errors: UsageError."""
    if not 1 <= count <= CHOICES_MAX:
        raise UsageError(f"{count} answers are asked for", hint=f"1 to {CHOICES_MAX} are possible")
    return count


def seeded(sampling: SamplingOptions, count: int) -> list[SamplingOptions]:
    """Options of each of several answers: number i has the seed `seed + i`."""
    first = sampling.seed if sampling.seed >= 0 else int.from_bytes(os.urandom(4))
    return [replace(sampling, seed=(first + number) % 2**64) for number in range(count)]


def best(streams: Sequence[Stream], count: int) -> list[Completion]:
    """Of the answers that streams bring, as `likeliest`."""
    return likeliest([collected(stream, stream.prompt_token_ids) for stream in streams], count)


def likeliest(answers: Sequence[Completion], count: int) -> list[Completion]:
    """The answers whose tokens are likeliest on average, the best first; they need scores."""
    return sorted(answers, key=_mean_score, reverse=True)[:count]


def _mean_score(answer: Completion) -> float:
    return sum(score.logprob for score in answer.scores) / max(1, len(answer.scores))
