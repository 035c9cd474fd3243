"""The engine over a toy program: every token equals what the sequence alone would give, and every page comes back."""

from __future__ import annotations

import math
import queue
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fake_program import CONTEXT, GREEDY, PAGE_TOKENS, FakePages, Toy, V, expected, null_program, prompt_of
from holding import held
from linear_time import quickest

from pacos.engine.engine import Engine
from pacos.engine.sequence import SequenceRequest
from pacos.errors import Cancelled, ContextFull, NumericalError, PacosError, UsageError
from pacos.settings import GenerateOptions, SamplingOptions


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy()
    yield made
    made.program.gate.set()
    made.engine.close()


@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_any_length_equals_the_oracle(toy: Toy, length: int) -> None:
    """Around the boundaries of pages (8) and of steps (32)."""
    prompt = prompt_of(length)
    assert toy.submit(prompt, n_predict=20).wait() == expected(prompt, GREEDY, 20)
    toy.settled()


@pytest.mark.parametrize("room", [1, 2, 8, 9])
def test_generation_ends_at_the_contexts_end(toy: Toy, room: int) -> None:
    prompt = prompt_of(CONTEXT - room)
    events = list(toy.submit(prompt).events())
    assert [token for event in events for token in event.tokens] == expected(prompt, GREEDY, room)
    assert events[-1].finish_reason == "length"


@pytest.mark.parametrize("pages", [14, 20, 200])
def test_many_at_once_equal_each_alone(pages: int) -> None:
    """Forty sequences with seeds and shared beginnings; with few pages they are preempted and computed again."""
    toy, chance = Toy(pages), random.Random(5)
    jobs = []
    for number in range(40):
        prompt = prompt_of(chance.choice([3, 16, 30]), seed=number % 3) + prompt_of(
            chance.randrange(1, 20), seed=number
        )
        options = SamplingOptions(seed=number, repeat_penalty=1.1)
        jobs.append((prompt, options, chance.randrange(1, CONTEXT - len(prompt))))
    with held(toy.engine):
        running = [toy.submit(prompt, options, n_predict=count) for prompt, options, count in jobs]
    for sequence, (prompt, options, count) in zip(running, jobs, strict=True):
        assert sequence.wait() == expected(prompt, options, count)
        assert sequence.seed == options.seed
    toy.settled()
    assert (toy.engine._scheduler.preemptions > 0) == (pages < 200)
    assert max(len(step) for step in toy.program.steps) > 3
    toy.engine.close()


def test_accounts_hold_after_every_step() -> None:
    """free + held + cached is all, with random cancels and preemption."""
    toy, chance = Toy(pages=14), random.Random(1)
    run, checked = toy.program.run, []

    def checking(step: Any) -> Any:
        toy.program.gate.wait()
        toy.engine.pool.check(sequence.pages for sequence in toy.engine._scheduler.running)
        checked.append(len(step.tokens))
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
    assert len(checked) > 50
    toy.engine.close()


def test_a_chat_turn_computes_only_what_is_new(toy: Toy) -> None:
    prompt = prompt_of(20)
    answer = toy.submit(prompt, n_predict=11).wait()
    before = toy.program.tokens_run
    following = [*prompt, *answer, *prompt_of(8, seed=9)]
    second = toy.submit(following, n_predict=1)
    assert second.wait() == expected(following, GREEDY, 1)
    assert second.timings().cached_tokens == 30  # all but the answer's last token, which was never computed
    assert toy.program.tokens_run - before == 9
    assert toy.pages.copies == 1  # the page where the text goes on
    again = toy.submit(following, n_predict=3)
    assert again.wait() == expected(following, GREEDY, 3)
    assert again.timings().cached_tokens == 38  # the last prompt token is always computed
    toy.settled()


def test_prompts_that_start_together_share_their_beginning(toy: Toy) -> None:
    shared = prompt_of(64)
    toy.program.gate.clear()
    jobs = [[*shared, number] for number in range(10)]
    sequences = [toy.submit(prompt, n_predict=4) for prompt in jobs]
    toy.program.gate.set()
    for sequence, prompt in zip(sequences, jobs, strict=True):
        assert sequence.wait() == expected(prompt, GREEDY, 4)
    assert toy.program.tokens_run < 3 * 64
    toy.settled()


def test_salt_and_cache_prompt_keep_texts_apart(toy: Toy) -> None:
    prompt = prompt_of(40)
    assert toy.submit(prompt, n_predict=1, cache_salt="a").wait() == expected(prompt, GREEDY, 1)
    for options, cached in (({"cache_salt": "b"}, 0), ({"cache_prompt": False}, 0), ({"cache_salt": "a"}, 39)):
        sequence = toy.submit(prompt, n_predict=1, **options)
        assert sequence.wait() == expected(prompt, GREEDY, 1)
        assert sequence.timings().cached_tokens == cached
    toy.settled()


