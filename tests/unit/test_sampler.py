"""The native sampler against its numpy definition, its randomness, its defaults and its refusals."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacos.engine.sampler import Sampler, SamplerScratch, log_probabilities
from pacos.errors import NumericalError, UsageError
from pacos.ir.ops import sampling
from pacos.native import address_of
from pacos.settings import SAMPLERS, SamplingOptions

V = 61
_SCRATCH = SamplerScratch(V)


def choose(logits: Any, tokens: list[int], options: SamplingOptions) -> int:
    return Sampler(options, SamplerScratch(len(logits))).next_token(address_of(logits), array("i", tokens))


@st.composite
def logit_rows(draw: st.DrawFn) -> Any:
    """Random rows, with ties and with odd values here and there; not all banned."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    row = np.round(random.normal(0, draw(st.sampled_from([0.01, 1, 5, 30])), V), draw(st.sampled_from([0, 1, 7])))
    for value in draw(st.lists(st.sampled_from([0.0, -0.0, 5.0, -math.inf, 1e-40, -3e38, 3e38]), max_size=5)):
        row[random.integers(0, V, random.integers(1, 30))] = value
    row[0] = max(row[0], -1e9)
    return row.astype(np.float32)


chains = st.lists(st.sampled_from(SAMPLERS), max_size=8).map(tuple) | st.permutations(SAMPLERS).map(tuple)
probability = st.sampled_from([0.0, 1e-12, 0.05, 0.3, 0.5, 0.9, 0.95, 1.0])
every_option = st.builds(
    SamplingOptions,
    temp=st.sampled_from([0.0, 1e-9, 0.3, 0.8, 1.0, 2.5, 100.0]),
    top_k=st.sampled_from([-1, 0, 1, 2, 7, 40, V, V + 1, 5000]),
    top_p=probability,
    min_p=probability,
    typical_p=probability,
    repeat_penalty=st.sampled_from([1.0, 1.1, 0.5, 3.0]),
    repeat_last_n=st.sampled_from([-1, 0, 1, 5, 64, 2**31 - 1]),
    presence_penalty=st.sampled_from([0.0, 0.5, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25, -1.5]),
    logit_bias=st.dictionaries(st.integers(0, V - 1), st.sampled_from([-100.0, 2.0, 100.0, -math.inf]), max_size=4),
    seed=st.integers(0, 2**64 - 1),
    samplers=chains,
)


@settings(max_examples=400, deadline=None)
@given(logit_rows(), st.lists(st.integers(0, V - 1), max_size=20), every_option)
def test_native_chain_equals_its_definition(logits: Any, tokens: list[int], options: SamplingOptions) -> None:
    """Kept candidates, their weights to the last bit, and the draw."""
    ids, weights = sampling.sampling_candidates(logits, tokens, options)
    sampler, history = Sampler(options, _SCRATCH), array("i", tokens)
    if weights.sum() == 0:
        with pytest.raises(NumericalError, match="banned"):
            sampler.next_token(address_of(logits), history)
        return
    chosen, kept_ids, kept_weights = sampler.candidates(address_of(logits), history)
    assert kept_ids == ids.tolist()
    assert kept_weights == weights.tolist()
    assert chosen == sampling.sample_token(logits, tokens, options)
    assert sampler.next_token(address_of(logits), history) == chosen
    assert len(kept_ids) >= 1


@pytest.mark.parametrize("size", [1, 7, 8, 17, 300, 5000, 70000])
@pytest.mark.parametrize(
    "changed", [{}, {"top_k": 0}, {"top_k": 2000}, {"top_k": 0, "min_p": 0.0}, {"top_p": 1.0, "top_k": 0}]
)
def test_large_rows_equal_the_definition(size: int, changed: dict[str, Any]) -> None:
    """Partial selection gives what a full sort gives, ties included."""
    random = np.random.default_rng(size)
    logits = np.round(random.normal(0, 4, size), 1).astype(np.float32)  # rounding makes ties
    options = SamplingOptions(seed=3, repeat_penalty=1.2, **changed)
    tokens = [int(token) for token in random.integers(0, size, 50)]
    ids, weights = sampling.sampling_candidates(logits, tokens, options)
    sampler = Sampler(options, SamplerScratch(size))
    chosen, kept_ids, kept_weights = sampler.candidates(address_of(logits), array("i", tokens))
    assert (kept_ids, kept_weights) == (ids.tolist(), weights.tolist())
    assert chosen == sampling.sample_token(logits, tokens, options)


def test_defaults_are_llama_cpps() -> None:
    """Values of common_params_sampling in llama.cpp's common/common.h, and its default chain without
    the stages that are off by default there and not here."""
    expected = {
        "temp": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "typical_p": 1.0, "repeat_penalty": 1.0,
        "repeat_last_n": 64, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": -1,
    }  # fmt: skip
    options = SamplingOptions()
    assert {name: getattr(options, name) for name in expected} == expected
    chain = "penalties;top_k;typ_p;top_p;min_p;temperature"
    assert ";".join(options.samplers) == chain


