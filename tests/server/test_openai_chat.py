"""Chat completions of the openai dialect, on a model that repeats what it is told."""

from __future__ import annotations

import json

import pytest
from fake_llm import FakeModels
from serving import asynchronous, client_of

HELLO = {"messages": [{"role": "user", "content": "hello my dear world"}]}


@asynchronous
async def test_whole_answer() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/chat/completions", json={**HELLO, "model": "fake"})
    assert reply.status_code == 200
    data = reply.json()
    assert data["object"] == "chat.completion"
    assert data["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello my dear world"},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert data["usage"]["total_tokens"] == data["usage"]["prompt_tokens"] + data["usage"]["completion_tokens"]


@asynchronous
async def test_streamed_answer_with_usage() -> None:
    async with client_of() as client:
        body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    pieces = [line[6:] for line in reply.text.split("\n") if line.startswith("data: ")]
    assert pieces[-1] == "[DONE]"
    chunks = [json.loads(piece) for piece in pieces[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "hello my dear world"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == len("hello my dear world")
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


@asynchronous
async def test_several_choices_streamed() -> None:
    async with client_of(models=FakeModels(0.001)) as client:
        reply = await client.post("/v1/chat/completions", json={**HELLO, "stream": True, "n": 3})
    texts = ["", "", ""]
    for line in reply.text.split("\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == ["hello my dear world"] * 3


@asynchronous
async def test_choices_get_seeds_in_a_row() -> None:
    models = FakeModels()
    async with client_of(models=models) as client:
        await client.post("/v1/chat/completions", json={**HELLO, "n": 3, "seed": 7})
    assert [stream.seed for stream in models.opened["fake"].streams] == [7, 8, 9]


@asynchronous
async def test_limit_of_tokens() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/chat/completions", json={**HELLO, "max_completion_tokens": 5})
    assert reply.json()["choices"][0]["finish_reason"] == "length"
    assert reply.json()["choices"][0]["message"]["content"] == "hello"


@asynchronous
async def test_failure_within_a_stream_is_an_event() -> None:
    async with client_of() as client:
        body = {"messages": [{"role": "user", "content": "fail"}], "stream": True}
        reply = await client.post("/v1/chat/completions", json=body)
        whole = await client.post("/v1/chat/completions", json={**body, "stream": False})
    last = [line[6:] for line in reply.text.split("\n") if line.startswith("data: ")][-1]
    assert json.loads(last)["error"]["type"] == "server_error"
    assert whole.status_code == 500
    assert whole.json()["error"]["type"] == "server_error"


REFUSED = {
    "unknown field": ({**HELLO, "temprature": 1}, "temprature"),
    "unknown field of a message": ({"messages": [{"role": "user", "content": "x", "x": 1}]}, "messages[0].x"),
    "wrong type": ({**HELLO, "max_tokens": "7"}, "max_tokens"),
    "fraction for a whole number": ({**HELLO, "max_tokens": 1.5}, "max_tokens"),
    "boolean for a number": ({**HELLO, "temperature": True}, "temperature"),
    "out of range": ({**HELLO, "top_p": 2}, "top_p"),
    "out of range under another name": ({**HELLO, "temperature": -1}, "temperature"),
    "missing": ({}, "messages"),
    "role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
    "negative limit": ({**HELLO, "max_tokens": -2}, "max_tokens"),
    "limits that differ": ({**HELLO, "max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
    "choices": ({**HELLO, "n": 0}, "n"),
    "bias": ({**HELLO, "logit_bias": {"x": 1}}, "logit_bias"),
    "stop": ({**HELLO, "stop": [1]}, "stop[0]"),
    "options of no stream": ({**HELLO, "stream_options": {"include_usage": True}}, "stream_options"),
    "picture": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
}


@pytest.mark.parametrize(("body", "field"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused_field(body: dict[str, object], field: str) -> None:
    async with client_of() as client:
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == field
    assert error["type"] == "invalid_request_error"
    assert field.split("[", maxsplit=1)[0].split(".", maxsplit=1)[0] in error["message"]


@asynchronous
async def test_a_picture_is_refused_as_what_cannot_be_used_yet() -> None:
    async with client_of() as client:
        for kind, said in (("image_url", True), ("input_audio", True), ("txt", False)):
            body = {"messages": [{"role": "user", "content": [{"type": kind}]}]}
            message = (await client.post("/v1/chat/completions", json=body)).json()["error"]["message"]
            assert ("cannot be used yet" in message) == said


@asynchronous
async def test_metrics_count_a_prompt_once_whatever_the_number_of_its_answers() -> None:
    async with client_of(metrics=True) as client:
        plain = {"prompt": "abcde", "max_tokens": 2}
        for asked in ({**plain, "n": 3}, {**plain, "n": 2, "stream": True}, {"prompt": ["abc", "ab"], "n": 2}):
            reply = await client.post("/v1/completions", json=asked)
            assert reply.status_code == 200
        text = (await client.get("/metrics")).text
    assert "pacos_prompt_tokens_total 15\n" in text
