"""Completions, embeddings and models of the openai dialect, on a model that repeats what it is told."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from fake_llm import FakeModels, fake_spec
from serving import asynchronous, client_of

from pacos.hub.names import resolve
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency


@asynchronous
async def test_text_goes_on() -> None:
    async with client_of() as client:
        data = (await client.post("/v1/completions", json={"prompt": "one two", "echo": True})).json()
    assert data["object"] == "text_completion"
    assert data["choices"] == [{"index": 0, "text": "one twoone two", "finish_reason": "stop", "logprobs": None}]
    assert data["usage"]["prompt_tokens"] == 7


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("ab", ["ab", "ab"]),
        (["ab", "cd"], ["ab", "ab", "cd", "cd"]),
        ([97, 98], ["ab", "ab"]),
        ([[97, 98], [99]], ["ab", "ab", "c", "c"]),
        (["ab", [99]], ["ab", "ab", "c", "c"]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@asynchronous
async def test_prompts_and_choices(prompt: Any, texts: list[str], stream: bool) -> None:
    async with client_of() as client:
        body = {"prompt": prompt, "n": 2, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        reply = await client.post("/v1/completions", json=body)
    found = [""] * len(texts)
    if not stream:
        for choice in reply.json()["choices"]:
            found[choice["index"]] = choice["text"]
        usage = reply.json()["usage"]
    else:
        chunks = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: {")]
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            found[choice["index"]] += choice["text"]
        usage = chunks[-1]["usage"]
    assert found == texts
    assert usage["prompt_tokens"] == len("".join(texts)) // 2
    assert usage["completion_tokens"] == len("".join(texts))


@pytest.mark.parametrize("prompt", [[], [["a"]], [1, "a"], {"a": 1}, None, 7, [[]] * 257, [1.5]])
@asynchronous
async def test_prompt_that_is_none(prompt: Any) -> None:
    async with client_of() as client:
        reply = await client.post("/v1/completions", json={"prompt": prompt})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith("prompt")


@asynchronous
async def test_embeddings_as_numbers_and_base64() -> None:
    async with client_of() as client:
        body = {"input": ["abc", "d"], "model": "fake", "dimensions": 3}
        plain = (await client.post("/v1/embeddings", json=body)).json()
        coded = (await client.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
    assert [one["embedding"] for one in plain["data"]] == [[3, 97, 98], [1, 100, 0]]
    assert plain["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    for one, other in zip(plain["data"], coded["data"], strict=True):
        assert list(struct.unpack("<3f", base64.b64decode(other["embedding"]))) == one["embedding"]


@asynchronous
async def test_models_are_listed_and_found() -> None:
    models = FakeModels()
    residency = Residency([fake_spec("one", aliases=("uno",)), fake_spec("org/two")], open_model=models.open)
    async with client_of(residency) as client:
        listed = (await client.get("/v1/models")).json()
        one = await client.get("/v1/models/uno")
        two = await client.get("/v1/models/org/two")
        none = await client.get("/v1/models/onee")
        answer = await client.post("/v1/completions", json={"prompt": "x", "model": "org/two"})
        unknown = await client.post("/v1/completions", json={"prompt": "x", "model": "three"})
    assert [model["id"] for model in listed["data"]] == ["one", "org/two"]
    assert (one.json()["id"], two.json()["id"]) == ("one", "org/two")
    assert none.status_code == 404
    assert "did you mean one?" in none.json()["error"]["message"]
    assert answer.json()["model"] == "org/two"
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert list(models.opened) == ["org/two"]


@asynchronous
async def test_streamed_echo_has_scores_of_the_prompt() -> None:
    residency = Residency([ModelSpec("storyteller", str(resolve("storyteller")))])
    body = {"prompt": "Once upon a time", "max_tokens": 3, "temperature": 0, "echo": True, "logprobs": 2}
    async with client_of(residency) as client:
        (whole,) = (await client.post("/v1/completions", json=body)).json()["choices"]
        reply = await client.post("/v1/completions", json={**body, "stream": True})
    lines = [line[6:] for line in reply.text.split("\n") if line.startswith("data: {")]
    pieces = [json.loads(line)["choices"][0] for line in lines]
    assert "".join(one["text"] for one in pieces) == whole["text"]
    scores = [one["logprobs"] for one in pieces if one["logprobs"]]
    for name in ("tokens", "token_logprobs", "text_offset"):
        assert [value for one in scores for value in one[name]] == whole["logprobs"][name]
    assert scores[0]["token_logprobs"][0] is None