def test_draws_follow_the_distribution() -> None:
    """Chi-square over 20,000 positions with a fixed seed; 99.9 % point for 9 degrees of freedom."""
    logits = np.log(np.arange(1, 11, dtype=np.float32))
    sampler = Sampler(SamplingOptions(temp=1.0, top_p=1.0, min_p=0.0, seed=42), SamplerScratch(10))
    history, counts = array("i"), Counter[int]()
    where = address_of(logits)
    for _ in range(20_000):
        counts[sampler.next_token(where, history)] += 1
        history.append(0)
    expected = np.arange(1, 11) / 55 * 20_000
    observed = np.array([counts[token] for token in range(10)])
    assert float(((observed - expected) ** 2 / expected).sum()) < 27.88


def test_uniform_is_philox() -> None:
    """The generator's published vector (Random123 kat_vectors: philox4x32 10, all zero and its first output words)."""
    assert sampling.uniform(0, 0) == ((0x6627E8D5 >> 5) * 2**26 + (0xE169C58D >> 6)) / 2**53


def test_own_exp_and_log_are_close_to_libm() -> None:
    """Within 1 or 2 units in the last place of the C library's."""
    x = -np.abs(np.random.default_rng(1).normal(0, 60, 10_000))
    assert np.all(np.abs(sampling.exponential(x) - np.exp(x)) <= np.exp(x) * 2.3e-16 * 1.01)
    for value in np.random.default_rng(2).uniform(1e-6, 1e6, 2000):
        assert math.isclose(sampling.logarithm(float(value)), math.log(value), rel_tol=5e-16, abs_tol=2e-16)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 8, V - 1])
@pytest.mark.parametrize("temp", [0.0, 0.8])
def test_not_finite_logits_are_refused(bad: float, place: int, temp: float) -> None:
    logits = np.zeros(V, np.float32)
    logits[place] = bad
    with pytest.raises(NumericalError, match="not a finite number"):
        choose(logits, [], SamplingOptions(temp=temp))


@pytest.mark.parametrize("temp", [0.0, 0.8])
def test_everything_banned_is_an_error(temp: float) -> None:
    with pytest.raises(NumericalError, match="every token is banned"):
        choose(np.full(V, -math.inf, np.float32), [], SamplingOptions(temp=temp))
    banned = dict.fromkeys(range(V), -math.inf)
    with pytest.raises(NumericalError, match="every token is banned"):
        choose(np.zeros(V, np.float32), [], SamplingOptions(temp=temp, logit_bias=banned))


def test_greedy_takes_the_lowest_of_equals() -> None:
    logits = np.zeros(V, np.float32)
    logits[[9, 20, 40]] = 3
    assert choose(logits, [], SamplingOptions(temp=0)) == 9
    assert choose(logits, [9], SamplingOptions(temp=0, repeat_penalty=1.5)) == 20
    assert choose(logits, [], SamplingOptions(temp=0, logit_bias={40: 0.5})) == 40


def test_seed_and_position_decide() -> None:
    """The same seed draws the same tokens; -1 draws a seed and tells it."""
    logits = np.zeros(V, np.float32)
    options = SamplingOptions(temp=1.0, seed=7)
    runs = [[choose(logits, [0] * n, options) for n in range(40)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 10
    drawn = Sampler(SamplingOptions(), _SCRATCH).options.seed
    assert drawn >= 0
    assert Sampler(SamplingOptions(), _SCRATCH).options.seed != drawn


def test_bias_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(UsageError, match=f"token {V}"):
        Sampler(SamplingOptions(logit_bias={V: 1.0}), _SCRATCH)


def test_log_probabilities_equal_the_definition() -> None:
    rows = np.random.default_rng(5).normal(0, 5, (6, 333)).astype(np.float32)
    tokens = [0, 332, 5, 6, 7, 8]
    expected = [float(sampling.log_softmax_at(row, [token])[0]) for row, token in zip(rows, tokens, strict=True)]
    found = log_probabilities(rows, tokens)
    assert found == expected
    exact = rows[0].astype(np.float64)
    assert math.isclose(found[0], exact[0] - math.log(np.exp(exact).sum()), rel_tol=1e-12)
    assert log_probabilities(b"", []) == []
    with pytest.raises(UsageError, match="333"):
        log_probabilities(rows[:1], [333])
    rows[0, 3] = math.nan
    with pytest.raises(NumericalError):
        log_probabilities(rows, tokens)


def test_a_large_vocabulary_is_fast() -> None:
    """The best of some runs stays within four times the goal (0.3 ms sampling, 30 us greedy): machines are shared."""
    logits = np.random.default_rng(3).normal(0, 3, 150_000).astype(np.float32)
    scratch, where, history = SamplerScratch(len(logits)), address_of(logits), array("i", range(64))
    for options, limit in ((SamplingOptions(seed=1), 0.0012), (SamplingOptions(temp=0), 0.00012)):
        sampler, best = Sampler(options, scratch), math.inf
        for _ in range(30):
            start = time.perf_counter()
            sampler.next_token(where, history)
            best = min(best, time.perf_counter() - start)
        assert best < limit, f"{best * 1e6:.0f} us"
