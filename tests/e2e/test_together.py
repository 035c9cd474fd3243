"""Sixteen at once on a real model: each gets, bit for bit, what it gets alone."""

from __future__ import annotations

import asyncio

from holding import held

import pacos
from pacos.llm import LLM
from pacos.types import Completion

SHARED = "Once upon a time there was a small dragon who lived on a hill near the sea. Every morning the dragon "
ENDS = ["flew", "sang", "ate", "slept", "saw a boat", "met Tom", "was sad", "wanted to"]
COUNT = 16


def asked(number: int) -> tuple[str, dict[str, object]]:
    prompt = SHARED * (1 + number % 3) + ENDS[number % len(ENDS)]
    return prompt, {"n_predict": 90 + number, "seed": number, "ignore_eos": True, "repeat_penalty": 1.1}


def alone(number: int) -> Completion:
    """In an engine that has computed nothing else."""
    with pacos.load("storyteller", threads=1, ctx_size=256) as llm:
        prompt, options = asked(number)
        return llm.generate(prompt, **options)


async def together(llm: LLM) -> list[Completion]:
    with held(llm.engine):
        calls = [asked(number) for number in range(COUNT)]
        running = [asyncio.ensure_future(llm.agenerate(prompt, **options)) for prompt, options in calls]
        while llm.engine.statistics().waiting < COUNT:  # noqa: ASYNC110 - nothing says when it is
            await asyncio.sleep(0.001)
    return await asyncio.gather(*running)


def test_the_same_text_alone_and_beside_fifteen_others() -> None:
    """With shared beginnings, and with so few pages that sequences give way and are computed again."""
    with pacos.load("storyteller", threads=2, ctx_size=256, parallel=3, batch_size=100) as llm:
        engine, found = llm.engine, asyncio.run(together(llm))
        assert engine._scheduler.preemptions > 0
        assert sum(one.timings.cached_tokens for one in found) > 300
    engine.pool.check([])
    for number, completion in enumerate(found):
        expected = alone(number)
        assert (completion.text, completion.token_ids) == (expected.text, expected.token_ids), number
        assert len(completion.token_ids) == 90 + number
