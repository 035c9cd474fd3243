"""Consumers that do not read: the engine neither fills the memory for them nor lets others wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from fake_program import CONTEXT, GREEDY, PAGE_TOKENS, Toy, expected, prompt_of
from patience import until

from pacos.engine import sequence as sequences
from pacos.engine.sequence import Sequence
from pacos.llm.loops import news

FEW = 10


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "UNREAD_MAX", FEW)


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy(pages=CONTEXT // PAGE_TOKENS)
    yield made
    made.engine.close()


def until_stalled(sequence: Sequence) -> None:
    until(lambda: sequence.stalled)
    time.sleep(0.05)  # time in which it could go on
    assert sequence.stalled


def test_who_does_not_read_is_waited_for(toy: Toy) -> None:
    unread = toy.submit(prompt_of(5), n_predict=60)
    until_stalled(unread)
    assert len(unread.text) - 5 == FEW
    assert unread.wait() == expected(prompt_of(5), GREEDY, 60)
    toy.settled()


def test_others_get_the_pages_of_who_does_not_read(toy: Toy) -> None:
    unread = toy.submit(prompt_of(40), n_predict=30)
    until_stalled(unread)
    other = toy.submit(prompt_of(60, seed=1), n_predict=FEW - 1)
    assert other.wait() == expected(prompt_of(60, seed=1), GREEDY, FEW - 1)
    assert len(unread.text) - 40 == FEW
    assert unread.wait() == expected(prompt_of(40), GREEDY, 30)
    toy.settled()


def test_cancelling_who_does_not_read_frees_its_pages(toy: Toy) -> None:
    unread = toy.submit(prompt_of(40), n_predict=30)
    until_stalled(unread)
    unread.cancel()
    toy.settled()


def test_an_event_loop_that_reads_again_goes_on(toy: Toy) -> None:
    async def run() -> list[int]:
        unread = toy.submit(prompt_of(5), n_predict=60)
        await asyncio.to_thread(until_stalled, unread)
        found: list[int] = []
        while not unread.finished or unread.ready:
            await news(unread)
            event = unread.take()
            found += event.tokens
            if event.finish_reason is not None:
                break
        return found

    assert asyncio.run(run()) == expected(prompt_of(5), GREEDY, 60)
