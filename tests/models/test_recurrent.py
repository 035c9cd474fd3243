"""Recurrent families through the engine: how a text is cut, who shares a step and what is reused change no bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from models import tiny
from patience import until

from pacos.engine.engine import Engine
from pacos.engine.load import load_engine
from pacos.engine.pooling import CopiedRows
from pacos.errors import UsageError
from pacos.hub.convert import convert
from pacos.hub.opening import open_model
from pacos.models import Hparams, build_plan
from pacos.settings import LoadOptions

CASES = [name for name in tiny.CASES if tiny.architecture_of(name).recurrent]
STATELESS = "deci"  # some of its layers have no attention, and hold nothing instead
TOKENS, WANTED = 200, range(190, 200)


@pytest.fixture(scope="module", params=CASES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    convert(tiny.write_folder(request.param, folder / "model"), folder / "model.gguf", "Q8_0")
    return folder / "model.gguf"


def engine(path: Path, batch_size: int) -> Engine:
    return load_engine(open_model(path), LoadOptions(batch_size=batch_size, ctx_size=512, threads=2))


@pytest.fixture(scope="module")
def whole(path: Path) -> Iterator[tuple[Engine, np.ndarray]]:
    """An engine that has computed the prompt at once, and the logits of its last places."""
    opened = engine(path, 512)
    yield opened, rows(opened, TOKENS, WANTED)
    opened.close()


def rows(opened: Engine, count: int, wanted: range) -> np.ndarray:
    return np.array(opened.logits(tiny.prompt(TOKENS)[:count], wanted), np.float32).reshape(len(wanted), -1)


@pytest.mark.parametrize("batch_size", [1, 37])
def test_pieces_give_the_same_bits(batch_size: int, path: Path, whole: tuple[Engine, np.ndarray]) -> None:
    opened = engine(path, batch_size)
    np.testing.assert_array_equal(rows(opened, TOKENS, WANTED), whole[1])
    opened.close()


def test_neighbours_change_no_bit(path: Path, whole: tuple[Engine, np.ndarray]) -> None:
    opened = engine(path, 100)
    prompts = [tiny.prompt(n) for n in (7, 150, TOKENS, 64)]
    sinks = [CopiedRows(WANTED if len(prompt) == TOKENS else [len(prompt) - 1]) for prompt in prompts]
    running = [opened.submit_rows(prompt, sink) for prompt, sink in zip(prompts, sinks, strict=True)]
    for sequence in running:
        sequence.wait()
    np.testing.assert_array_equal(np.array(sinks[2].rows, np.float32).reshape(len(WANTED), -1), whole[1])
    opened.close()


def test_a_checkpoint_gives_the_same_bits(whole: tuple[Engine, np.ndarray]) -> None:
    opened, expected = whole
    before = opened.statistics().tokens_reused
    opened.logits([*tiny.prompt(TOKENS)[:150], 9, 9], [151])
    np.testing.assert_array_equal(rows(opened, TOKENS, WANTED), expected)
    until(lambda: opened.statistics().tokens_reused >= before + 128)  # counted once the last sequence is put away


def test_layers_without_attention_take_no_pages(path: Path, whole: tuple[Engine, np.ndarray]) -> None:
    archive = open_model(path)
    plan = build_plan(archive, Hparams.from_metadata(archive.metadata, archive.tensors))
    holds_states = archive.metadata["general.architecture"] != STATELESS
    archive.close()
    attended = {node.attribute("cache").layer for node in plan.nodes if node.op == "attention"}
    layout = whole[0].pages.layout
    assert {layer for layer, width in enumerate(layout.key_width) if width} == attended
    assert bool(layout.states) == holds_states


def test_what_holds_pages_alone_is_refused(path: Path, whole: tuple[Engine, np.ndarray], tmp_path: Path) -> None:
    archive = open_model(path)
    options = LoadOptions(ctx_size=512, prompt_cache_dir=str(tmp_path))
    if archive.metadata["general.architecture"] == STATELESS:
        load_engine(archive, options).close()
        assert whole[0].texts.possible
        return
    with pytest.raises(UsageError, match="recurrent layers"):
        load_engine(archive, options)
    archive.close()
    assert not whole[0].texts.possible
