"""Each stage on logits small enough to compute by hand, the constraint's mask, scores, and what is remembered."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
import pytest

from pacos.engine.sampler import Sampler, SamplerScratch
from pacos.errors import NumericalError, UsageError
from pacos.native import address_of
from pacos.settings import SamplingOptions

# Probabilities of five tokens, in the order of their ids.
PARTS = [0.4, 0.1, 0.3, 0.15, 0.05]


def row_of(parts: list[float]) -> Any:
    return np.log(np.array(parts)).astype(np.float32)


def drawn_from(
    parts: list[float], stages: str, tokens: list[int] | None = None, breakers: Any = (), **options: Any
) -> dict[int, float]:
    """What these stages leave: probabilities by id."""
    row = row_of(parts)
    sampler = Sampler(SamplingOptions(samplers=stages, **{"temp": 1.0, "seed": 1, **options}), SamplerScratch(len(row)),
                      breakers=breakers)  # fmt: skip
    _, ids, weights = sampler.candidates(address_of(row), array("i", tokens or []))
    return {token: weight / sum(weights) for token, weight in zip(ids, weights, strict=True)}


def close(found: dict[int, float], expected: dict[int, float]) -> bool:
    return found.keys() == expected.keys() and all(
        math.isclose(found[token], part, rel_tol=1e-5, abs_tol=1e-9) for token, part in expected.items()
    )


@pytest.mark.parametrize(
    ("stages", "options", "expected"),
    [
        ("", {}, dict(enumerate(PARTS))),
        ("top_k", {"top_k": 2}, {0: 4 / 7, 2: 3 / 7}),
        ("top_p", {"top_p": 0.69}, {0: 4 / 7, 2: 3 / 7}),
        ("top_p", {"top_p": 0.71}, {0: 8 / 17, 2: 6 / 17, 3: 3 / 17}),
        ("top_p", {"top_p": 0.1, "min_keep": 2}, {0: 4 / 7, 2: 3 / 7}),
        ("min_p", {"min_p": 0.37}, {0: 8 / 17, 2: 6 / 17, 3: 3 / 17}),
        ("min_p", {"min_p": 0.38}, {0: 4 / 7, 2: 3 / 7}),
        ("min_p", {"min_p": 1.0}, {0: 1.0}),
        ("min_p", {"min_p": 1.0, "min_keep": 2}, {0: 4 / 7, 2: 3 / 7}),
        # Entropy 1.392 nats; surprises 0.916, 2.303, 1.204, 1.897, 2.996: nearest are ids 2, 0, 3, ...
        ("typ_p", {"typical_p": 0.2}, {2: 1.0}),
        ("typ_p", {"typical_p": 0.5}, {0: 4 / 7, 2: 3 / 7}),
        ("typ_p", {"typical_p": 0.75}, {0: 8 / 17, 2: 6 / 17, 3: 3 / 17}),
        # Second differences of 0.4 0.3 0.15 0.1 0.05: 0.05, 0.1, 0, of their sum 1/3, 2/3, 0.
        ("tfs_z", {"tfs_z": 0.3}, {0: 1.0}),
        ("tfs_z", {"tfs_z": 0.5}, {0: 1.0}),
        ("tfs_z", {"tfs_z": 0.5, "min_keep": 3}, {0: 8 / 17, 2: 6 / 17, 3: 3 / 17}),
        ("top_a", {"top_a": 0.5}, {0: 4 / 9.5, 1: 1 / 9.5, 2: 3 / 9.5, 3: 1.5 / 9.5}),
        ("top_a", {"top_a": 1.0}, {0: 4 / 7, 2: 3 / 7}),
        ("xtc", {"xtc_probability": 1.0, "xtc_threshold": 0.12}, {1: 1 / 3, 3: 0.5, 4: 1 / 6}),
        ("xtc", {"xtc_probability": 1.0, "xtc_threshold": 0.35}, dict(enumerate(PARTS))),
        ("xtc", {"xtc_probability": 1.0, "xtc_threshold": 0.12, "min_keep": 4}, dict(enumerate(PARTS))),
        ("xtc", {"xtc_probability": 0.0, "xtc_threshold": 0.12}, dict(enumerate(PARTS))),
        ("temperature", {"temp": 0.5}, {i: part * part / 0.285 for i, part in enumerate(PARTS)}),
        ("temperature", {"temp": 0.0}, {0: 1.0}),
    ],
    ids=str,
)
def test_a_stage_leaves_what_was_computed_by_hand(stages: str, options: Any, expected: dict[int, float]) -> None:
    found = drawn_from(PARTS, stages, **options)
    assert close(found, expected), found


def test_top_n_sigma_measures_from_the_best() -> None:
    """Logits 4, 2, 0, 0, -1: mean 1, deviation sqrt(3.2) = 1.789."""
    parts = [math.exp(x) for x in (4, 2, 0, 0, -1)]
    assert drawn_from(parts, "top_n_sigma", top_n_sigma=1.0).keys() == {0}
    assert drawn_from(parts, "top_n_sigma", top_n_sigma=1.2).keys() == {0, 1}
    assert drawn_from(parts, "top_n_sigma", top_n_sigma=2.3).keys() == {0, 1, 2, 3}
    assert len(drawn_from(parts, "top_n_sigma", top_n_sigma=-1.0)) == 5


def test_dynamic_temperature_follows_entropy() -> None:
    """Even candidates have all entropy: the highest temperature. One sure candidate has none: the lowest."""
    parts = [0.5, 0.25, 0.25]
    share = 1.5 * math.log(2) / math.log(3)
    temp = 0.5 + 1.0 * share**2
    powers = [part ** (1 / temp) for part in parts]
    found = drawn_from(parts, "temperature", temp=1.0, dynatemp_range=0.5, dynatemp_exponent=2.0)
    assert close(found, {i: power / sum(powers) for i, power in enumerate(powers)})


def test_penalties_divide_and_subtract() -> None:
    row = np.array([2.0, -1.0, 0.5], np.float32)
    options = SamplingOptions(
        samplers="penalties", temp=1.0, seed=1, repeat_penalty=2.0, presence_penalty=0.25, frequency_penalty=0.5
    )
    _, ids, weights = Sampler(options, SamplerScratch(3)).candidates(address_of(row), array("i", [0, 0, 1]))
    lowered = [2.0 / 2 - 1.25, -1.0 * 2 - 0.75, 0.5]
    expected = [math.exp(x - 0.5) for x in lowered]
    assert ids == [0, 1, 2]
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(weights, expected, strict=True))


EVEN = [0.25] * 4


@pytest.mark.parametrize(
    ("tokens", "breakers", "factors"),
    [
        # 0 1 2 stood before and was followed by 3: a run of three, so 0.5 * 2^(3 - 2).
        ([0, 1, 2, 3, 0, 1, 2], (), {3: 1.0}),
        # A run of two costs 0.5, one of one nothing.
        ([1, 2, 3, 0, 1, 2], (), {3: 0.5}),
        ([2, 3, 0, 2], (), {}),
        # The breaker 1 ends the run after it: only one token is left.
        ([0, 1, 2, 3, 0, 1, 2], [[1]], {}),
        ([0, 1, 2, 3, 0, 1, 2], [[0]], {3: 0.5}),
        # A breaker of two tokens, and one that is no prefix of what follows.
        ([0, 1, 2, 3, 0, 1, 2], [[0, 1]], {}),
        ([0, 1, 2, 3, 0, 1, 2], [[0, 2]], {3: 1.0}),
        # A single breaker is never lowered.
        ([0, 1, 2, 3, 0, 1, 2], [[3]], {}),
    ],
)
def test_dry_lowers_what_prolongs_a_repetition(tokens: list[int], breakers: Any, factors: dict[int, float]) -> None:
    found = drawn_from(EVEN, "dry", tokens, breakers, dry_multiplier=0.5, dry_base=2.0)
    weights = {token: math.exp(-factors.get(token, 0.0)) for token in range(4)}
    assert close(found, {token: weight / sum(weights.values()) for token, weight in weights.items()}), found


def test_dry_looks_back_only_so_far() -> None:
    assert close(
        drawn_from(EVEN, "dry", [1, 2, 3, 0, 1, 2], dry_multiplier=1.0, dry_penalty_last_n=5),
        dict.fromkeys(range(4), 0.25),
    )


def test_mirostat_2_cuts_by_surprise() -> None:
    """mu starts at 2 tau; surprises are 1.32, 3.32, 1.74, 2.74 and 4.32 bits. The chain's cuts are not made."""
    options = SamplingOptions(mirostat=2, mirostat_tau=1.4, mirostat_eta=0.5, temp=1.0, seed=5, top_k=1)
    row, sampler, history = row_of(PARTS), Sampler(options, SamplerScratch(5)), array("i")
    token, ids, weights = sampler.candidates(address_of(row), history)
    assert ids == [0, 2, 3]
    mu = 2.8 - 0.5 * (-math.log2(weights[ids.index(token)] / sum(weights)) - 1.4)
    history.append(token)
    _, ids, _ = sampler.candidates(address_of(row), history)
    assert ids == [i for i, part in enumerate(PARTS) if -math.log2(part) <= mu]


