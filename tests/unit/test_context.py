"""Prompt and answer that are more than the context holds: refused, cut, or shifted, and told."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

import pytest
from fake_program import CONTEXT, GREEDY, PAGE_TOKENS, Toy, V, expected, mix, prompt_of, toy_logits
from holding import held

import pacos
from pacos.engine.sampler import Sampler, SamplerScratch
from pacos.errors import ContextFull, UsageError
from pacos.native import address_of
from pacos.settings import GenerateOptions, SamplingOptions
from pacos.types import ContextUse

SEEDED = SamplingOptions(seed=3, repeat_penalty=1.1)


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy()
    yield made
    made.engine.close()


def shifting(prompt: list[int], keep: int, count: int) -> tuple[list[int], int]:
    """What a shifting sequence must give, and how often it shifts: each token after the text that its context holds."""

    sampler, text, window, shifts = Sampler(SEEDED, SamplerScratch(V)), array("i", prompt), list(prompt), 0
    for _ in range(count):
        state = 0
        for token in window:
            state = mix(token, state)
        logits = array("f", toy_logits(state))
        text.append(sampler.next_token(address_of(logits), text))
        window.append(text[-1])
        if len(window) == CONTEXT:
            dropped = (CONTEXT - keep + 1) // 2
            window = window[:keep] + window[keep + dropped :]
            shifts += 1
    return list(text[len(prompt) :]), shifts


@pytest.mark.parametrize("keep", [0, 1, 13, 72])
def test_a_shifted_answer_goes_on(toy: Toy, keep: int) -> None:
    prompt = prompt_of(40) if keep < 40 else prompt_of(74)
    sequence = toy.submit(prompt, SEEDED, n_predict=300, context_policy="shift", keep=keep)
    tokens, shifts = shifting(prompt, keep, 300)
    assert sequence.wait() == tokens
    use = sequence.context_use()
    assert (use.policy, use.shifts, use.full) == ("shift", shifts, False)
    assert use.shifted_tokens == shifts * ((CONTEXT - keep + 1) // 2)
    assert sequence.timings().generated_tokens == 300
    toy.settled()


def test_shifting_with_few_pages_beside_others() -> None:
    toy, chance = Toy(pages=15), random.Random(2)
    jobs = [(prompt_of(chance.randrange(1, 90), seed=n), chance.randrange(80, 200)) for n in range(12)]
    with held(toy.engine):
        running = [
            toy.submit(prompt, SEEDED, n_predict=count, context_policy="shift", keep=5) for prompt, count in jobs
        ]
    for sequence, (prompt, count) in zip(running, jobs, strict=True):
        assert sequence.wait() == shifting(prompt, 5, count)[0]
    found = toy.engine.statistics()
    assert found.preemptions > 0
    assert found.shifts > 12
    toy.settled()
    toy.engine.close()


@pytest.mark.parametrize(
    ("policy", "length", "keep", "n_predict", "cut"),
    [
        ("truncate", 200, 0, 10, 114),  # the answer's room is left
        ("truncate", 200, 10, 10, 114),
        ("truncate", 200, 10, -1, 128),  # a quarter of the context
        ("truncate", 200, 0, 90, 152),  # half of it at most
        ("truncate", 90, 5, 10, 4),
        ("truncate", 86, 5, 10, 0),
        ("truncate", 95, 5, -1, 0),
        ("truncate", 96, 5, -1, 24),
        ("truncate", 200, 0, 0, 104),
        ("shift", 90, 5, 10, 0),
        ("shift", 96, 5, 10, 24),
        ("shift", 200, 10, -1, 128),
        ("shift", 200, 10, 0, 104),
    ],
)
def test_a_long_prompt_is_cut(toy: Toy, policy: str, length: int, keep: int, n_predict: int, cut: int) -> None:
    prompt = prompt_of(length)
    sequence = toy.submit(prompt, n_predict=n_predict, context_policy=policy, keep=keep)
    left = [*prompt[:keep], *prompt[keep + cut :]]
    assert list(sequence.text[: sequence.prompt_tokens]) == left
    assert sequence.context_use().cut_tokens == cut
    if policy == "truncate":
        count = CONTEXT - len(left) if n_predict < 0 else min(n_predict, CONTEXT - len(left))
        assert sequence.wait() == expected(left, GREEDY, count)
        assert sequence.context_use().full == (n_predict < 0 or count < n_predict)
    sequence.cancel()
    toy.settled()


def test_an_answer_that_fills_the_context_says_so(toy: Toy) -> None:
    sequence = toy.submit(prompt_of(CONTEXT - 4), n_predict=9)
    assert len(sequence.wait()) == 4
    assert sequence.context_use() == ContextUse("error", CONTEXT, full=True)
    exact = toy.submit(prompt_of(CONTEXT - 4), n_predict=4)
    assert len(exact.wait()) == 4
    assert exact.context_use() == ContextUse("error", CONTEXT)


@pytest.mark.parametrize(("policy", "keep"), [("truncate", -1), ("truncate", 90), ("shift", -1), ("shift", 73)])
def test_too_much_to_keep_is_refused(toy: Toy, policy: str, keep: int) -> None:
    with pytest.raises(ContextFull, match=f"keep is {keep if keep > 0 else 150}, which leaves too little"):
        toy.submit(prompt_of(150), context_policy=policy, keep=keep)


def test_the_policy_is_one_of_three() -> None:
    with pytest.raises(UsageError, match=r"context_policy is 'drop'.*error, shift, truncate"):
        GenerateOptions(context_policy="drop")


def test_the_last_event_reports() -> None:
    with pacos.load("storyteller", ctx_size=64, threads=1) as llm:
        text = "Once upon a time there was a dragon. " * 12
        shifted = llm.generate("Once", ignore_eos=True, seed=1, n_predict=100, context_policy="shift")
        cut = llm.generate(text, seed=1, n_predict=8, ignore_eos=True, context_policy="truncate", keep=3)
        plain = llm.generate("Once", seed=1, n_predict=4)
    assert len(shifted.token_ids) == 100
    assert shifted.context is not None
    assert shifted.context.shifts >= 2
    tokens = llm.tokenize(text)
    kept = 3 + (tokens[0] == llm.tokenizer.bos)
    assert cut.context == ContextUse("truncate", 64, cut_tokens=len(tokens) - 56)
    assert list(cut.prompt_token_ids) == [*tokens[:kept], *tokens[len(tokens) - 56 + kept :]]
    assert plain.context == ContextUse("error", 64)


def test_statistics_count(toy: Toy) -> None:
    assert toy.engine.statistics().pages_free == toy.pages.count
    toy.submit(prompt_of(20), n_predict=11).wait()
    toy.submit(prompt_of(20), n_predict=11).wait()
    toy.settled()
    found = toy.engine.statistics()
    assert (found.running, found.waiting, found.pages_held) == (0, 0, 0)
    assert (found.context_tokens, found.page_tokens, found.pages) == (CONTEXT, PAGE_TOKENS, toy.pages.count)
    assert found.pages_cached + found.pages_free == found.pages
    assert found.pages_cached >= 4
    assert (found.sequences, found.prompts_reused, found.tokens_reused) == (2, 1, 16)
    assert (found.tokens_computed, found.tokens_generated) == (toy.program.tokens_run, 22)
    assert found.steps == len(toy.program.steps)
    assert (found.preemptions, found.shifts) == (0, 0)


def test_a_shift_drops_as_much_as_was_asked(toy: Toy) -> None:
    sequence = toy.submit(prompt_of(40), SEEDED, n_predict=120, context_policy="shift", discard=10)
    sequence.wait()
    use = sequence.context_use()
    assert use.shifted_tokens == 10 * use.shifts
    assert use.shifts == (40 + 120 - CONTEXT) // 10 + 1