def test_cancel_frees_pages_within_a_step(toy: Toy) -> None:
    run = toy.program.run

    def cancelling(step: Any) -> Any:
        toy.program.gate.wait()
        if len(toy.program.steps) == 20:
            sequence.cancel()
        return run(step)

    toy.program.gate.clear()
    toy.program.run = cancelling  # type: ignore[method-assign]
    other = toy.submit(prompt_of(10, seed=1), n_predict=60)
    sequence = toy.submit(prompt_of(30), n_predict=60)
    toy.program.gate.set()
    events = list(sequence.events())
    assert events[-1].finish_reason == "cancelled"
    tokens = [token for event in events for token in event.tokens]
    assert tokens == expected(prompt_of(30), GREEDY, len(tokens))
    assert 15 < len(tokens) < 22
    assert other.wait() == expected(prompt_of(10, seed=1), GREEDY, 60)
    assert {len(step) for step in toy.program.steps[21:]} == {1}
    toy.settled()


def test_leaving_the_loop_cancels(toy: Toy) -> None:
    """Also by Ctrl-C, which arrives in the consumer."""
    sequence = toy.submit(prompt_of(3), n_predict=90)
    events = sequence.events()
    next(events)
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt())
    assert sequence.cancelled
    toy.settled()


def test_a_waiting_sequence_can_be_cancelled() -> None:
    toy = Toy(pages=12)
    toy.program.gate.clear()
    sequences = [toy.submit(prompt_of(80, seed=n), n_predict=3) for n in range(5)]
    sequences[3].cancel()
    toy.program.gate.set()
    assert [len(sequence.wait()) for sequence in sequences] == [3, 3, 3, 0, 3]
    toy.settled()
    toy.engine.close()


def test_not_finite_logits_fail_that_sequence_alone(toy: Toy) -> None:
    toy.program.nan_token = 40
    toy.program.gate.clear()
    good = [[*prompt_of(12, seed=n), 1] for n in range(3)]
    bad = [*[t % 40 for t in prompt_of(20, seed=9)], 40]
    good = [[t % 40 for t in prompt] for prompt in good]
    sampling = SamplingOptions(temp=0, logit_bias={40: -math.inf})
    neighbours = [toy.submit(prompt, sampling, n_predict=10) for prompt in good]
    failing = toy.submit(bad, sampling, n_predict=10)
    toy.program.gate.set()
    with pytest.raises(NumericalError, match="after 21 tokens"):
        failing.wait()
    for sequence, prompt in zip(neighbours, good, strict=True):
        assert sequence.wait() == expected(prompt, sampling, 10)
    toy.settled()
    toy.program.nan_token = -1
    again = toy.submit(bad, sampling, n_predict=2)
    assert again.wait() == expected(bad, sampling, 2)
    assert again.timings().cached_tokens == 0  # nothing of it was kept


def test_a_step_that_raises_fails_only_who_caused_it(toy: Toy) -> None:
    toy.program.raise_token = 41
    toy.program.gate.clear()
    sampling = SamplingOptions(temp=0, logit_bias={41: -math.inf})
    jobs = [[t % 40 for t in prompt_of(8 + n, seed=n)] for n in range(4)]
    jobs[2].append(41)
    sequences = [toy.submit(prompt, sampling, n_predict=12) for prompt in jobs]
    toy.program.gate.set()
    for number, (sequence, prompt) in enumerate(zip(sequences, jobs, strict=True)):
        if number == 2:
            with pytest.raises(PacosError, match="ordered fault"):
                sequence.wait()
        else:
            assert sequence.wait() == expected(prompt, sampling, 12)
    toy.settled()


def test_everything_banned_fails(toy: Toy) -> None:
    banned = SamplingOptions(logit_bias=dict.fromkeys(range(V), -math.inf))
    with pytest.raises(NumericalError, match="every token is banned"):
        toy.submit([1, 2], banned).wait()
    toy.settled()


def test_what_cannot_start_is_refused_at_once(toy: Toy) -> None:
    with pytest.raises(UsageError, match="no tokens"):
        toy.submit([])
    with pytest.raises(ContextFull, match=f"{CONTEXT} tokens do not fit a context of {CONTEXT}.*at most {CONTEXT - 1}"):
        toy.submit(prompt_of(CONTEXT))
    toy.submit(prompt_of(CONTEXT), n_predict=0).wait()
    for bad in (-1, V, 2**31 - 1):
        with pytest.raises(UsageError, match=f"token {bad} is not in the vocabulary"):
            toy.submit([1, bad])
    with pytest.raises(UsageError, match=f"stop_ids has token {V}"):
        toy.submit([1], stop_ids=(V,))
    with pytest.raises(UsageError, match="ascending"):
        toy.engine.logits([1, 2, 3], [1, 0])
    with pytest.raises(UsageError, match="there are 3 tokens"):
        toy.engine.logits([1, 2, 3], [0, 3])
    assert toy.program.tokens_run == CONTEXT


