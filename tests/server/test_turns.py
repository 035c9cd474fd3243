"""Requests that come at once begin one after another, and the event loop does other things between."""

from __future__ import annotations

import asyncio

from serving import asynchronous

from pacos.server.turns import Turns


@asynchronous
async def test_one_begins_in_a_round_of_the_loop() -> None:
    turns, begun, rounds = Turns(), [], [0]

    async def begin(number: int) -> None:
        await turns.take()
        begun.append((rounds[0], number))

    def tick() -> None:
        rounds[0] += 1
        asyncio.get_running_loop().call_soon(tick)

    tick()
    tasks = [asyncio.ensure_future(begin(number)) for number in range(20)]
    await asyncio.sleep(0)
    for cancelled in tasks[5:8]:
        cancelled.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for _, number in begun] == [*range(5), *range(8, 20)]
    assert len({found for found, _ in begun}) == len(begun), "no two in one round"
    late = asyncio.ensure_future(begin(20))
    await late
