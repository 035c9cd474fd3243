"""The sampler's stages in numpy: the definition of engine/sampler.cpp, which agrees with it bit for bit.

Exp and log are spelled out in additions and products, so that one seed gives one text on every platform.
Shapes: V vocabulary entries; candidates are ids int64 [N] and logits f64 [N], in an order that each stage defines.
Source: stage meanings and order follow llama.cpp (src/llama-sampler.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pacos.lazy import np
from pacos.settings import SamplingOptions

Array = Any
Candidates = tuple[Array, Array]

_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10


def exponential(x: Array) -> Array:
    """Give e to the x for x <= 0, and 0 below -708.

    Shapes: f64 [N] -> f64 [N].
    """
    clamped = np.maximum(x, -708.0)
    k = (clamped * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    r = (clamped - k * _LN2_HIGH) - k * _LN2_LOW
    p = np.full_like(r, 1.0 / math.factorial(13))
    for n in range(12, -1, -1):
        p = p * r + 1.0 / math.factorial(n)
    return np.where(x < -708.0, 0.0, np.ldexp(p, k.astype(np.int32)))


def logarithm(x: float) -> float:
    """Give the natural logarithm of a positive number."""
    m, exponent = math.frexp(x)
    if m < 0.70710678118654752440:
        m, exponent = m * 2.0, exponent - 1
    s = (m - 1.0) / (m + 1.0)
    q, p = s * s, 0.0
    for odd in range(25, 0, -2):
        p = p * q + 1.0 / odd
    return exponent * _LN2_HIGH + (2.0 * s * p + exponent * _LN2_LOW)


def uniform(seed: int, position: int) -> float:
    """Draw from [0, 1) by Philox4x32-10, keyed by the seed, counted by the position.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
    """
    mask = 0xFFFFFFFF
    key0, key1 = seed & mask, seed >> 32 & mask
    c0, c1, c2, c3 = position & mask, position >> 32 & mask, 0, 0
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = b >> 32 ^ c1 ^ key0, b & mask, a >> 32 ^ c3 ^ key1, a & mask
        key0, key1 = key0 + 0x9E3779B9 & mask, key1 + 0xBB67AE85 & mask
    return ((c0 >> 5) * 67108864.0 + (c1 >> 6)) * (1.0 / 9007199254740992.0)


def candidate_weights(logits: Array) -> Array:
    """Give exp(logit - largest); all 0 when every candidate is banned.

    Shapes: f64 [N] -> f64 [N].
    """
    best = logits.max()
    return np.zeros_like(logits) if best == -math.inf else exponential(logits - best)


def _total(values: Array) -> float:
    return float(np.cumsum(values)[-1])  # in order, unlike sum()


def _sorted(ids: Array, logits: Array) -> Candidates:
    order = np.lexsort((ids, -logits))
    return ids[order], logits[order]


def bias_logits(logits: Array, biases: Sequence[tuple[int, float]]) -> Array:
    """Add to tokens' logits, in f32. Shapes: f32 [V] -> f32 [V]."""
    logits = logits.copy()
    for token, bias in biases:
        logits[token] += np.float32(bias)
    return logits


def penalise_repeats(ids: Array, logits: Array, tokens: Sequence[int], options: SamplingOptions) -> Candidates:
    """Lower the logits of tokens among the last `repeat_last_n`; the order stays.

    A logit is divided by the repeat penalty when positive, else multiplied; then it falls by the frequency penalty
    times the count, and by the presence penalty. The result is rounded to f32; too low for that is banned.
    """
    repeat, frequency, presence = (
        float(np.float32(x)) for x in (options.repeat_penalty, options.frequency_penalty, options.presence_penalty)
    )
    if options.repeat_last_n == 0 or (repeat, frequency, presence) == (1.0, 0.0, 0.0):
        return ids, logits
    window = tokens if options.repeat_last_n < 0 else tokens[-options.repeat_last_n :]
    counts = np.array([window.count(int(token)) for token in ids], np.float64)
    lowered = np.where(logits <= 0, logits * repeat, logits / repeat) - (counts * frequency + presence)
    largest = float(np.finfo(np.float32).max)
    lowered = np.where(lowered < -largest, -math.inf, np.minimum(lowered, largest))
    return ids, np.where(counts > 0, lowered.astype(np.float32).astype(np.float64), logits)


def keep_top_k(ids: Array, logits: Array, k: int) -> Candidates:
    """Keep the k largest, in descending order; of equals the lower id comes first. 0 or less is off."""
    if k <= 0:
        return ids, logits
    ids, logits = _sorted(ids, logits)
    return ids[:k], logits[:k]