def test_mirostat_1_estimates_the_tail() -> None:
    """Zipf's law with exponent 1.5 over 200 tokens: k = ((e 2^mu) / (1 - N^-e))^(1 / s), e = s - 1."""
    parts = [1 / (i + 1) ** 1.5 for i in range(200)]
    found = drawn_from(parts, "", mirostat=1, mirostat_tau=2.0)
    k = ((0.5 * 2**4) / (1 - 200**-0.5)) ** (1 / 1.5)
    assert len(found) == int(k)


def test_adaptive_p_aims_at_a_probability() -> None:
    """With nothing drawn the target is itself: 0.15 is nearest; then it moves away from what was drawn."""
    options = SamplingOptions(samplers="adaptive_p", adaptive_target=0.15, adaptive_decay=0.5, temp=1.0, seed=3)
    row, sampler, history = row_of(PARTS), Sampler(options, SamplerScratch(5)), array("i")

    def expected(target: float) -> list[float]:
        off = [abs(part - target) / 0.3 for part in PARTS]
        return [math.exp(5 - 10 * d * d / (1 + d)) for d in off]

    token, _, weights = sampler.candidates(address_of(row), history)
    best = max(expected(0.15))
    assert all(math.isclose(a, b / best, rel_tol=1e-5) for a, b in zip(weights, expected(0.15), strict=True))
    history.append(token)
    target = 0.3 - (PARTS[token] + 0.5 * 0.3) / 2.0
    _, _, weights = sampler.candidates(address_of(row), history)
    best = max(expected(target))
    assert all(math.isclose(a, b / best, rel_tol=1e-5) for a, b in zip(weights, expected(target), strict=True))


