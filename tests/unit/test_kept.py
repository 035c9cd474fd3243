"""Texts that an earlier Pacos has saved are gone on with, token by token: tests/data/kept-*.session are such files.

Where this fails, pages mean something else than before. Make it hold again; or, when the change is wanted, give
PAGE_FORMAT in engine/page_file.py (or `format` of the backend's pages, when only they are arranged otherwise) its next
number and run this with PACOS_UPDATE_GOLDEN=1, which writes the files anew: texts saved before are then computed again.
"""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import pytest

import pacos

DATA = Path(__file__).parents[1] / "data"
TEXT = "Once upon a time there was a girl who had a red dog. One day, she went to the park and"
# What the storyteller makes of it; more tokens would come near ties that instruction sets may break otherwise.
ANSWER = " saw a big"


@pytest.mark.parametrize("kind", ["f16", "q4_0"])
def test_a_text_of_an_earlier_release_goes_on(kind: str) -> None:
    path = DATA / f"kept-{kind}.session"
    with pacos.load("storyteller", cache_type_k=kind, cache_type_v=kind, backend="cpu", ctx_size=128) as llm:
        prompt = llm.tokenize(TEXT)
        if os.environ.get("PACOS_UPDATE_GOLDEN"):
            llm.generate(prompt, n_predict=0)
            llm.engine.texts.save(array("i", prompt), "", path)
            llm.engine.texts.erase(array("i", prompt), "")
        computed = llm.generate(prompt, temp=0, n_predict=3, scores=1, cache_prompt=False)
        kept = llm.engine.texts.restore(path, "")
        assert list(kept.tokens) == prompt
        found = llm.generate(prompt, temp=0, n_predict=3, scores=1)
        assert (computed.timings.cached_tokens, found.timings.cached_tokens) == (0, len(prompt) - 1)
        assert found.text == computed.text == ANSWER
        for one, other in zip(found.scores, computed.scores, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=0.02)  # kernels may round otherwise
