"""An encoder-decoder in the engine: prompts are read whole and once, answers come as from any other model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from holding import held
from models import running, tiny

import pacos
from pacos.errors import UsageError

VECTORS = Path(__file__).parent / "vectors"
SOURCES = [tiny.prompt(tokens) for tokens in (5, 64, 3, 200, 130)]
START, END = 0, 1


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf("flan-t5", tmp_path_factory.mktemp("flan"))


@pytest.fixture(scope="module")
def llm(path: Path) -> Iterator[pacos.LLM]:
    with pacos.load(path, ctx_size=1024, threads=2) as opened:
        yield opened


def by_logits(llm: pacos.LLM, source: list[int], tokens: int) -> list[int]:
    """The likeliest answer that does not end, by logits after each beginning of it."""
    written = [START]
    while len(written) <= tokens:
        logits = llm.logits(written, source=source)[-1].copy()
        logits[END] = -np.inf
        written.append(int(logits.argmax()))
    return written[1:]


def test_logits_are_those_of_transformers(llm: pacos.LLM) -> None:
    prompts = {tokens: tiny.prompt(tokens) for tokens in tiny.PROMPTS}
    found = [llm.logits(prompt, source=prompt)[-tiny.KEPT :] for prompt in prompts.values()]
    with np.load(VECTORS / "flan-t5.npz") as stored:
        expected = np.concatenate([stored[str(tokens)] for tokens in prompts])
    assert running.divergence(expected, np.concatenate(found)) < 1e-6


def test_answers_are_what_the_logits_say_alone_and_among_others(llm: pacos.LLM) -> None:
    options = {"temp": 0, "n_predict": 20, "ignore_eos": True}
    expected = [by_logits(llm, source, 20) for source in SOURCES]
    streams = [llm.stream(source, cache_salt="together", **options) for source in SOURCES]
    together = [[token for event in stream for token in event.token_ids] for stream in streams]
    alone = [list(llm.generate(source, **options).token_ids) for source in SOURCES]
    assert together == alone == expected


def test_the_same_source_is_read_once_and_no_beginning_of_it_serves_another(llm: pacos.LLM) -> None:
    source = tiny.prompt(150)
    options = {"temp": 0, "n_predict": 4, "cache_salt": "reuse"}
    first, second = (llm.generate(source, **options) for _ in range(2))
    longer = llm.generate([*source, 7], **options)
    shorter = llm.generate(source[:128], **options)
    assert first.token_ids == second.token_ids
    assert [one.timings.cached_tokens for one in (first, second, longer, shorter)] == [0, 150, 0, 0]
    assert second.timings.prompt_tokens == 151  # and the token that the decoder starts from


def test_several_answers_share_a_source(llm: pacos.LLM) -> None:
    source = tiny.prompt(90)
    options = {"temp": 1.0, "seed": 3, "n_predict": 8, "ignore_eos": True}
    many = [one.token_ids for one in llm.generate_many(source, 3, cache_salt="shared", **options)]
    singly = [llm.generate(source, **{**options, "seed": 3 + i}).token_ids for i in range(3)]
    assert many == singly
    assert len(set(many)) == 3


def test_who_gives_way_reads_again_and_answers_the_same(path: Path, llm: pacos.LLM) -> None:
    sources = [tiny.prompt(tokens) for tokens in (100, 110, 120, 90)]
    options = {"temp": 0, "n_predict": 60, "ignore_eos": True}
    with pacos.load(path, ctx_size=192, parallel=2, threads=1) as small:
        with held(small.engine):
            streams = [small.stream(source, **options) for source in sources]
        found = [[token for event in stream for token in event.token_ids] for stream in streams]
        preemptions = small.engine.statistics().preemptions
    assert preemptions > 0
    assert found == [list(llm.generate(source, **options).token_ids) for source in sources]


def test_a_prompt_that_is_too_long_is_cut_in_front_where_that_is_wanted(path: Path) -> None:
    with pacos.load(path, ctx_size=64, threads=1) as small:
        with pytest.raises(UsageError, match="do not fit"):
            small.generate(tiny.prompt(64))
        whole = small.generate(tiny.prompt(100), n_predict=8, temp=0, context_policy="truncate", ignore_eos=True)
        kept = small.generate(tiny.prompt(100)[-55:], n_predict=8, temp=0, ignore_eos=True)
    assert whole.token_ids == kept.token_ids


def test_embeddings_are_the_encoder_s(llm: pacos.LLM) -> None:
    found = llm.embed(SOURCES, normalize=-1)
    alone = llm.embed(SOURCES[1], normalize=-1)
    assert found.pooling == "mean"
    assert found.width == tiny.CASES["flan-t5"].config["d_model"]
    np.testing.assert_array_equal(found.vectors[1], alone.vectors[0])


def test_what_it_cannot_do_is_refused(llm: pacos.LLM) -> None:
    with pytest.raises(UsageError, match="writes about a source"):
        llm.logits([3, 4])
    with pytest.raises(UsageError, match="writes about a source"):
        llm.scores([3, 4])
    with pytest.raises(UsageError, match="context_policy is shift"):
        llm.generate([3, 4], context_policy="shift")
    with pacos.load() as plain, pytest.raises(UsageError, match="no encoder"):
        plain.logits([3, 4], source=[5])