@pytest.mark.parametrize("options", [{"mirostat": 1}, {"mirostat": 2}, {"adaptive_target": 0.2}], ids=str)
def test_what_is_remembered_belongs_to_the_position(options: dict[str, Any]) -> None:
    """Asking again, as after a failed step, changes nothing; another sampler repeats the whole."""
    row = np.random.default_rng(4).normal(0, 3, 500).astype(np.float32)
    runs = []
    for times in (1, 3):
        sampler, history = Sampler(SamplingOptions(seed=9, **options), SamplerScratch(500)), array("i")
        for _ in range(30):
            history.append([sampler.next_token(address_of(row), history) for _ in range(times)][-1])
        runs.append(history.tolist())
    assert runs[0] == runs[1]


@pytest.mark.parametrize("size", [5, 32, 33, 1000, 40000])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.9])
@pytest.mark.parametrize("options", [{}, {"temp": 0.0}, {"top_k": 0, "logit_bias": {3: 2.0, 4: -math.inf}}], ids=str)
def test_a_mask_equals_banning_all_others(size: int, share: float, options: dict[str, Any]) -> None:
    random = np.random.default_rng(size)
    row = random.normal(0, 2, size).astype(np.float32)
    allowed = random.random(size) < share
    allowed[size // 2] = True
    words = np.zeros((size + 31) // 32, np.uint32)
    np.bitwise_or.at(
        words, np.nonzero(allowed)[0] >> 5, np.uint32(1) << (np.nonzero(allowed)[0] & 31).astype(np.uint32)
    )
    words[-1] |= (
        np.uint32(0xFFFFFFFF << (size % 32) & 0xFFFFFFFF) if size % 32 else np.uint32(0)
    )  # beyond the vocabulary
    scratch, history = SamplerScratch(size), array("i", [1, 2])
    found = Sampler(SamplingOptions(seed=2, **options), scratch).candidates(address_of(row), history, memoryview(words))
    banned = np.where(allowed, row, np.float32(-math.inf))
    assert found == Sampler(SamplingOptions(seed=2, **options), scratch).candidates(address_of(banned), history)
    fast = Sampler(SamplingOptions(seed=2, **options), scratch).next_token(address_of(row), history, memoryview(words))
    assert fast == found[0]


def test_a_mask_that_allows_nothing_or_does_not_fit_is_refused() -> None:
    row, scratch = np.zeros(40, np.float32), SamplerScratch(40)
    for temp in (0.0, 1.0):
        sampler = Sampler(SamplingOptions(temp=temp), scratch)
        with pytest.raises(NumericalError, match="allows no token"):
            sampler.next_token(address_of(row), array("i"), memoryview(array("I", [0, 0])))
        with pytest.raises(UsageError, match=r"mask has 4 bytes.*8 are needed for 40 tokens"):
            sampler.next_token(address_of(row), array("i"), memoryview(array("I", [1])))


def test_scores_are_those_of_the_model() -> None:
    """Chosen token and the likeliest, whatever the chain does; equals come in order of their ids."""
    row = row_of([*PARTS[:3], 0.1, 0.05])
    sampler = Sampler(SamplingOptions(temp=0.3, top_k=1, logit_bias={0: -math.inf}), SamplerScratch(5))
    score = sampler.score(address_of(row), 4, 3)
    assert score.token == 4
    assert [token for token, _ in score.top] == [0, 2, 1]
    parts = [part / 0.95 for part in (0.05, 0.4, 0.3, 0.1)]
    for found, part in zip((score.logprob, *(log for _, log in score.top)), parts, strict=True):
        assert math.isclose(found, math.log(part), abs_tol=1e-6)
    assert sampler.score(address_of(row), 4, 0).top == ()
    assert len(sampler.score(address_of(row), 4, 99).top) == 5
    with pytest.raises(UsageError, match="token 5"):
        sampler.score(address_of(row), 5, 1)


def test_many_scores_are_sorted() -> None:
    row = np.random.default_rng(8).normal(0, 3, 30_000).round(1).astype(np.float32)
    top = Sampler(SamplingOptions(), SamplerScratch(len(row))).score(address_of(row), 1, 50).top
    assert [token for token, _ in top] == np.lexsort((np.arange(len(row)), -row))[:50].tolist()


def test_scores_after_sampling_are_those_of_what_was_drawn_from() -> None:
    row = row_of(PARTS)
    sampler = Sampler(SamplingOptions(samplers="top_k", top_k=3, seed=1, temp=1.0), SamplerScratch(5))
    token, score = sampler.next_scored(address_of(row), array("i"), 10)
    assert token == score.token == sampler.next_token(address_of(row), array("i"))
    parts = {0: 8 / 17, 2: 6 / 17, 3: 3 / 17}
    assert [one for one, _ in score.top] == [0, 2, 3]
    assert all(math.isclose(math.exp(log), parts[one], rel_tol=1e-6) for one, log in score.top)
    assert math.isclose(math.exp(score.logprob), parts[token], rel_tol=1e-6)
