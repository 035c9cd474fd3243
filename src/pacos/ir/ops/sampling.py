"""The sampler's stages in numpy: the definition of engine/sampler.cpp, which agrees with it bit for bit.

A row is f32 logits [V]; a stage gives a row again, in which what it dropped is -inf. Exp and log are spelled out in
additions and products, so that one seed gives one text on every platform. Weights are whole multiples of a power of
two, small enough that every sum of them is exact: no order of addition is part of this definition.
Source: stage meanings and order follow llama.cpp (src/llama-sampler.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pacos.ir.ops.repeats import penalise_repeated_runs, penalise_repeats
from pacos.lazy import np
from pacos.settings import SamplingOptions

Array = Any
State = tuple[float, float]

_LN2 = 0.693147180559945309417
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
_MOST = 3.4028234663852886e38  # the largest f32
_MIROSTAT_TOKENS = 100


def exponential(x: Array) -> Array:
    """Give e to the x for -80 <= x <= 0, within 2 ulp; lower is taken for -80.

    Shapes: f32 [N] -> f32 [N].
    """
    f32 = np.float32
    x = np.maximum(x, f32(-80))
    k = (x * f32(1.44269504) + f32(12582912)) - f32(12582912)
    r = (x - k * f32(0.693359375)) - k * f32(-2.12194440e-4)
    square = r * r
    p = (r + f32(1)) + square * (r * f32(1 / 6) + f32(0.5))
    q = (r * f32(1 / 120) + f32(1 / 24)) + square * (r * f32(1 / 5040) + f32(1 / 720))
    return np.ldexp(p + (square * square) * q, k.astype(np.int32))


def power_of_e(x: float) -> float:
    """Give e to the x for -700 <= x <= 700, within 1 ulp; beyond, the value there."""
    x = min(max(x, -700.0), 700.0)
    k = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1.0 / math.factorial(13)
    for n in range(12, -1, -1):
        p = p * r + 1.0 / math.factorial(n)
    return math.ldexp(p, int(k))


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


def uniform(seed: int, position: int, stream: int = 0) -> float:
    """Draw from [0, 1) by Philox4x32-10, keyed by the seed, counted by the position; streams are independent.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
    """
    mask = 0xFFFFFFFF
    key0, key1 = seed & mask, seed >> 32 & mask
    c0, c1, c2, c3 = position & mask, position >> 32 & mask, stream, 0
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = b >> 32 ^ c1 ^ key0, b & mask, a >> 32 ^ c3 ^ key1, a & mask
        key0, key1 = key0 + 0x9E3779B9 & mask, key1 + 0xBB67AE85 & mask
    return ((c0 >> 5) * 67108864.0 + (c1 >> 6)) * (1.0 / 9007199254740992.0)


# ---- rows ------------------------------------------------------------------------------------------------------------


def distances(logits: Array) -> Array:
    """How far each logit lies below the best; what is dropped is inf away. Shapes: f32 [V] -> f32 [V]."""
    with np.errstate(over="ignore"):
        return logits.max() - logits


def _rounded(values: Array) -> Array:
    step = 2.0 ** (len(values).bit_length() - 1)  # sums of V such numbers up to 1 have at most 53 bits
    return (values + step) - step


def candidate_weights(logits: Array) -> Array:
    """Give e to the minus distance, to a whole multiple of 2^-(53 - bits of V): probabilities before their division.

    Shapes: f32 [V] -> f64 [V].
    """
    return _rounded(exponential(-distances(logits)).astype(np.float64))


def entropy(logits: Array) -> float:
    """Entropy of the candidates. Units: natural logarithm."""
    weights = candidate_weights(logits)
    products = _rounded(weights * np.minimum(distances(logits), np.float32(80)).astype(np.float64))
    total = float(weights.sum())
    return float(products.sum()) / total + logarithm(total)


def _f32(value: float) -> float:
    return float(np.float32(value))


def _kept(logits: Array, keep: Array) -> Array:
    return np.where(keep, logits, np.float32(-math.inf))


def _within(logits: Array, distance: float) -> Array:
    return _kept(logits, distances(logits) <= np.float32(min(distance, _MOST)))


def _nearest(logits: Array, by: Array) -> Array:
    alive = np.nonzero(logits > -math.inf)[0]
    return alive[np.lexsort((alive, by[alive]))]


def _keep_prefix(logits: Array, order: Array, enough: Array) -> Array:
    keep = np.zeros(len(logits), bool)
    keep[order[: int(np.argmax(np.append(enough, True))) + 1]] = True
    return _kept(logits, keep)


# ---- stages ----------------------------------------------------------------------------------------------------------


def mask_logits(logits: Array, mask: Array) -> Array:
    """Drop the tokens whose bit is not set. Shapes: f32 [V], u32 [ceil(V / 32)] -> f32 [V]."""
    ids = np.arange(len(logits))
    return _kept(logits, mask[ids >> 5] >> (ids & 31).astype(np.uint32) & 1 != 0)


def bias_logits(logits: Array, biases: Sequence[tuple[int, float]]) -> Array:
    """Add to tokens' logits, in f32. Shapes: f32 [V] -> f32 [V]."""
    logits = logits.copy()
    for token, bias in biases:
        logits[token] += np.float32(bias)
    return logits


