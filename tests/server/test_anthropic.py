"""The anthropic dialect: replies, streams and errors on a model that repeats what it is told, and its own client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import asynchronous, client_of

from pacos.server.dialects.anthropic import prompt
from pacos.server.fields import convert

HELLO: dict[str, Any] = {
    "model": "fake",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello my dear world"}],
}


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream; each one's name is its type."""
    found = []
    for block in filter(None, text.split("\n\n")):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@asynchronous
async def test_whole_answer() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/messages", json=HELLO)
    data = reply.json()
    assert data.pop("id").startswith("msg_")
    assert data.pop("usage")["output_tokens"] == len("hello my dear world")
    assert data == {
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [{"type": "text", "text": "hello my dear world"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


@asynchronous
async def test_limit_of_tokens() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/messages", json={**HELLO, "max_tokens": 5})
    assert reply.json()["stop_reason"] == "max_tokens"
    assert reply.json()["content"][0]["text"] == "hello"


@asynchronous
async def test_streamed_answer() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/messages", json={**HELLO, "stream": True})
    found = events(reply.text)
    assert [one["type"] for one in found if one["type"] != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    deltas = [one["delta"] for one in found if one["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == "hello my dear world"
    last = next(one for one in found if one["type"] == "message_delta")
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert last["usage"]["output_tokens"] == len("hello my dear world")


@asynchronous
async def test_failure_within_a_stream_is_an_event() -> None:
    body = {**HELLO, "messages": [{"role": "user", "content": "fail"}], "stream": True}
    async with client_of() as client:
        reply = await client.post("/v1/messages", json=body)
    assert events(reply.text)[-1]["error"]["type"] == "api_error"


@asynchronous
async def test_system_and_blocks_reach_the_template() -> None:
    body = {
        **HELLO,
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        ],
    }
    async with client_of() as client:
        reply = await client.post("/v1/messages", json=body)
        count = await client.post(
            "/v1/messages/count_tokens", json={k: v for k, v in body.items() if k != "max_tokens"}
        )
    assert reply.json()["content"][0]["text"] == "one\ntwo"
    assert count.json() == {"input_tokens": len("<system>be brief<user>one\ntwo")}
    assert reply.json()["usage"]["input_tokens"] == count.json()["input_tokens"]


def test_tool_in_the_form_of_the_library() -> None:
    tool = convert({"name": "f", "input_schema": {"type": "object"}, "strict": True}, prompt.Tool)
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert prompt._function(tool) == {"type": "function", "function": function}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({k: v for k, v in HELLO.items() if k != "model"}, "model"),
    "no limit": ({k: v for k, v in HELLO.items() if k != "max_tokens"}, "max_tokens"),
    "unknown field": ({**HELLO, "temprature": 1}, "temprature"),
    "system as a role": ({**HELLO, "messages": [{"role": "system", "content": "x"}]}, "role"),
    "no messages": ({**HELLO, "messages": []}, "messages"),
    "picture": ({**HELLO, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "type"),
    "temperature": ({**HELLO, "temperature": -1}, "temperature"),
    "tool that is not there": ({**HELLO, "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
    "budget of no thinking": ({**HELLO, "thinking": {"type": "disabled", "budget_tokens": 5}}, "budget_tokens"),
    "result in the assistant's message": (
        {**HELLO, "messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
        "tool_result",
    ),
}


@pytest.mark.parametrize(("body", "word"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused_field(body: dict[str, Any], word: str) -> None:
    async with client_of() as client:
        reply = await client.post("/v1/messages", json=body)
    assert reply.status_code == 400, reply.text
    data = reply.json()
    assert data["type"] == "error"
    assert data["error"]["type"] == "invalid_request_error"
    assert word in data["error"]["message"]


@asynchronous
async def test_unknown_model_and_path() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/messages", json={**HELLO, "model": "other"})
        path = await client.post("/v1/messages/batches", json={})
    assert reply.status_code == path.status_code == 404
    assert reply.json()["error"]["type"] == path.json()["error"]["type"] == "not_found_error"
