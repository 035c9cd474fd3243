"""LLM.embed on a decoder: hidden states of the last tokens, any length, whatever the batch."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pacos
from pacos.errors import ContextFull, FormatError, UsageError
from pacos.hub.opening import open_model
from pacos.llm import LLM
from pacos.llm.embed import pooling_of
from pacos.models import HIDDEN, Hparams, build_plan

TEXTS = ["Once upon a time", "a dragon", "Once upon a time there was a fox. " * 30]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with pacos.load("storyteller", threads=2, batch_size=64) as opened:
        yield opened


def test_hidden_states_are_what_the_output_head_reads(llm: LLM) -> None:
    """Times the output matrix, they are the logits."""
    from pacos import quants

    ids = llm.tokenize(TEXTS[0])
    hidden = llm.embed(ids, pooling="none", normalize=-1).numpy()
    entry = llm.archive.tensors.get("output.weight") or llm.archive.tensors["token_embd.weight"]
    matrix = quants.dequantize(entry.type, llm.archive.data(entry.name), entry.shape)
    logits = llm.logits(ids)
    assert hidden.shape == (len(ids), matrix.shape[1])
    assert np.abs(hidden @ matrix.T - logits).max() < 0.03 * np.abs(logits).max()  # activations are rounded to 8 bits


def test_the_plan_of_hidden_states_reads_no_output_head(llm: LLM) -> None:
    archive = open_model(llm.path)
    plan = build_plan(archive, Hparams.from_metadata(archive.metadata, archive.tensors), HIDDEN)
    archive.close()
    assert "output.weight" not in plan.weight_names()
    assert plan.nodes[-1].op == "rms_norm"


def test_inputs_together_equal_each_alone_bit_for_bit(llm: LLM) -> None:
    for pooling in ("mean", "cls", "last", "none"):
        together = llm.embed(TEXTS, pooling=pooling)
        assert together.pooling == pooling
        assert together.width == 256
        for text, vector, count in zip(TEXTS, together.vectors, together.token_counts, strict=True):
            assert llm.embed(text, pooling=pooling).vectors == (vector,)
            assert count == len(llm.tokenize(text))
            assert len(vector) == together.width * (count if pooling == "none" else 1)
    assert together.token_counts[2] > 4 * 64  # steps cut it


def test_the_default_is_the_last_token_and_length_one(llm: LLM) -> None:
    found = llm.embed(TEXTS)
    assert found.pooling == "last"
    assert found.vectors == llm.embed(TEXTS, pooling="last").vectors
    assert np.linalg.norm(found.numpy(), axis=1) == pytest.approx([1, 1, 1])
    every = llm.embed(TEXTS[1], pooling="none", normalize=-1).numpy()
    mean = every.astype(np.float64).mean(axis=0)
    assert llm.embed(TEXTS[1], pooling="mean").numpy()[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-7)
    short = llm.embed(TEXTS[1], pooling="mean", dimensions=8)
    assert short.numpy()[0] == pytest.approx(mean[:8] / np.linalg.norm(mean[:8]), abs=1e-6)


def test_forms_of_input(llm: LLM) -> None:
    ids = llm.tokenize(TEXTS[0])
    wanted = llm.embed(TEXTS[0]).vectors
    for one in (ids, tuple(ids), array("i", ids), TEXTS[0].encode(), [TEXTS[0]], [ids], (TEXTS[0].encode(),)):
        assert llm.embed(one).vectors == wanted
    assert llm.embed([ids, TEXTS[1]]).vectors == llm.embed(TEXTS[:2]).vectors


@pytest.mark.parametrize(
    ("inputs", "options", "said"),
    [
        ([], {}, "there are no inputs"),
        ("", {}, "input 0: no tokens"),
        (["a", []], {}, "input 1: no tokens"),
        (5, {}, "5 is no input"),
        ({"a": 1}, {}, "is no input"),
        (["a", 7], {}, "input 1: 7 is no list of token ids"),
        ([[1], [2, -1]], {}, "input 1: token -1 is not in the vocabulary"),
        (["a", "b " * 3000], {}, r"input 1: \d+ tokens, at most 1024 are possible .shorten it, or have it cut"),
        ("a b c d", {"max_length": 3}, r"input 0: \d+ tokens, at most 3"),
        ("a", {"pooling": "median"}, "pooling is 'median' .use one of none, mean, cls, last, rank"),
        ("a", {"normalize": -2}, "normalize is -2"),
        ("a", {"dimensions": 257}, "dimensions is 257 .vectors of this model have 256 numbers"),
        ("a", {"pool": "mean"}, "unknown option 'pool' .did you mean 'pooling'"),
        ("a", {"pooling": "rank"}, "this model has no head that ranks"),
    ],
)
def test_what_cannot_be_embedded(llm: LLM, inputs: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        llm.embed(inputs, **options)
    assert isinstance(caught.value, ContextFull) == ("at most" in said)


def test_a_long_input_is_cut_on_request_and_reported(llm: LLM) -> None:
    found = llm.embed(["a", "b " * 3000, "c"], truncate=True)
    assert found.truncated == (1,)
    assert found.token_counts[1] == 1024
    assert found.vectors[1] == llm.embed(llm.tokenize("b " * 3000)[:1024]).vectors[0]
    assert llm.embed("a b c d e f g", truncate=True, max_length=3).token_counts == (3,)


def test_the_file_names_the_pooling() -> None:
    named = {"general.architecture": "qwen3"}
    assert [pooling_of(named | {"qwen3.pooling_type": n}, causal=True) for n in (0, 1, 2, 3, 4)] == [
        *("none", "mean", "cls", "last", "rank")
    ]
    assert (pooling_of(named, causal=True), pooling_of(named, causal=False)) == ("last", "mean")
    with pytest.raises(FormatError, match=r"qwen3.pooling_type is 5, needed: 0 to 4"):
        pooling_of(named | {"qwen3.pooling_type": 5}, causal=True)


def test_ranking_needs_a_head(llm: LLM) -> None:
    with pytest.raises(UsageError, match=r"no head that ranks .use a reranker"):
        llm.rerank("a dragon", ["a fox"])
    for documents in ("a fox", [], {"a": 1}):
        with pytest.raises(UsageError, match="the documents are"):
            llm.rerank("a dragon", documents)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the query is 7"):
        llm.rerank(7, ["a fox"])  # type: ignore[arg-type]