def keep_top_k(logits: Array, k: int) -> Array:
    """Keep the k nearest to the best; of equals the lower id. 0 or less is off."""
    if k <= 0:
        return logits
    order = _nearest(logits, distances(logits))
    return _keep_prefix(logits, order, np.arange(1, len(order) + 1) >= k)


def keep_top_p(logits: Array, p: float, min_keep: int) -> Array:
    """Keep the likeliest until their probabilities reach p. 1 is off. Source: arXiv:1904.09751."""
    p = _f32(p)
    if p >= 1:
        return logits
    weights = candidate_weights(logits)
    order = _nearest(logits, distances(logits))
    reached = np.cumsum(weights[order]) >= p * float(weights.sum())
    return _keep_prefix(logits, order, reached & (np.arange(1, len(order) + 1) >= min_keep))


def keep_min_p(logits: Array, p: float, min_keep: int) -> Array:
    """Keep what is at least p times as likely as the likeliest. 0 is off. Source: arXiv:2407.01082."""
    p = _f32(p)
    if p <= 0:
        return logits
    kept = _within(logits, -logarithm(p))
    return kept if np.count_nonzero(kept > -math.inf) >= min_keep else keep_top_k(logits, min_keep)


def keep_typical(logits: Array, p: float, min_keep: int) -> Array:
    """Keep those whose information is nearest to the entropy until their probabilities exceed p.

    1 is off. Source: arXiv:2202.00666.
    """
    p = _f32(p)
    if p >= 1:
        return logits
    weights = candidate_weights(logits)
    total = float(weights.sum())
    offset = logarithm(total) - entropy(logits)
    order = _nearest(logits, np.abs(distances(logits).astype(np.float64) + offset).astype(np.float32))
    reached = np.cumsum(weights[order]) > p * total
    return _keep_prefix(logits, order, reached & (np.arange(1, len(order) + 1) >= min_keep))


def keep_top_n_sigma(logits: Array, n: float) -> Array:
    """Keep logits within n standard deviations of the best. 0 or less is off. Source: arXiv:2411.07641.

    Sums run in 8 lanes, lane l over ids 8 j + l, then in a fixed tree.
    """
    n = _f32(n)
    if n <= 0:
        return logits
    alive = logits > -math.inf
    count = np.count_nonzero(alive)

    def in_lanes(values: Array) -> float:
        lanes = np.cumsum(np.pad(values, (0, -len(values) % 8)).reshape(-1, 8), axis=0)[-1]
        return float(((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])))

    values = np.where(alive, logits, np.float32(0)).astype(np.float64)
    off = np.where(alive, values - in_lanes(values) / count, 0.0)
    return _within(logits, n * math.sqrt(in_lanes(off * off) / count))


def keep_top_a(logits: Array, a: float) -> Array:
    """Keep what is at least `a` times the square of the largest probability. 0 is off."""
    a = _f32(a)
    return logits if a <= 0 else _within(logits, logarithm(float(candidate_weights(logits).sum()) / a))


