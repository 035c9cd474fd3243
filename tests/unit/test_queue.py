"""Who comes first: priorities, fair shares of owners, those who wait longest; places, positions, deadlines."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from fake_program import GREEDY, Toy, V, expected, prompt_of, request, sequence_of
from patience import SECONDS, until

from pacos.engine.pages import PagePool
from pacos.engine.queue import Queue
from pacos.engine.scheduler import Scheduler
from pacos.engine.sequence import Sequence
from pacos.errors import CapacityError, UsageError
from pacos.settings import QueueOptions, SamplingOptions

SIZE = 4


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy()
    yield made
    made.program.gate.set()
    made.engine.close()


def scheduler(pages: int = 200, step_tokens: int = 8) -> Scheduler:
    return Scheduler(PagePool(pages, SIZE, lambda source, target: None), step_tokens)


def sequence(seed: int, length: int = 8, last: int | None = None, **queue: object) -> Sequence:
    count = 1 if last is None else last - length
    return sequence_of(random.Random(seed).choices(range(V), k=length), n_predict=count, **queue)


def step(one: Scheduler) -> list[Sequence]:
    """Who was computed."""
    parts = one.next_parts()
    for member, count in parts:
        one.computed(member, count)
        if member.remaining == 0:
            member.append(member.prompt_tokens % V)
        if member.finished:
            one.retire(member)
    one.pool.check(member.pages for member in one.running)
    return [member for member, _ in parts]


def order(one: Scheduler) -> list[Sequence]:
    """Members in the order in which they end."""
    ended: list[Sequence] = []
    while not one.idle:
        ended += [member for member in step(one) if member.finished]
    return ended


def test_higher_priorities_come_first() -> None:
    one = scheduler()
    low, middle, high, late = (sequence(n, priority=p) for n, p in enumerate((-1, 0, 5, 0)))
    one.queue.add((low, middle, high, late))
    assert order(one) == [high, middle, late, low]


def test_owners_share_whatever_the_number_of_their_sequences() -> None:
    one = scheduler()
    many = [sequence(n, owner="many") for n in range(12)]
    few = [sequence(20 + n, owner="few") for n in range(3)]
    one.queue.add([*many, *few])
    owners = [member.owner for member in order(one)]
    assert owners[:6].count("few") == 3
    assert [member for member in many if member.finished] == many


def test_a_long_prompt_does_not_hold_up_another_owner() -> None:
    one = scheduler()
    long, short = sequence(1, length=80, owner="a"), sequence(2, owner="b")
    one.queue.add((long,))
    step(one)
    one.queue.add((short,))
    assert step(one) == [long]  # level: who came first
    assert step(one) == [short]


def test_who_was_away_neither_pays_nor_saves_up() -> None:
    one = scheduler()
    one.queue.add([sequence(n, owner="a") for n in range(10)])
    order(one)
    one.queue.add([sequence(n, owner="b") for n in range(20, 30)])
    step(one)
    one.queue.add([sequence(n, owner="a") for n in range(30, 40)])
    owners = [member.owner for member in order(one)]
    assert 3 <= owners[:8].count("a") <= 5


def test_who_waits_longest_gets_a_turn() -> None:
    """Also while more important work never ends."""
    one = scheduler(pages=8)
    patient = sequence(1, priority=-100)
    one.queue.add((patient,))
    steps = 0
    while not patient.finished:
        while len(one.queue) < 4:
            one.queue.add((sequence(100 + steps + len(one.queue), priority=100),))
        step(one)
        steps += 1
        assert steps < 60
    assert steps > 10


def test_a_more_important_sequence_takes_the_pages() -> None:
    one = scheduler(pages=8)
    low, high = sequence(1, length=16, last=28, priority=0), sequence(2, length=20, priority=1)
    one.queue.add((low,))
    for _ in range(6):
        step(one)
    one.queue.add((high,))
    assert step(one) == [high]
    assert one.preemptions == 1
    assert order(one) == [high, low]
    assert len(low.tokens) == 28


def test_everything_ends_whatever_its_priority_and_owner() -> None:
    one, chance = scheduler(pages=14, step_tokens=7), random.Random(3)
    members = []
    for seed in range(80):
        length = chance.randrange(1, 40)
        last = chance.randrange(length + 1, 46)
        owner, priority = f"{chance.randrange(4)}", chance.randrange(-2, 3)
        members.append(sequence(seed, length, last, owner=owner, priority=priority))
    for begin in range(0, 80, 8):
        one.queue.add(members[begin : begin + 8])
        for _ in range(5):
            step(one)
    order(one)
    assert one.preemptions > 0
    assert all(len(member.tokens) == member.last_tokens for member in members)
    assert one.queue._present == {}


def test_a_full_queue_says_so() -> None:
    queue = Queue(places=3)
    queue.add([sequence(n) for n in range(2)])
    with pytest.raises(CapacityError, match="2 of 3 places are taken, 2 asked for"):
        queue.add([sequence(n) for n in range(2)])
    assert len(queue) == 2
    queue.add((sequence(9),))


def test_an_engine_with_a_full_queue_takes_no_more() -> None:
    toy = Toy(pages=14, places=2)
    toy.program.gate.clear()
    running = toy.submit(prompt_of(80), n_predict=3)
    until(lambda: not running.queue_position())
    waiting = [toy.submit(prompt_of(80, seed=n), n_predict=3) for n in (1, 2)]
    assert [one.queue_position() for one in waiting] == [1, 2]
    with pytest.raises(CapacityError, match="2 of 2 places"):
        toy.submit(prompt_of(3))
    toy.program.gate.set()
    assert [len(one.wait()) for one in (running, *waiting)] == [3, 3, 3]
    assert waiting[1].queue_position() == 0
    toy.settled()
    toy.engine.close()


def test_positions_count_turns_of_owners() -> None:
    queue = Queue()
    members = [sequence(n, owner="a") for n in range(4)]
    other = [sequence(9, owner="b"), sequence(10, owner="b")]
    first = sequence(11, owner="c", priority=1)
    queue.add([*members, *other, first])
    assert [queue.position(one) for one in (first, *members)] == [1, 2, 4, 6, 7]
    assert [queue.position(one) for one in other] == [3, 5]
    assert queue.position(sequence(12)) == 0


def test_sequences_of_one_prompt_compute_it_once(toy: Toy) -> None:
    prompt = prompt_of(61)  # its last page is filled in part
    toy.program.gate.clear()
    seeds = range(6)
    sequences = toy.engine.submit_together(
        [request(prompt, SamplingOptions(seed=seed), n_predict=20) for seed in seeds]
    )
    toy.program.gate.set()
    for seed, one in zip(seeds, sequences, strict=True):
        assert one.wait() == expected(prompt, SamplingOptions(seed=seed), 20)
    assert [one.timings().cached_tokens for one in sequences] == [0] + 5 * [60]
    assert toy.program.tokens_run == 61 + 5 * 1 + 6 * 19
    toy.settled()


def test_the_others_go_on_when_the_first_of_a_prompt_is_cancelled(toy: Toy) -> None:
    prompt = prompt_of(61)
    toy.program.gate.clear()
    sequences = toy.engine.submit_together([request(prompt, n_predict=5) for _ in range(3)])
    sequences[0].cancel()
    toy.program.gate.set()
    assert [one.wait() for one in sequences[1:]] == [expected(prompt, GREEDY, 5)] * 2
    toy.settled()


@pytest.mark.parametrize("waiting", [False, True])
def test_a_deadline_ends_an_answer(toy: Toy, waiting: bool) -> None:
    program = toy.program
    program.hold_at = 0 if waiting else 10
    if waiting:
        first = toy.submit(prompt_of(3), n_predict=90)
        assert program.held.wait(SECONDS)
    late = toy.submit(prompt_of(5), n_predict=90, deadline_seconds=0.01 if waiting else 3600)
    assert program.held.wait(SECONDS)
    if waiting:
        until(lambda: time.perf_counter() > late.deadline)
    else:
        late.deadline = time.perf_counter()
    program.gate.set()
    events = list(late.events())
    assert events[-1].finish_reason == "deadline"
    assert sum(len(event.tokens) for event in events) == (0 if waiting else 11)
    if waiting:
        assert first.wait() == expected(prompt_of(3), GREEDY, 90)
    toy.settled()


def test_wrong_values_are_told() -> None:
    with pytest.raises(UsageError, match="priority is 101"):
        QueueOptions(priority=101)
    with pytest.raises(UsageError, match="deadline_seconds is -1"):
        QueueOptions(deadline_seconds=-1)
    with pytest.raises(UsageError, match="owner is 5"):
        QueueOptions(owner=5)  # type: ignore[arg-type]
