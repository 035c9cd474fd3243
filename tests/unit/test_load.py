"""Opening an engine: how context and pages follow from memory, and the bundled model through real backends."""

from __future__ import annotations

import logging
import math
import random
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_files import shared
from unit.test_build_plan import model

import pacos
from pacos.backends import backend
from pacos.engine.engine import Engine
from pacos.engine.load import load_engine
from pacos.engine.room import page_bytes, plan_pages, warn_of_weights
from pacos.engine.sequence import SequenceRequest
from pacos.errors import CapacityError, UsageError
from pacos.formats import open_archive
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions
from pacos.types import PageLayout

LAYOUT = PageLayout(64, (512,) * 4, (512,) * 4)
PAGE = page_bytes(LAYOUT)
STORYTELLER = Path(pacos.__file__).parent / "data" / "storyteller.gguf"


def room_for(pages: int) -> int:
    return pages * PAGE * 16 // 15 + 16


def test_a_page_is_measured_by_its_types() -> None:
    assert PAGE == 64 * 4 * 2 * 512 * 2
    assert page_bytes(PageLayout(64, (8, 0), (4, 0), "F32", "F16")) == 64 * (8 * 4 + 4 * 2)
    assert page_bytes(PageLayout(64, (64, 0), (32, 0), "Q8_0", "Q4_1")) == 64 * (2 * 34 + 20)


def test_blocks_must_lie_within_a_head() -> None:
    archive: Any = model()  # whose heads are 16 wide
    for option, name in (("cache_type_k", "q4_0"), ("cache_type_v", "Q8_0")):
        said = f"{option} is {name.lower()}, whose blocks hold 32 numbers; heads of this model are 16 wide .use f16,"
        with pytest.raises(UsageError, match=said):
            load_engine(archive, LoadOptions(threads=1, **{option: name}))


def test_the_models_own_context_when_it_fits() -> None:
    context, pages = plan_pages(LAYOUT, 2048, 1, room_for(33), fixed=False)
    assert (context, pages) == (2048, 33)


def test_a_context_beyond_memory_is_cut_or_refused() -> None:
    assert plan_pages(LAYOUT, 100_000, 1, room_for(33), fixed=False) == (2048, 33)
    with pytest.raises(CapacityError, match=r"100000 tokens needs .* GB .* are free \(--ctx-size 2048 would fit\)"):
        plan_pages(LAYOUT, 100_000, 1, room_for(33), fixed=True)
    with pytest.raises(CapacityError, match="smaller model"):
        plan_pages(LAYOUT, 100_000, 1, room_for(2), fixed=False)
    assert plan_pages(LAYOUT, 2048, 1, room_for(33), fixed=True) == (2048, 33)
    with pytest.raises(CapacityError):
        plan_pages(LAYOUT, 2048, 1, room_for(32), fixed=True)


