"""A server with an encoder-decoder: what it answers as others do, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import tiny
from serving import asynchronous, client_of

from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf("flan-t5", tmp_path_factory.mktemp("flan"))


def served(model: Path) -> Residency:
    return Residency([ModelSpec("t5", str(model))])


@asynchronous
async def test_a_prompt_is_said_but_has_no_scores(model: Path) -> None:
    body = {"prompt": "The fox", "max_tokens": 3, "temperature": 0, "echo": True}
    async with client_of(served(model)) as client:
        said = await client.post("/v1/completions", json=body)
        scored = await client.post("/v1/completions", json={**body, "echo": False, "logprobs": 2})
        refused = await client.post("/v1/completions", json={**body, "logprobs": 2})
    assert said.json()["choices"][0]["text"].startswith("The fox")
    assert len(scored.json()["choices"][0]["logprobs"]["token_logprobs"]) == 3
    assert refused.status_code == 400
    assert "nothing predicts them (drop echo or logprobs)" in refused.json()["error"]["message"]


@asynchronous
async def test_a_text_of_a_slot_is_saved_erased_and_restored(model: Path, tmp_path: Path) -> None:
    body = {"prompt": "The fox " * 12, "n_predict": 8, "temperature": 0, "ignore_eos": True, "id_slot": 0}
    async with client_of(served(model), slot_save_path=str(tmp_path)) as client:

        async def answer() -> tuple[str, int]:
            found = (await client.post("/completion", json=body)).json()
            return found["content"], found["timings"]["cache_n"]

        async def act(action: str) -> dict[str, int]:
            found: dict[str, int] = (await client.post(f"/slots/0?action={action}", json={"filename": "a"})).json()
            return found

        first = await answer()
        assert (await act("save"))["n_saved"] == 96 + 8
        assert (await act("erase"))["n_erased"] == 96 + 8
        assert await answer() == first == (first[0], 0)
        await act("erase")
        assert (await act("restore"))["n_restored"] == 96 + 8
        assert await answer() == (first[0], 96)


@asynchronous
async def test_a_context_goes_on_as_one_source(model: Path) -> None:
    body = {"model": "t5", "prompt": "The fox", "raw": False, "stream": False, "options": {"num_predict": 4}}
    async with client_of(served(model)) as client:
        first = (await client.post("/api/generate", json=body)).json()
        second = (await client.post("/api/generate", json={**body, "context": first["context"]})).json()
    said = [token for token in first["context"] if token not in {0, 1}]
    read = second["context"][: second["prompt_eval_count"]]
    assert read == [*said, *first["context"][: first["prompt_eval_count"]]]


@asynchronous
async def test_a_source_that_does_not_fit_is_refused_or_cut(model: Path) -> None:
    body = {"messages": [{"role": "user", "content": "fox " * 300}], "max_tokens": 4}
    async with client_of(served(model)) as client:
        refused = await client.post("/v1/chat/completions", json=body)
        cut = await client.post("/v1/chat/completions", json={**body, "context_policy": "truncate"})
        shifted = await client.post("/v1/chat/completions", json={**body, "context_policy": "shift"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert cut.json()["choices"][0]["context"]["cut_tokens"] > 0
    assert "does not write by forgetting what it has read" in shifted.json()["error"]["message"]


@asynchronous
async def test_a_prompt_is_counted_before_as_after(model: Path) -> None:
    body = {"model": "t5", "messages": [{"role": "user", "content": "The fox"}]}
    async with client_of(served(model)) as client:
        counted = (await client.post("/v1/messages/count_tokens", json=body)).json()["input_tokens"]
        used = (await client.post("/v1/messages", json={**body, "max_tokens": 1})).json()["usage"]["input_tokens"]
    assert counted == used