def keep_top_p(ids: Array, logits: Array, p: float) -> Candidates:
    """Keep the largest until their probabilities reach p, in descending order. 1 is off. Source: arXiv:1904.09751."""
    p = float(np.float32(p))
    if p >= 1:
        return ids, logits
    needed = p * _total(candidate_weights(logits))
    ids, logits = _sorted(ids, logits)
    kept = int(np.argmax(np.append(np.cumsum(candidate_weights(logits)) >= needed, True))) + 1
    return ids[:kept], logits[:kept]


def keep_min_p(ids: Array, logits: Array, p: float) -> Candidates:
    """Keep what is at least p times as likely as the likeliest; the order stays. 0 is off. Source: arXiv:2407.01082."""
    p = float(np.float32(p))
    if p <= 0:
        return ids, logits
    kept = logits >= logits.max() + logarithm(p)
    return ids[kept], logits[kept]


def keep_typical(ids: Array, logits: Array, p: float) -> Candidates:
    """Keep those whose information is nearest to the entropy until their probabilities exceed p, nearest first.

    Of equals the lower id comes first. 1 is off. Source: arXiv:2202.00666.
    """
    p = float(np.float32(p))
    weights = candidate_weights(logits)
    total = _total(weights)
    if p >= 1 or total == 0:
        return ids, logits
    log_p = (logits - logits.max()) - logarithm(total)
    terms = np.zeros_like(weights)
    some = weights > 0
    terms[some] = weights[some] / total * log_p[some]
    distance = np.abs(log_p + -_total(terms))
    order = np.lexsort((ids, distance))
    kept = int(np.argmax(np.append(np.cumsum(weights[order]) > p * total, True))) + 1
    return ids[order[:kept]], logits[order[:kept]]


def apply_temperature(ids: Array, logits: Array, temp: float) -> Candidates:
    """Divide by the temperature; 0 keeps the likeliest alone."""
    temp = float(np.float32(temp))
    return keep_top_k(ids, logits, 1) if temp <= 0 else (ids, logits / temp)


def sampling_candidates(logits: Array, tokens: Sequence[int], options: SamplingOptions) -> Candidates:
    """Run the chain of stages on a row: what may be drawn after `tokens`, and how likely.

    Shapes: f32 [V] -> ids [N], weights f64 [N] (probabilities before they are divided by their sum).
    """
    biased = bias_logits(logits, options.logit_bias)
    candidates = (np.arange(len(biased)), biased.astype(np.float64))
    stages: dict[str, Callable[[Array, Array], Candidates]] = {
        "penalties": lambda ids, left: penalise_repeats(ids, left, list(tokens), options),
        "top_k": lambda ids, left: keep_top_k(ids, left, options.top_k),
        "typ_p": lambda ids, left: keep_typical(ids, left, options.typical_p),
        "top_p": lambda ids, left: keep_top_p(ids, left, options.top_p),
        "min_p": lambda ids, left: keep_min_p(ids, left, options.min_p),
        "temperature": lambda ids, left: apply_temperature(ids, left, options.temp),
    }
    for name in options.samplers:
        candidates = stages[name](*candidates)
    if np.float32(options.temp) <= 0:
        candidates = apply_temperature(*candidates, 0.0)
    ids, left = candidates
    return ids, candidate_weights(left)


def sample_token(logits: Array, tokens: Sequence[int], options: SamplingOptions) -> int:
    """Draw the token after `tokens`; the draw depends on the seed and the number of tokens alone.

    Shapes: f32 [V]. Errors: ValueError when every token is banned.
    """
    ids, weights = sampling_candidates(logits, tokens, options)
    reached = np.cumsum(weights)
    if reached[-1] == 0:
        raise ValueError("every token is banned")
    target = uniform(options.seed, len(tokens)) * reached[-1]
    chosen = np.nonzero(reached > target)[0]
    return int(ids[chosen[0] if len(chosen) else np.nonzero(weights)[0][-1]])


def log_softmax_at(logits: Array, ids: Sequence[int]) -> Array:
    """Log-probabilities of some tokens of a row.

    Shapes: f32 [V], M ids -> f64 [M]. The sum runs in 8 lanes, lane l over entries 8 j + l, then in a fixed tree.
    """
    logits = logits.astype(np.float64)
    weights = candidate_weights(logits)
    lanes = np.cumsum(np.pad(weights, (0, -len(weights) % 8)).reshape(-1, 8), axis=0)[-1]
    total = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
    return (logits[list(ids)] - logits.max()) - logarithm(float(total))
