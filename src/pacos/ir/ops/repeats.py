"""The sampler's penalties for repetition in numpy: the definition of engine/repeats.hpp.

Shapes: a row is f32 logits [V]; -inf is a token that was dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pacos.lazy import np
from pacos.settings import SamplingOptions

Array = Any

_MOST = 3.4028234663852886e38  # the largest f32


def penalise_repeats(logits: Array, tokens: Sequence[int], options: SamplingOptions) -> Array:
    """Lower the logits of tokens among the last `repeat_last_n`.

    A logit is divided by the repeat penalty when positive, else multiplied; then it falls by the frequency penalty
    times the count, and by the presence penalty. The result is rounded to f32; too low for that is banned.
    """
    repeat, frequency, presence = (
        float(np.float32(x)) for x in (options.repeat_penalty, options.frequency_penalty, options.presence_penalty)
    )
    if options.repeat_last_n == 0 or (repeat, frequency, presence) == (1.0, 0.0, 0.0):
        return logits
    window = tokens if options.repeat_last_n < 0 else tokens[-options.repeat_last_n :]
    logits = logits.copy()
    for token in set(window):
        logit = float(logits[token])
        lowered = logit * repeat if logit <= 0 else logit / repeat
        lowered -= window.count(token) * frequency + presence
        logits[token] = -math.inf if lowered < -_MOST else min(lowered, _MOST)
    return logits


def repeated_runs(tokens: Sequence[int], options: SamplingOptions, breakers: Sequence[Sequence[int]]) -> dict[int, int]:
    """How long a run, seen before, each token would prolong, for runs of the allowed length or more.

    Looks at the last `dry_penalty_last_n` tokens, and back no further than the end of the last breaker in them.
    """
    window = list(tokens) if options.dry_penalty_last_n < 0 else list(tokens[-options.dry_penalty_last_n :])
    allowed, size = options.dry_allowed_length, len(window)
    if size <= allowed:
        return {}
    limit = size
    for back in range(size):  # tokens after the place that is looked at
        ends = [
            len(one) for one in breakers if len(one) <= back + 1 and window[size - 1 - back :][: len(one)] == list(one)
        ]
        if ends:
            limit = back + 1 - max(ends)
            break
    if limit < allowed:
        return {}
    found: dict[int, int] = {}
    for end in range(1, size):  # the run that ends before `end` and is the text's end as well
        run = 0
        while run < min(end, limit) and window[end - 1 - run] == window[size - 1 - run]:
            run += 1
        if run >= allowed:
            found[window[end]] = max(found.get(window[end], 0), run)
    return found


def penalise_repeated_runs(
    logits: Array, tokens: Sequence[int], options: SamplingOptions, breakers: Sequence[Sequence[int]]
) -> Array:
    """DRY: lower tokens that would prolong a run seen before by multiplier * base^(length - allowed length).

    `breakers` are token sequences that end a run; one that is a single token is never lowered.
    Source: https://github.com/oobabooga/text-generation-webui/pull/5677
    """
    multiplier, base = float(np.float32(options.dry_multiplier)), float(np.float32(options.dry_base))
    if multiplier == 0 or base < 1 or options.dry_penalty_last_n == 0:
        return logits
    logits, spared = logits.copy(), {one[0] for one in breakers if len(one) == 1}
    for token, run in repeated_runs(tokens, options, breakers).items():
        if token in spared or logits[token] == -math.inf:
            continue
        exponent, square, power = run - options.dry_allowed_length, base, 1.0
        while exponent:
            power = power * square if exponent & 1 else power
            square, exponent = square * square, exponent >> 1
        logits[token] = max(float(logits[token]) - min(multiplier * power, _MOST), -_MOST)
    return logits
