"""Several answers to one prompt, scores of tokens, and constraints, through the engine and the library."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

import pytest
from fake_program import GREEDY, Toy, V, expected, mix, prompt_of, request, toy_logits
from holding import held

import pacos
from pacos.engine.sequence import SequenceRequest
from pacos.errors import CapacityError, NumericalError, UsageError
from pacos.llm import LLM
from pacos.settings import GenerateOptions, SamplingOptions

np = pytest.importorskip("numpy")


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy()
    yield made
    made.program.gate.set()
    made.engine.close()


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with pacos.load("storyteller", threads=1) as opened:
        yield opened


def log_softmax(logits: list[float]) -> list[float]:
    total = math.log(sum(math.exp(one) for one in logits))
    return [one - total for one in logits]


def state_of(tokens: list[int]) -> int:
    state = 0
    for token in tokens:
        state = mix(token, state)
    return state


def test_generated_tokens_have_scores(toy: Toy) -> None:
    prompt = prompt_of(9)
    events = list(toy.submit(prompt, SamplingOptions(seed=4), n_predict=12, scores=3).events())
    text = list(prompt)
    assert [tuple(score.token for score in event.scores) for event in events] == [event.tokens for event in events]
    scores = [score for event in events for score in event.scores]
    assert len(scores) == 12
    for score in scores:
        logs = log_softmax(toy_logits(state_of(text)))
        text.append(score.token)
        assert score.logprob == pytest.approx(logs[score.token], abs=1e-6)
        best = sorted(range(V), key=lambda token: -logs[token])[:3]
        assert [logs[token] for token, _ in score.top] == pytest.approx([logs[token] for token in best], abs=1e-6)
    assert text[9:] == expected(prompt, SamplingOptions(seed=4), 12)


def test_scores_after_sampling_are_of_what_was_drawn_from(toy: Toy) -> None:
    sampling = SamplingOptions(seed=4, top_k=2, samplers=("top_k",))
    events = list(toy.submit(prompt_of(9), sampling, n_predict=5, scores=5, post_sampling_scores=True).events())
    scores = [score for event in events for score in event.scores]
    assert len(scores) == 5
    for score in scores:
        assert len(score.top) == 2
        assert sum(math.exp(logprob) for _, logprob in score.top) == pytest.approx(1)


def test_prompts_have_scores(toy: Toy) -> None:
    tokens = prompt_of(50)
    toy.submit(tokens[:20], n_predict=1).wait()
    scores = toy.engine.token_scores(tokens, first=10, top=2)
    assert [score.token for score in scores] == tokens[11:]
    for place, score in enumerate(scores, 10):
        logs = log_softmax(toy_logits(state_of(tokens[: place + 1])))
        assert score.logprob == pytest.approx(logs[tokens[place + 1]], abs=1e-6)
        assert [logprob for _, logprob in score.top] == pytest.approx(sorted(logs, reverse=True)[:2], abs=1e-6)
    assert toy.engine.token_scores([3]) == []
    toy.settled()


class Even:
    """Allows even tokens, and after `count` of them the end alone."""

    def __init__(self, count: int, end: int) -> None:
        self.count, self.end = count, end
        self.accepted: list[int] = []

    def mask(self) -> memoryview:
        words = array("I", [0] * (-(-V // 32)))
        for token in [self.end] if len(self.accepted) == self.count else range(0, V, 2):
            words[token // 32] |= 1 << token % 32
        return memoryview(words)

    def accept(self, token: int) -> None:
        self.accepted.append(token)


def test_a_constraint_decides_what_may_come(toy: Toy) -> None:
    """Beside others, also when it is preempted: what it accepted stays accepted."""
    few = Toy(pages=13)
    constraints = [Even(20 + n, end=47) for n in range(6)]
    prompts = [prompt_of(20, seed=n) for n in range(6)]
    requests = [
        SequenceRequest(prompt, SamplingOptions(seed=n), GenerateOptions(), frozenset({47}), constraint=one)
        for n, (prompt, one) in enumerate(zip(prompts, constraints, strict=True))
    ]
    with held(few.engine):
        running = [few.engine.submit(one) for one in requests]
    found = [list(sequence.events()) for sequence in running]
    for events, constraint in zip(found, constraints, strict=True):
        tokens = [token for event in events for token in event.tokens]
        assert [*tokens, 47] == constraint.accepted
        assert len(tokens) == constraint.count
        assert events[-1].finish_reason == "stop"
    assert few.engine.statistics().preemptions > 0
    few.settled()
    few.engine.close()


def test_a_constraint_that_fails_fails_its_sequence_alone(toy: Toy) -> None:
    class Nothing(Even):
        def mask(self) -> memoryview:
            return memoryview(array("I", [0] * (-(-V // 32))))

    class Broken(Even):
        def accept(self, token: int) -> None:
            raise UsageError("no such token here")

    toy.program.gate.clear()
    neighbour = toy.submit(prompt_of(5), n_predict=20)
    nothing, broken = (
        toy.engine.submit(SequenceRequest(prompt_of(7), GREEDY, constraint=one))
        for one in (Nothing(1, 1), Broken(1, 1))
    )
    toy.program.gate.set()
    with pytest.raises(NumericalError, match="allows no token"):
        nothing.wait()
    with pytest.raises(UsageError, match="no such token here"):
        broken.wait()
    assert neighbour.wait() == expected(prompt_of(5), GREEDY, 20)
    toy.settled()


def test_several_answers_have_seeds_in_a_row(llm: LLM) -> None:
    streams = llm.stream_many("Once upon a time", 4, seed=7, n_predict=12)
    texts = ["".join(event.text for event in stream) for stream in streams]
    assert [stream.seed for stream in streams] == [7, 8, 9, 10]
    assert texts == [llm.generate("Once upon a time", seed=seed, n_predict=12).text for seed in range(7, 11)]
    assert len(set(texts)) == 4
    chats = llm.stream_chat_many([{"role": "user", "content": "Hi"}], 2, n_predict=4)
    assert chats[1].seed == chats[0].seed + 1
    assert [sum(len(event.token_ids) for event in stream) for stream in chats] == [4, 4]


def test_the_best_of_several(llm: LLM) -> None:
    options = {"seed": 3, "n_predict": 10, "ignore_eos": True}
    every = llm.generate_many("Once", 5, scores=0, **options)
    found = llm.generate_many("Once", 2, best_of=5, **options)
    means = sorted((sum(score.logprob for score in one.scores) / 10 for one in every), reverse=True)
    assert [sum(score.logprob for score in one.scores) / 10 for one in found] == means[:2]
    with pytest.raises(UsageError, match="best_of is 1, for 2 answers"):
        llm.generate_many("Once", 2, best_of=1)
    with pytest.raises(UsageError, match="0 answers"):
        llm.generate_many("Once", 0)


def test_scores_of_the_library_are_those_of_logits(llm: LLM) -> None:
    found = llm.generate("Once upon a time", seed=1, n_predict=6, scores=2)
    tokens = [*found.prompt_token_ids, *found.token_ids]
    rows = [log_softmax(row) for row in llm.logits(tokens).astype(np.float64).tolist()]
    first = len(found.prompt_token_ids)
    for place, score in enumerate(found.scores, first):
        assert score.logprob == pytest.approx(rows[place - 1][tokens[place]], abs=1e-4)
        assert len(score.top) == 2
    assert [score.token for score in found.scores] == tokens[first:]
    assert tuple(llm.scores(tokens, first - 1, 2)) == found.scores


def test_a_queue_takes_all_answers_or_none() -> None:
    toy = Toy(places=3)
    toy.program.gate.clear()
    with pytest.raises(CapacityError, match="4 asked for"):
        toy.engine.submit_together([request(prompt_of(5), n_predict=1) for _ in range(4)])
    assert toy.engine.statistics().waiting == 0
    toy.program.gate.set()
    toy.engine.close()


def test_what_is_wrong_with_scores_is_told() -> None:
    with pytest.raises(UsageError, match="scores is -2"):
        GenerateOptions(scores=-2)