def keep_before_tail(logits: Array, z: float, min_keep: int) -> Array:
    """Cut where the curve of sorted probabilities gets flat: its second differences reach z of their sum. 1 is off.

    Source: tail-free sampling, https://www.trentonbricken.com/Tail-Free-Sampling/
    """
    z = _f32(z)
    order = _nearest(logits, distances(logits))
    if z >= 1 or len(order) <= 2:
        return logits
    bends = np.abs(np.diff(candidate_weights(logits)[order], 2))
    beyond = np.nonzero(np.cumsum(bends) > z * float(bends.sum()))[0]
    return keep_top_k(logits, max(int(beyond[0]), min_keep, 1)) if len(beyond) else logits


def drop_top_choices(logits: Array, options: SamplingOptions, position: int) -> Array:
    """XTC: by chance, drop all tokens at or above the threshold but the least likely of them.

    Source: https://github.com/oobabooga/text-generation-webui/pull/6335
    """
    chance, threshold = _f32(options.xtc_probability), _f32(options.xtc_threshold)
    if chance <= 0 or threshold > 0.5 or uniform(options.seed, position, 1) >= chance:
        return logits
    far = distances(logits)
    total = float(candidate_weights(logits).sum())
    reach = np.float32(-logarithm(threshold * total)) if threshold > 0 else np.float32(_MOST)
    top = [token for token in _nearest(logits, far) if far[token] <= reach]
    left = np.count_nonzero(logits > -math.inf) - (len(top) - 1)
    if len(top) < 2 or left < options.min_keep:
        return logits
    keep = np.ones(len(logits), bool)
    keep[top[:-1]] = False
    return _kept(logits, keep)


def apply_temperature(logits: Array, temp: float, spread: float = 0.0, exponent: float = 1.0) -> Array:
    """Divide by the temperature; 0 keeps the likeliest alone. With a spread, the entropy places it around `temp`.

    Source: dynamic temperature, arXiv:2309.02772.
    """
    temp, spread, exponent = _f32(temp), _f32(spread), _f32(exponent)
    if temp > 0 and spread > 0:
        alive = int(np.count_nonzero(logits > -math.inf))
        if alive < 2:
            return logits
        share = min(entropy(logits) / logarithm(alive), 1.0)
        raised = power_of_e(exponent * logarithm(share)) if share > 0 else float(exponent == 0)
        low = max(0.0, temp - spread)
        temp = _f32(low + (temp + spread - low) * raised)
    if temp <= 0:
        return keep_top_k(logits, 1)
    most = np.float32(_MOST)
    with np.errstate(over="ignore"):
        return _kept(np.clip(logits / np.float32(temp), -most, most), logits > -math.inf)


# ---- the last step ---------------------------------------------------------------------------------------------------


def first_state(options: SamplingOptions) -> State:
    """What mirostat (its mu, 0) or adaptive-p (sums of probabilities and of weights) start a sequence with."""
    if options.mirostat:
        return 2.0 * _f32(options.mirostat_tau), 0.0
    decay = _f32(options.adaptive_decay)
    return _f32(options.adaptive_target) / (1.0 - decay), 1.0 / (1.0 - decay)


def keep_mirostat(logits: Array, options: SamplingOptions, mu: float) -> Array:
    """Keep as many of the likeliest as a surprise of mu bits asks for. Source: arXiv:2007.14966."""
    far = distances(logits)
    if options.mirostat == 2:
        reach = np.float32(mu * _LN2 - logarithm(float(candidate_weights(logits).sum())))
        return _within(logits, float(reach)) if reach >= 0 else keep_top_k(logits, 1)
    steps = np.minimum(far[_nearest(logits, far)[:_MIROSTAT_TOKENS]], np.float32(80)).astype(np.float64)
    if len(steps) < 2:
        return logits
    products = squares = 0.0
    for i in range(len(steps) - 1):
        t = logarithm((i + 2.0) / (i + 1.0))
        products += t * float(steps[i + 1] - steps[i])
        squares += t * t
    slope, size = products / squares, logarithm(float(len(logits)))
    if slope <= 0:
        return logits
    excess, wanted = slope - 1.0, power_of_e(min(max(mu * _LN2, -300.0), 300.0))
    below = 1.0 - power_of_e(-excess * size)
    ratio = wanted / size if below == 0 else excess * wanted / below
    return keep_top_k(logits, max(int(power_of_e(min(logarithm(ratio) / slope, size))), 1))


