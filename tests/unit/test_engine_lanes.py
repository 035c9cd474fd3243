"""One engine, several results: hidden states beside logits over the same pages; encoders, whose prompts stay whole."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator

import pytest
from fake_program import CONTEXT, GREEDY, FakePages, FakeProgram, Toy, V, expected, mix, prompt_of, toy_logits

from pacos.engine.engine import Engine
from pacos.engine.lanes import Lanes
from pacos.engine.pooling import CopiedRows, PooledRows
from pacos.engine.sequence import SequenceRequest
from pacos.errors import NumericalError, UsageError
from pacos.models import HIDDEN, LOGITS
from pacos.settings import GenerateOptions

WIDTH = 5


class TwoResults(Toy):
    """A toy that also gives the first numbers of its logits as hidden states, or nothing else (an encoder)."""

    def __init__(self, *, encoder: bool = False, max_tokens: int = 32) -> None:
        self.pages = FakePages(64)
        self.program = FakeProgram(self.pages, max_tokens, WIDTH if encoder else V)
        self.made: list[FakeProgram] = []
        main = HIDDEN if encoder else LOGITS
        lanes = Lanes(main, self.program, None if encoder else self._make, whole=encoder)
        self.engine = Engine(self.program, self.pages, CONTEXT, lanes=lanes, vocab_size=V, causal=not encoder)

    def _make(self, result: str) -> FakeProgram:
        assert result == HIDDEN
        self.made.append(FakeProgram(self.pages, self.program.max_tokens, WIDTH))
        return self.made[-1]


@pytest.fixture
def toy() -> Iterator[TwoResults]:
    made = TwoResults()
    yield made
    made.engine.close()


def hidden_of(tokens: list[int], places: range) -> array:
    states = [0]
    for token in tokens:
        states.append(mix(token, states[-1]))
    return array("f", [value for place in places for value in toy_logits(states[place + 1])[:WIDTH]])


def test_hidden_states_beside_generation_change_nothing(toy: TwoResults) -> None:
    prompt, tokens = prompt_of(30), prompt_of(90, seed=4)
    toy.program.gate.clear()
    sequence = toy.submit(prompt, n_predict=60)
    sinks = [CopiedRows(range(90)) for _ in range(3)]
    scored = [toy.engine.submit_rows(tokens, sink, HIDDEN) for sink in sinks]
    toy.program.gate.set()
    logits = toy.engine.logits(tokens, [89])
    assert sequence.wait() == expected(prompt, GREEDY, 60)
    for one, sink in zip(scored, sinks, strict=True):
        assert one.wait() == []
        assert sink.rows == hidden_of(tokens, range(90))
    assert logits[:WIDTH] == hidden_of(tokens, range(89, 90))
    toy.settled()


def test_a_program_is_made_once_and_when_it_is_wanted(toy: TwoResults) -> None:
    assert toy.made == []
    threads = [threading.Thread(target=toy.engine.program_of, args=(HIDDEN,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(toy.made) == 1
    assert toy.engine.program_of(HIDDEN).result_width == WIDTH
    toy.engine.close()
    assert toy.made[0].closed
    assert toy.program.closed


def test_a_fault_of_one_result_leaves_the_other_alone(toy: TwoResults) -> None:
    toy.engine.program_of(HIDDEN)
    toy.made[0].raise_token = 7
    bad = toy.engine.submit_rows([1, 7, 2], CopiedRows([2]), HIDDEN)
    good = toy.engine.submit_rows([1, 3, 2], CopiedRows([2]), HIDDEN)
    sequence = toy.submit(prompt_of(9), n_predict=5)
    with pytest.raises(Exception, match="ordered fault"):
        bad.wait()
    good.wait()
    assert sequence.wait() == expected(prompt_of(9), GREEDY, 5)
    toy.settled()


def test_cancelling_cuts_the_step_of_whichever_program_runs(toy: TwoResults) -> None:
    toy.engine.program_of(HIDDEN)
    toy.made[0].gate.clear()
    sequence = toy.engine.submit_rows(prompt_of(20), CopiedRows([19]), HIDDEN)
    while not toy.engine._stepping.parts:
        pass
    sequence.cancel()
    assert toy.made[0].cancelled.is_set()
    assert not toy.program.cancelled.is_set()
    toy.made[0].gate.set()
    sequence.wait()
    toy.settled()


def test_an_encoder_computes_every_prompt_in_one_step() -> None:
    toy = TwoResults(encoder=True, max_tokens=40)
    toy.program.gate.clear()
    inputs = [prompt_of(length, seed=length) for length in (40, 7, 35, 1, 20, 19, 40)]
    sinks = [CopiedRows(range(len(one))) for one in inputs]
    sequences = [toy.engine.submit_rows(one, sink, HIDDEN) for one, sink in zip(inputs, sinks, strict=True)]
    toy.program.gate.set()
    for sequence in sequences:
        sequence.wait()
    for one, sink in zip(inputs, sinks, strict=True):
        assert sink.rows == hidden_of(one, range(len(one)))
    assert sorted(length for step in toy.program.steps for length in step) == sorted(map(len, inputs))
    assert max(sum(step) for step in toy.program.steps) <= 40
    again = toy.engine.submit_rows(inputs[0], CopiedRows([0]), HIDDEN)
    again.wait()
    assert toy.program.steps[-1] == [40]  # nothing was kept of the first time
    toy.settled()
    toy.engine.close()


def test_an_encoder_says_what_it_cannot_do() -> None:
    toy = TwoResults(encoder=True)
    with pytest.raises(UsageError, match=r"encoder: it generates no text .use `pacos embed`"):
        toy.engine.submit(SequenceRequest([1], GREEDY, GenerateOptions()))
    with pytest.raises(UsageError, match="gives hidden, no logits"):
        toy.engine.logits([1, 2], [0])
    toy.engine.close()
    with pytest.raises(UsageError, match="closed"):
        toy.engine.program_of(LOGITS)


@pytest.mark.parametrize(
    ("pooling", "normalize", "wanted"),
    [
        ("mean", -1, [2.0, -3.0, 0.0]),
        ("cls", -1, [1.0, -4.0, 0.0]),
        ("last", -1, [3.0, -2.0, 0.0]),
        ("mean", 1, [0.4, -0.6, 0.0]),
        ("mean", 2, [2 / 13**0.5, -3 / 13**0.5, 0.0]),
        ("mean", 3, [2 / 35 ** (1 / 3), -3 / 35 ** (1 / 3), 0.0]),
        ("mean", 0, [21840.0, -32760.0, 0.0]),
        ("none", 1, [0.2, -0.8, 0.0, 0.6, -0.4, 0.0]),
    ],
)
def test_poolings_and_norms(pooling: str, normalize: int, wanted: list[float]) -> None:
    rows = [array("f", [1, -4, 0]), array("f", [3, -2, 0])]
    sink = PooledRows(pooling, 2)
    for place in sink.wanted:
        sink.take(memoryview(rows[place]), 1)
    assert sink.vector(normalize, 3) == pytest.approx(wanted, rel=1e-6)


def test_a_vector_is_cut_before_its_norm_and_nothing_stays_nothing() -> None:
    sink = PooledRows("mean", 2)
    sink.take(memoryview(array("f", [3, 4, 100, 3, 4, 100])), 2)
    assert sink.vector(2, 2) == pytest.approx([0.6, 0.8])
    sink = PooledRows("last", 1)
    sink.take(memoryview(array("f", [0, 0])), 1)
    assert list(sink.vector(2, 2)) == [0, 0]
    sink = PooledRows("cls", 1)
    sink.take(memoryview(array("f", [1, float("nan")])), 1)
    with pytest.raises(NumericalError, match="not a finite number"):
        sink.vector(2, 2)