def test_pages_for_more_contexts(caplog: pytest.LogCaptureFixture) -> None:
    assert plan_pages(LAYOUT, 640, 3, 1 << 40, fixed=True) == (640, 33)
    assert plan_pages(LAYOUT, 640, 0, 1 << 40, fixed=True) == (640, 11 * 16)
    assert plan_pages(LAYOUT, 65536, 0, 1 << 40, fixed=True) == (65536, 1025 + (512 << 20) // PAGE)
    assert plan_pages(LAYOUT, 640, 0, room_for(20), fixed=True) == (640, 20)
    with caplog.at_level(logging.WARNING):
        assert plan_pages(LAYOUT, 640, 5, room_for(25), fixed=True) == (640, 25)
    assert "room for 2 contexts, not 5" in caplog.text


def test_weights_without_room_are_told_with_a_type_that_fits(caplog: pytest.LogCaptureFixture) -> None:
    archive = open_archive(STORYTELLER)
    numbers = sum(math.prod(entry.shape) for entry in archive.tensors.values())
    with caplog.at_level(logging.WARNING):
        warn_of_weights(archive, numbers * 2, numbers * 2)
        assert not caplog.text
        warn_of_weights(archive, numbers * 2, int(numbers * 0.7))
    assert f"weights of {numbers * 2 / 1e9:.2f} GB do not fit the {numbers * 0.7 / 1e9:.2f} GB" in caplog.text
    assert f"all in Q5_K, they would take {numbers * 176 / 256 / 1e9:.2f} GB" in caplog.text
    with caplog.at_level(logging.WARNING):
        warn_of_weights(archive, numbers * 2, numbers // 10)
    assert "use a smaller model" in caplog.text
    archive.close()


def test_a_context_past_training_is_told(caplog: pytest.LogCaptureFixture) -> None:
    archive = open_archive(STORYTELLER)
    trained = archive.metadata["llama.context_length"]
    with caplog.at_level(logging.WARNING):
        engine = load_engine(archive, LoadOptions(ctx_size=trained + 64, threads=1))
    assert f"{trained + 64} tokens is more than the model was trained on ({trained})" in caplog.text
    assert engine.context_tokens == trained + 64
    engine.close()
    with pytest.raises(UsageError, match="backend"):
        load_engine(archive, LoadOptions(backend="abacus"))
    archive.close()


def engines(**options: Any) -> Engine:
    return load_engine(open_archive(STORYTELLER), LoadOptions(threads=2, **options))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = engines(backend="cpu")
    yield made
    made.close()


def prompt_of(length: int, seed: int) -> list[int]:
    return random.Random(f"{seed}").choices(range(300, 1500), k=length)


def run(engine: Engine, prompt: list[int], seed: int, count: int = 40) -> list[int]:
    return engine.submit(SequenceRequest(prompt, SamplingOptions(seed=seed), GenerateOptions(n_predict=count))).wait()


def test_alone_and_among_others_are_the_same(engine: Engine) -> None:
    """Sixteen sequences with seeds; and a second time over pages that earlier ones left."""
    jobs = [(prompt_of(5 + 9 * n, n), n) for n in range(16)]
    alone = [run(engine, prompt, seed) for prompt, seed in jobs]
    together = engines(backend="cpu", parallel=2, batch_size=48)
    for _ in range(2):
        sequences = [
            together.submit(SequenceRequest(prompt, SamplingOptions(seed=seed), GenerateOptions(n_predict=40)))
            for prompt, seed in jobs
        ]
        assert [sequence.wait() for sequence in sequences] == alone
    together.close()  # it ends once all pages of the last one are back
    together.pool.check([])


def test_logits_do_not_depend_on_how_steps_are_cut(engine: Engine) -> None:
    tokens = prompt_of(150, 1)
    whole = engine.logits(tokens, range(150))
    engine.submit(SequenceRequest(tokens[:100], generate=GenerateOptions(n_predict=0))).wait()
    assert engine.logits(tokens, range(120, 150)) == whole[120 * engine.vocab_size :]
    cut = engines(backend="cpu", batch_size=7)
    assert cut.logits(tokens, range(150)) == whole
    cut.close()


def test_the_reference_agrees(engine: Engine) -> None:
    reference = load_engine(open_archive(STORYTELLER), LoadOptions(), backend("reference"))
    tokens = prompt_of(20, 2)
    ours, theirs = (one.log_probabilities(tokens) for one in (engine, reference))
    assert ours == pytest.approx(theirs, abs=0.15)  # activations are 8-bit on the CPU
    reference.close()


def test_a_published_story_comes_out() -> None:
    """Greedy ids of stories260K, as llama.cpp and llama2.c give them."""
    import json

    ids = json.loads(shared("golden/stories.json").read_text())["stories260K"]["greedy_ids"]
    for name in ("cpu", "reference"):
        opened = load_engine(open_archive(shared("models/stories260K.gguf")), LoadOptions(backend=name, threads=1))
        request = SequenceRequest([1], SamplingOptions(temp=0), GenerateOptions(n_predict=200))
        assert opened.submit(request).wait() == ids[1:201]
        loss = -sum(opened.log_probabilities(ids)) / (len(ids) - 1)
        assert loss == pytest.approx(0.4734, abs=2e-3)
        assert isinstance(opened.logits([1], [0]), array)
        opened.close()


def test_queue_has_so_many_places() -> None:
    with pacos.load("storyteller", queue_size=2, threads=1) as llm:
        with pytest.raises(CapacityError, match="the queue is full: 0 of 2 places are taken, 3 asked for"):
            llm.stream_many("Once", 3)
        assert len(llm.generate_many("Once", 2, n_predict=1)) == 2


def test_rotary_base_of_the_options() -> None:
    tokens = [1, 30, 40, 50, 60, 70]
    found = {}
    for base in (0.0, 10000.0, 500.0):
        with pacos.load("storyteller", rope_freq_base=base, threads=1) as llm:
            found[base] = llm.log_probabilities(tokens)
            own = llm.archive.metadata.get("llama.rope.freq_base", 10000.0)
    assert found[own] == found[0.0], "the model's own"
    assert found[500.0] != found[0.0]