def test_end_tokens_and_stop_ids_end_without_showing(toy: Toy) -> None:
    prompt = prompt_of(9)
    plain = expected(prompt, GREEDY, 30)
    stop = next(token for place, token in enumerate(plain) if place > 4 and token not in plain[:place])
    cut = plain[: plain.index(stop)]
    for options in ({"end_ids": frozenset({stop})}, {"stop_ids": (stop,)}):
        events = list(toy.submit(prompt, n_predict=30, **options).events())
        assert [token for event in events for token in event.tokens] == cut
        assert events[-1].finish_reason == "stop"
    ignoring = toy.submit(prompt, n_predict=30, ignore_eos=True, end_ids=frozenset({stop})).wait()
    assert ignoring == expected(prompt, SamplingOptions(temp=0, logit_bias={stop: -math.inf}), 30)
    assert stop not in ignoring


def test_no_tokens_asked_computes_the_prompt_alone(toy: Toy) -> None:
    prompt = prompt_of(54)
    events = list(toy.submit(prompt, n_predict=0).events())
    assert [(event.tokens, event.finish_reason) for event in events] == [((), "length")]
    sequence = toy.submit(prompt, n_predict=2)
    assert sequence.wait() == expected(prompt, GREEDY, 2)
    assert sequence.timings().cached_tokens == 53


def test_a_long_prompt_does_not_stop_who_generates() -> None:
    toy = Toy(pages=64, context=400, max_tokens=16)
    toy.program.gate.clear()
    short = [toy.submit(prompt_of(2, seed=n), n_predict=30) for n in range(4)]
    long = toy.submit(prompt_of(300, seed=9), n_predict=2)
    toy.program.gate.set()
    assert long.wait() == expected(prompt_of(300, seed=9), GREEDY, 2)
    for number, sequence in enumerate(short):
        assert sequence.wait() == expected(prompt_of(2, seed=number), GREEDY, 30)
    mixed = [step for step in toy.program.steps if len(step) == 5 and step[4] > 1]
    assert sum(step == [1, 1, 1, 1, 4] for step in mixed) >= len(mixed) - 2 > 20  # the first two begin the short ones
    assert all(sum(step) <= 16 for step in toy.program.steps)
    toy.engine.close()


def test_close_fails_what_is_pending() -> None:
    toy = Toy()
    toy.program.gate.clear()
    running, waiting = toy.submit(prompt_of(5)), toy.submit(prompt_of(5, seed=2))
    threading.Timer(0.05, toy.program.gate.set).start()
    toy.engine.close()
    for sequence in (running, waiting):
        with pytest.raises(Cancelled, match="closed"):
            sequence.wait()
        with pytest.raises(Cancelled):  # asking again gives the same answer
            sequence.wait()
    assert toy.program.closed
    assert not toy.engine._thread.is_alive()
    toy.engine.pool.check([])
    toy.engine.close()
    with pytest.raises(UsageError, match="closed"):
        toy.submit([1])


def test_many_threads_submit(toy: Toy) -> None:
    wrong: list[int] = []

    def consume(number: int) -> None:
        for turn in range(5):
            prompt = prompt_of(10 + turn, seed=number)
            if toy.submit(prompt, SamplingOptions(seed=turn), n_predict=20).wait() != expected(
                prompt, SamplingOptions(seed=turn), 20
            ):
                wrong.append(number)

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    toy.settled()


def test_timings(toy: Toy) -> None:
    sequence = toy.submit(prompt_of(20), n_predict=6)
    sequence.wait()
    timings = sequence.timings()
    assert (timings.prompt_tokens, timings.cached_tokens, timings.generated_tokens) == (20, 0, 6)
    assert timings.prompt_seconds > 0
    assert timings.generate_seconds > 0
    assert timings.generate_rate > 0


def test_overhead_of_a_token_is_small() -> None:
    """Processor time around a program that costs nothing: the goal is 30 us where 11 queues take a thing and give it.

    The limit is for machines where switching threads is dear.
    """
    engine = Engine(null_program(), FakePages(600), 4096)  # type: ignore[arg-type]

    def generate() -> None:
        assert len(engine.submit(SequenceRequest([1], GREEDY, GenerateOptions(n_predict=2000))).wait()) == 2000

    def pass_on() -> None:
        for token in range(2000):
            passing.put(token)
            passing.get()

    passing: queue.Queue[int] = queue.Queue()
    best, least = quickest(generate) / 2000, quickest(pass_on) / 2000
    engine.close()
    assert best < 75 * least, f"{best * 1e6:.0f} us a token, {least * 1e6:.1f} through a queue"


def test_page_size_is_what_the_tests_assume() -> None:
    assert FakePages(1).layout.page_tokens == PAGE_TOKENS == 8
