"""Scoring through the engine: rows of logits and log-probabilities come through the same steps as everything else."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from fake_program import GREEDY, Toy, expected, mix, prompt_of, toy_logits

from pacos.models import LOGITS


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy()
    yield made
    made.engine.close()


def states_of(tokens: list[int]) -> list[int]:
    states = [0]
    for token in tokens:
        states.append(mix(token, states[-1]))
    return states[1:]


@pytest.mark.parametrize("outputs", [range(70), range(35, 69), [0, 40, 69], []])
def test_logits_come_through_the_same_steps(toy: Toy, outputs: Any) -> None:
    tokens = prompt_of(70)
    toy.engine._lanes.prepare(LOGITS).batch._rows_max = 7  # cut steps short, as a large vocabulary does
    toy.submit(tokens[:40], n_predict=5).wait()  # the cache holds a part of it
    rows = toy.engine.logits(tokens, outputs)
    states = states_of(tokens)
    assert rows == array("f", [value for place in outputs for value in toy_logits(states[place])])
    assert max(len(step) for step in toy.program.steps) == 1
    toy.settled()


def test_log_probabilities_are_those_of_the_logits(toy: Toy) -> None:
    tokens = prompt_of(60)
    found = toy.engine.log_probabilities(tokens, 20)
    assert len(found) == 39
    for place, value in enumerate(found, 20):
        logits = toy_logits(states_of(tokens[: place + 1])[-1])
        direct = logits[tokens[place + 1]] - math.log(sum(math.exp(x) for x in logits))
        assert value == pytest.approx(direct, abs=1e-7)
    assert toy.engine.log_probabilities([3]) == []


def test_scoring_beside_generation_changes_neither(toy: Toy) -> None:
    prompt, tokens = prompt_of(30), prompt_of(90, seed=4)
    sequence = toy.submit(prompt, n_predict=60)
    rows = toy.engine.logits(tokens, range(90))
    assert sequence.wait() == expected(prompt, GREEDY, 60)
    assert rows == array("f", [value for state in states_of(tokens) for value in toy_logits(state)])


def test_what_comes_after_the_last_row_is_not_computed(toy: Toy) -> None:
    tokens = prompt_of(90)
    rows = toy.engine.logits(tokens, [3])
    assert rows == array("f", toy_logits(states_of(tokens)[3]))
    assert toy.program.tokens_run == 32
    assert toy.engine.logits(tokens, [60]) == array("f", toy_logits(states_of(tokens)[60]))
    toy.settled()
