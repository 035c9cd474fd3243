"""States of recurrent models in the engine: right in every slot, reused from checkpoints, bounded, given back."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fake_program import CONTEXT, GREEDY, PAGE_TOKENS, Toy, expected, prompt_of, request
from holding import held

from pacos.engine import states
from pacos.engine.room import plan_slots
from pacos.errors import CapacityError
from pacos.settings import SamplingOptions
from pacos.types import PageLayout


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy(slots=40)
    yield made
    made.program.gate.set()
    made.engine.close()


@pytest.fixture(autouse=True)
def _near_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "CHECKPOINT_PAGES", 2)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 33, 64, 65])
def test_any_length_equals_the_oracle(toy: Toy, length: int) -> None:
    prompt = prompt_of(length)
    assert toy.submit(prompt, n_predict=20).wait() == expected(prompt, GREEDY, 20)
    toy.settled()


@pytest.mark.parametrize(("pages", "slots"), [(14, 40), (64, 6), (64, 3), (200, 100)])
def test_many_at_once_equal_each_alone(pages: int, slots: int) -> None:
    """Sequences with shared beginnings, some cancelled; with few pages they are preempted, with few slots they wait."""
    toy, chance = Toy(pages, slots=slots), random.Random(5)
    jobs: list[Any] = []
    for number in range(40):
        begin = prompt_of(chance.choice([3, 16, 30]), seed=number % 3)
        prompt = begin + prompt_of(chance.randrange(1, 20), seed=number)
        jobs.append((prompt, SamplingOptions(seed=number), chance.randrange(1, CONTEXT - len(prompt))))
    with held(toy.engine):
        running = [toy.submit(prompt, options, n_predict=count) for prompt, options, count in jobs]
    for sequence in running[::9]:
        sequence.cancel()
    for sequence, (prompt, options, count) in zip(running, jobs, strict=True):
        whole = expected(prompt, options, count)
        assert sequence.wait() == whole[: len(sequence.text) - len(prompt)]
        assert len(sequence.text) - len(prompt) == count or sequence.finish_reason == "cancelled"
    toy.settled()
    assert (toy.engine._scheduler.preemptions > 0) == (pages == 14)
    assert max(map(len, toy.program.steps)) <= slots // 2
    toy.engine.close()


def test_slots_are_owned_once_in_every_step() -> None:
    toy, chance = Toy(pages=14, slots=9), random.Random(1)
    run = toy.program.run

    def checking(step: Any) -> Any:
        toy.program.gate.wait()
        running = toy.engine._scheduler.running
        toy.engine.pool.check(sequence.pages for sequence in running)
        toy.engine._scheduler.states.check(running)  # type: ignore[union-attr]
        for sequence in chance.sample(sequences, 1) if chance.random() < 0.2 else ():
            sequence.cancel()
        return run(step)

    toy.program.gate.clear()
    toy.program.run = checking  # type: ignore[method-assign]
    sequences = [toy.submit(prompt_of(chance.randrange(1, 60), seed=n % 7), n_predict=30) for n in range(60)]
    toy.program.gate.set()
    for sequence in sequences:
        list(sequence.events())
    toy.settled()
    toy.engine.close()


def test_a_chat_turn_goes_on_from_the_answers_end(toy: Toy) -> None:
    prompt = prompt_of(20)
    answer = toy.submit(prompt, n_predict=11).wait()
    before = toy.program.tokens_run
    following = [*prompt, *answer, *prompt_of(8, seed=9)]
    second = toy.submit(following, n_predict=1)
    assert second.wait() == expected(following, GREEDY, 1)
    assert second.timings().cached_tokens == 30  # all but the answer's last token, which was never computed
    assert toy.program.tokens_run - before == 9
    toy.settled()


def test_another_question_goes_on_from_the_last_whole_page(toy: Toy) -> None:
    prompt = prompt_of(21)
    toy.submit(prompt, n_predict=9).wait()
    other = [*prompt[:18], *prompt_of(6, seed=4)]
    second = toy.submit(other, n_predict=5)
    assert second.wait() == expected(other, GREEDY, 5)
    assert second.timings().cached_tokens == 16
    toy.settled()


def test_a_text_that_leaves_a_long_one_goes_on_from_a_checkpoint_between(toy: Toy) -> None:
    prompt = prompt_of(90)
    toy.submit(prompt, n_predict=1).wait()
    other = [*prompt[:47], *prompt_of(6, seed=4)]
    second = toy.submit(other, n_predict=5)
    assert second.wait() == expected(other, GREEDY, 5)
    assert second.timings().cached_tokens == 2 * states.CHECKPOINT_PAGES * PAGE_TOKENS
    toy.settled()


def test_prompts_that_start_together_share_their_beginning(toy: Toy) -> None:
    shared = prompt_of(64)
    toy.program.gate.clear()
    sequences = [toy.submit([*shared, number], n_predict=4) for number in range(10)]
    toy.program.gate.set()
    for number, sequence in enumerate(sequences):
        assert sequence.wait() == expected([*shared, number], GREEDY, 4)
    assert toy.program.tokens_run < 200  # of 650
    toy.settled()


def test_answers_to_one_prompt_compute_it_once(toy: Toy) -> None:
    prompt = prompt_of(45)
    asked = [request(prompt, SamplingOptions(seed=seed), n_predict=6) for seed in range(4)]
    for seed, sequence in enumerate(toy.engine.submit_together(asked)):
        assert sequence.wait() == expected(prompt, SamplingOptions(seed=seed), 6)
    assert toy.program.tokens_run == 45 + 3 + 4 * 5
    toy.settled()


def test_checkpoints_are_bounded_and_the_least_recently_used_goes_first() -> None:
    toy = Toy(pages=200, slots=6)
    prompts = [prompt_of(20, seed=seed) for seed in range(8)]
    for prompt in prompts:
        toy.submit(prompt, n_predict=1).wait()
    assert toy.engine._scheduler.states.cached <= 6  # type: ignore[union-attr]
    newest, oldest = (toy.submit(prompt, n_predict=1) for prompt in (prompts[-1], prompts[0]))
    assert (newest.wait(), oldest.wait()) == tuple(expected(prompt, GREEDY, 1) for prompt in (prompts[-1], prompts[0]))
    assert newest.timings().cached_tokens > 0
    assert oldest.timings().cached_tokens == 0
    toy.settled()
    toy.engine.close()


def test_salts_are_kept_apart_and_reuse_can_be_refused(toy: Toy) -> None:
    prompt = prompt_of(30)
    toy.submit(prompt, n_predict=3).wait()
    for options in ({"cache_salt": "other"}, {"cache_prompt": False}):
        sequence = toy.submit(prompt, n_predict=3, **options)
        assert sequence.wait() == expected(prompt, GREEDY, 3)
        assert sequence.timings().cached_tokens == 0
    toy.settled()


def test_a_text_goes_on_past_the_contexts_end(toy: Toy) -> None:
    """What is left after a shift is computed again, states as well as pages."""
    sequence = toy.submit(prompt_of(20), n_predict=3 * CONTEXT, context_policy="shift", keep=4)
    assert len(sequence.wait()) == 3 * CONTEXT
    assert sequence.context_use().shifts > 2
    toy.settled()


def test_a_step_that_is_cut_short_is_computed_again(toy: Toy) -> None:
    """A step that was cancelled for others' sake leaves everybody's states as they were."""
    prompts = [prompt_of(40, seed=seed) for seed in range(4)]
    running = [toy.submit(prompt, n_predict=30) for prompt in prompts]
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.0005):
            toy.program.cancel()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for prompt, sequence in zip(prompts, running, strict=True):
            assert sequence.wait() == expected(prompt, GREEDY, 30)
    finally:
        stop.set()
        thread.join()
    toy.settled()


def test_slots_fit_the_memory_there_is() -> None:
    """Two for each sequence and as many checkpoints; where memory is short fewer, where it is too short an error."""
    layout = PageLayout(64, (0,), (0,), states=(250_000,))  # a megabyte
    assert plan_slots(PageLayout(64, (8,), (8,)), 4, 10**9) == 0
    assert plan_slots(layout, 4, 10**9) == 16
    assert plan_slots(layout, 0, 10**9) == 64
    assert plan_slots(layout, 4, 20 * 10**6) == 10
    with pytest.raises(CapacityError, match=r"1\.0 MB a sequence"):
        plan_slots(layout, 1, 5 * 10**6)
