"""How far two engines' logits are apart, as bench/agreement.py counts it."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import chunks_of, distance, ours
from commands import STORYTELLER


def test_distance_is_the_mean_divergence_of_the_rows() -> None:
    reference = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=np.float32)) + 7  # a shift says nothing
    other = np.log(np.array([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]], dtype=np.float32))
    found = distance(reference, other)
    assert found.mean == pytest.approx((0.5 * np.log(2) - 0.25 * np.log(2)) / 2, abs=1e-6)
    assert found.quantile == pytest.approx(2 * found.mean, rel=2e-3)
    assert (found.same_first, found.positions) == (0.5, 2)


def test_equal_logits_have_no_distance() -> None:
    logits = np.random.default_rng(1).normal(size=(5, 100)).astype(np.float32)
    found = distance(logits, logits)
    assert (found.mean, found.same_first) == (0, 1)


def test_chunks_cut_a_text_and_are_computed_alone() -> None:
    chunks = chunks_of(STORYTELLER, "Once upon a time there was a dragon. " * 40, 32, 2)
    assert [len(chunk) for chunk in chunks] == [32, 32]
    together = ours(STORYTELLER, chunks, threads=1)
    alone = ours(STORYTELLER, chunks[1:], threads=1)
    assert together.shape[0] == 64
    assert np.array_equal(together[32:], alone)
