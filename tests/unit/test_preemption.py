"""Sequences that give way and are computed again go on as if nothing had happened: tokens, and the sampler's memory."""

from __future__ import annotations

from array import array

import pytest
from fake_program import Toy, V, expected, mix, prompt_of, toy_logits
from holding import held

from pacos.engine.sampler import Sampler, SamplerScratch
from pacos.native import address_of
from pacos.settings import SamplingOptions

REMEMBERING = {
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 3.0},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 2.0, "mirostat_eta": 0.3},
    "adaptive p": {"adaptive_target": 0.2, "adaptive_decay": 0.8},
    "penalties": {"repeat_penalty": 1.3, "repeat_last_n": -1, "frequency_penalty": 0.2},
    "dry": {"dry_multiplier": 0.8, "dry_allowed_length": 1},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.05},
    "dynamic temperature": {"dynatemp_range": 0.5, "top_k": 0},
}


def memory_alone(prompt: list[int], options: SamplingOptions, count: int) -> bytes:
    """What a sampler remembers in the end that was never interrupted."""
    sampler, tokens = Sampler(options, SamplerScratch(V)), array("i", prompt)
    state = 0
    for token in prompt:
        state = mix(token, state)
    for _ in range(count):
        logits = array("f", toy_logits(state))
        tokens.append(sampler.next_token(address_of(logits), tokens))
        state = mix(tokens[-1], state)
    return bytes(sampler._state)


@pytest.mark.parametrize("how", REMEMBERING.values(), ids=REMEMBERING)
def test_sampler_goes_on_bit_for_bit(how: dict[str, float]) -> None:
    """Six sequences of 70 tokens on pages for two: most are preempted, some several times."""
    toy = Toy(pages=20)
    jobs = [(prompt_of(20 + number, seed=number), SamplingOptions(seed=number, temp=1.0, **how)) for number in range(6)]
    with held(toy.engine):
        running = [toy.submit(prompt, options, n_predict=50) for prompt, options in jobs]
    for sequence, (prompt, options) in zip(running, jobs, strict=True):
        assert sequence.wait() == expected(prompt, options, 50)
        assert sequence.sampler is not None
        assert bytes(sequence.sampler._state) == memory_alone(prompt, options, 50)
    assert toy.engine.statistics().preemptions >= 4
    toy.settled()
    toy.engine.close()
