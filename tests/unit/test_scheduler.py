"""The scheduler alone: who comes when, who gives way, and what a step may hold."""

from __future__ import annotations

import random
from array import array

import pytest
from fake_program import V, sequence_of

from pacos.engine.batch import Batch
from pacos.engine.pages import PagePool
from pacos.engine.scheduler import Part, Scheduler
from pacos.engine.sequence import Sequence

SIZE = 4


def scheduler(pages: int = 100, step_tokens: int = 16, *, whole: bool = False) -> Scheduler:
    return Scheduler(PagePool(pages, SIZE, lambda source, target: None), step_tokens, whole=whole)


def sequence(length: int, seed: int = 0, last: int = 1000) -> Sequence:
    tokens = random.Random(seed).choices(range(V), k=length)
    return sequence_of(tokens, n_predict=last - length)


def run(one: Scheduler) -> list[Part]:
    """One step: every sequence whose prompt is done gets a token."""
    parts = one.next_parts()
    for member, count in parts:
        one.computed(member, count)
        if member.remaining == 0:
            member.append(member.prompt_tokens % V)
        if member.finished:
            one.retire(member)
    one.pool.check(member.pages for member in one.running)
    return parts


def test_generation_comes_first_and_prompts_get_a_part_beside_it() -> None:
    one = scheduler()
    a, b, c = sequence(3, 1), sequence(30, 2), sequence(5, 3)
    one.queue.add((a, b, c))
    assert run(one) == [(a, 3), (b, 13)]
    assert run(one) == [(a, 1), (b, 7)]  # two prompts: two fifths of sixteen
    assert run(one) == [(a, 1), (b, 7)]
    assert run(one) == [(a, 1), (b, 3), (c, 4)]
    assert run(one) == [(a, 1), (b, 1), (c, 1)]


@pytest.mark.parametrize(("prompts", "tokens"), [(1, 4), (2, 7), (3, 8), (13, 13)])
def test_the_more_prompts_wait_the_more_of_a_step_they_get(prompts: int, tokens: int) -> None:
    one = scheduler(pages=200)
    reader = sequence(3, 1, last=200)
    one.queue.add((reader,))
    run(one)
    one.queue.add(sequence(40, number) for number in range(2, 2 + prompts))
    assert sum(count for _, count in run(one)) == 1 + tokens


def test_prompts_that_cannot_be_cut_get_all_that_is_left() -> None:
    one = scheduler(whole=True)
    reader, prompt = sequence(3, 1), sequence(14, 2)
    one.queue.add((reader,))
    run(one)
    one.queue.add((prompt,))
    assert run(one) == [(reader, 1), (prompt, 14)]


def test_a_sequence_starts_when_its_prompt_has_room() -> None:
    one = scheduler(pages=10)
    a, b, c = sequence(20, 1, last=22), sequence(24, 2), sequence(4, 3)
    one.queue.add((a, b, c))
    run(one)
    assert one.running == [a]  # b needs six pages of five; c waits its turn behind b
    assert run(one) == [(a, 4)]
    assert run(one) == [(a, 1)]
    assert a.finished
    assert run(one) == [(b, 16)]
    assert run(one) == [(b, 8), (c, 4)]
    assert one.running == [b, c]


def test_the_newest_gives_way_and_comes_back_first() -> None:
    one = scheduler(pages=10, step_tokens=64)
    a, b, c = sequence(12, 1), sequence(12, 2), sequence(39, 3, last=40)
    one.queue.add((a, b, c))
    while one.preemptions == 0:
        run(one)
    assert one.running == [a]
    assert list(one.queue) == [b, c]
    assert (b.computed, list(b.pages)) == (0, [])
    a.cancel()
    steps = run(one)
    assert a.finish_reason == "cancelled"
    assert steps[0][0] is b
    assert steps[0][1] < len(b.tokens)  # most of it was still cached


def test_all_that_is_waiting_runs_in_the_end() -> None:
    one, chance = scheduler(pages=12, step_tokens=7), random.Random(3)
    members = []
    for seed in range(50):
        length = chance.randrange(1, 40)
        members.append(sequence(length, seed, last=chance.randrange(length + 1, 46)))
    one.queue.add(members)
    for _ in range(5000):
        if one.idle:
            break
        assert 1 <= sum(count for _, count in run(one)) <= 7
    assert one.idle
    assert {member.finish_reason for member in members} == {"length"}
    assert all(len(member.tokens) == member.last_tokens for member in members)


def test_cancelled_sequences_end_before_the_step() -> None:
    one = scheduler()
    a, b = sequence(8, 1), sequence(8, 2)
    one.queue.add((a, b))
    run(one)
    a.cancel()
    late = sequence(5, 9)
    one.queue.add((late,))
    late.cancel()
    assert run(one) == [(b, 1)]
    assert (a.finish_reason, late.finish_reason) == ("cancelled", "cancelled")
    assert one.pool.available + len(b.pages) == one.pool.count


class Rows:
    def __init__(self, wanted: list[int]) -> None:
        self.wanted = wanted

    def take(self, rows: memoryview[float], count: int) -> None:
        raise AssertionError


def test_a_batch_lays_parts_along_one_axis() -> None:
    one, batch = scheduler(), Batch(V)
    a, b = sequence(3, 1), sequence(6, 2)
    one.queue.add((a, b))
    step, parts, rows = batch.build(one.next_parts())
    assert list(step.tokens) == [*a.tokens, *b.tokens]
    assert list(step.positions) == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert list(step.sequence_starts) == [0, 3, 9]
    assert list(step.outputs) == [2, 8]
    assert step.page_tables == (a.pages, b.pages)
    assert (parts, rows) == ([(a, 3), (b, 6)], [1, 1])


def test_generating_sequences_use_the_same_arrays_again() -> None:
    one, batch = scheduler(), Batch(V)
    a, b = sequence(3, 1), sequence(6, 2)
    one.queue.add((a, b))
    run(one)
    first, _, _ = batch.build(run(one))
    second, parts, _ = batch.build(one.next_parts())
    assert second is first
    assert list(second.tokens) == [a.tokens[-1], b.tokens[-1]]
    assert list(second.positions) == [a.computed, b.computed]
    b.pages = array("i", b.pages)  # as after it was preempted and came back
    assert batch.build(parts)[0] is not second
    assert list(batch.build([(b, 1)])[0].tokens) == [b.tokens[-1]]


@pytest.mark.parametrize(("wanted", "counts"), [([0, 1, 2, 3, 4, 5], [2, 2, 2]), ([1, 5], [6]), ([3, 4, 5], [5, 1])])
def test_many_rows_are_spread_over_steps(wanted: list[int], counts: list[int]) -> None:
    one, batch = scheduler(), Batch(V)
    batch._rows_max = 2
    scored = sequence_of([1, 2, 3, 4, 5, 6], sink=Rows(wanted), n_predict=0)
    one.queue.add((scored,))
    found, rows_all = [], []
    while scored.remaining:
        step, parts, rows = batch.build(one.next_parts())
        found.append(parts[0][1])
        rows_all += [int(step.positions[place]) for place in step.outputs]
        assert len(step.outputs) == rows[0] <= 2
        one.computed(scored, parts[0][1])
        scored.rows_done += rows[0]
    assert found == counts
    assert rows_all == wanted