def approach_target(logits: Array, options: SamplingOptions, state: State) -> Array:
    """Adaptive-p: make those likeliest whose probability is near the target, corrected by what was drawn before.

    Source: https://github.com/ggml-org/llama.cpp/pull/17927
    """
    target = min(max(2.0 * _f32(options.adaptive_target) - state[0] / state[1], 0.0), 1.0)
    weights = candidate_weights(logits)
    off = np.abs(weights / float(weights.sum()) - target) / 0.3
    return _kept((5.0 - 10.0 * off * off / (1.0 + off)).astype(np.float32), logits > -math.inf)


def sampling_row(
    logits: Array, tokens: Sequence[int], options: SamplingOptions, breakers: Sequence[Sequence[int]] = ()
) -> Array:
    """Run the chain of stages on a row; with mirostat, only what does not truncate, and the temperature.

    Shapes: f32 [V] -> f32 [V].
    """
    keep, history = options.min_keep, list(tokens)
    heat = (options.temp, options.dynatemp_range, options.dynatemp_exponent)
    stages: dict[str, Callable[[Array], Array]] = {
        "penalties": lambda row: penalise_repeats(row, history, options),
        "dry": lambda row: penalise_repeated_runs(row, history, options, breakers),
        "top_n_sigma": lambda row: keep_top_n_sigma(row, options.top_n_sigma),
        "top_k": lambda row: keep_top_k(row, options.top_k),
        "tfs_z": lambda row: keep_before_tail(row, options.tfs_z, keep),
        "typ_p": lambda row: keep_typical(row, options.typical_p, keep),
        "top_p": lambda row: keep_top_p(row, options.top_p, keep),
        "min_p": lambda row: keep_min_p(row, options.min_p, keep),
        "top_a": lambda row: keep_top_a(row, options.top_a),
        "xtc": lambda row: drop_top_choices(row, options, len(history)),
        "temperature": lambda row: apply_temperature(row, *heat),
        "adaptive_p": lambda row: row,  # after all others
    }
    chain = options.samplers
    if options.mirostat:
        chain = tuple(name for name in chain if name in ("penalties", "dry"))
    for name in chain:
        logits = stages[name](logits) if logits.max() > -math.inf else logits
    if options.mirostat or np.float32(options.temp) <= 0:
        logits = apply_temperature(logits, options.temp)
    return logits


def sample_token(
    logits: Array,
    tokens: Sequence[int],
    options: SamplingOptions,
    state: State | None = None,
    *,
    mask: Array = None,
    breakers: Sequence[Sequence[int]] = (),
) -> tuple[int, Array, State]:
    """Draw the token after `tokens`: the token, the row that it was drawn from, and the state after it.

    The draw depends on row, tokens, options, state and mask alone. It walks up the ids, to where weights exceed a
    uniform part of their sum. Shapes: f32 [V] -> id, f32 [V]. Errors: ValueError when every token is banned.
    """
    state = state or first_state(options)
    row = bias_logits(logits if mask is None else mask_logits(logits, mask), options.logit_bias)
    row = sampling_row(row, tokens, options, breakers) if row.max() > -math.inf else row
    if row.max() == -math.inf:
        raise ValueError("every token is banned")
    before = candidate_weights(row)
    adaptive = "adaptive_p" in options.samplers and options.adaptive_target >= 0 and not options.mirostat
    if options.mirostat:
        row = keep_mirostat(row, options, state[0])
    elif adaptive:
        row = approach_target(row, options, state)
    weights = candidate_weights(row)
    reached = np.cumsum(weights)
    target = uniform(options.seed, len(tokens)) * reached[-1]
    chosen = int(np.nonzero(reached > target)[0][0]) if reached[-1] > target else int(np.nonzero(weights)[0][-1])
    if options.mirostat:
        bits = (float(distances(row)[chosen]) + logarithm(float(reached[-1]))) / _LN2
        state = state[0] - _f32(options.mirostat_eta) * (bits - _f32(options.mirostat_tau)), 0.0
    elif adaptive:
        decay = _f32(options.adaptive_decay)
        state = float(before[chosen] / before.sum()) + decay * state[0], 1.0 + decay * state[1]
    return chosen, row, state


def log_softmax_at(logits: Array, ids: Sequence[int]) -> Array:
    """Log-probabilities of some tokens of a row. Shapes: f32 [V], M ids -> f64 [M]."""
    total = logarithm(float(candidate_weights(logits).sum()))
    return -distances(logits)[list(ids)].astype(np.float64) - total
