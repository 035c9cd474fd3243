"""Tools, thoughts and log-probabilities in every dialect, whole and streamed, on a model that calls what it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_llm import FakeModels
from serving import asynchronous, client_of

ARGUMENTS = {"city": "Bern", "days": 3}
CALLING = f"weather {json.dumps(ARGUMENTS)}"  # the model thinks "weather!", then calls it
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "weather", "description": "Tell it.", "parameters": SCHEMA}
FULL = {"type": "function", "function": FUNCTION}
SAID: list[dict[str, str]] = [{"role": "user", "content": CALLING}]
ANTHROPIC: dict[str, Any] = {
    "model": "fake",
    "max_tokens": 99,
    "messages": SAID,
    "tools": [{"name": "weather", "description": "Tell it.", "input_schema": SCHEMA}],
}
OLLAMA: dict[str, Any] = {"model": "fake", "messages": SAID, "tools": [FULL]}
RESPONSES: dict[str, Any] = {"input": CALLING, "tools": [{"type": "function", **FUNCTION}]}


def data_of(text: str) -> list[dict[str, Any]]:
    """The data of a stream of events."""
    lines = (line for line in text.split("\n") if line.startswith("data: {"))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def given(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the model was asked with by a request that is answered."""
    models = FakeModels()
    async with client_of(models=models) as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return models.opened["fake"].streams[0].given


@asynchronous
async def test_anthropic_whole() -> None:
    async with client_of() as client:
        reply = (await client.post("/v1/messages", json=ANTHROPIC)).json()
    assert reply["content"] == [
        {"type": "thinking", "thinking": "weather!", "signature": ""},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": ARGUMENTS},
    ]
    assert reply["stop_reason"] == "tool_use"


@asynchronous
async def test_anthropic_streamed() -> None:
    async with client_of() as client:
        found = data_of((await client.post("/v1/messages", json={**ANTHROPIC, "stream": True})).text)
    assert [one["content_block"] for one in found if one["type"] == "content_block_start"] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
    ]
    deltas = [one["delta"] for one in found if one["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "weather!"
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == ARGUMENTS
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


ANTHROPIC_WISHES = {
    "no tool": ({**ANTHROPIC, "tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
    "some tool": (
        {**ANTHROPIC, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tool_choice": "required", "parallel_tool_calls": False},
    ),
    "this tool": (
        {**ANTHROPIC, "tool_choice": {"type": "tool", "name": "weather"}},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    "thoughts": (
        {**ANTHROPIC, "thinking": {"type": "enabled", "budget_tokens": 7}},
        {"reasoning": "on", "reasoning_budget": 7},
    ),
    "no thoughts": ({**ANTHROPIC, "thinking": {"type": "disabled"}}, {"reasoning": "off"}),
    "thoughts as it likes": ({**ANTHROPIC, "thinking": {"type": "adaptive"}}, {"reasoning": "on"}),
    "own beginning": (
        {**ANTHROPIC, "messages": [*SAID, {"role": "assistant", "content": "So"}]},
        {"template_options": {"continue_final_message": True}},
    ),
    "schema": (
        {**ANTHROPIC, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}},
        {"json_schema": SCHEMA, "template_options": {"reasoning_effort": "low"}},
    ),
    "schema at the top": (
        {**ANTHROPIC, "output_format": {"type": "json_schema", "schema": SCHEMA}},
        {"json_schema": SCHEMA},
    ),
}


@pytest.mark.parametrize(("body", "wanted"), ANTHROPIC_WISHES.values(), ids=ANTHROPIC_WISHES)
@asynchronous
async def test_anthropic_wish(body: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert (await given("/v1/messages", body)).items() >= {"tools": ["weather"], **wanted}.items()


@asynchronous
async def test_anthropic_count_is_what_a_request_costs() -> None:
    async with client_of() as client:
        cost = (await client.post("/v1/messages", json=ANTHROPIC)).json()["usage"]["input_tokens"]
        body = {name: value for name, value in ANTHROPIC.items() if name != "max_tokens"}
        assert (await client.post("/v1/messages/count_tokens", json=body)).json() == {"input_tokens": cost}
        fewer = (await client.post("/v1/messages/count_tokens", json={**body, "tools": []})).json()["input_tokens"]
    assert fewer < cost


@asynchronous
async def test_ollama_whole_and_streamed() -> None:
    async with client_of() as client:
        whole = (await client.post("/api/chat", json={**OLLAMA, "stream": False})).json()
        text = (await client.post("/api/chat", json=OLLAMA)).text
    calls = [{"function": {"name": "weather", "arguments": ARGUMENTS}}]
    assert whole["message"] == {"role": "assistant", "content": "", "thinking": "weather!", "tool_calls": calls}
    pieces = [json.loads(line)["message"] for line in text.strip().split("\n")]
    assert "".join(piece.get("thinking", "") for piece in pieces) == "weather!"
    assert [one for piece in pieces for one in piece.get("tool_calls", [])] == calls


OLLAMA_WISHES = {
    "json": ({"format": "json"}, {"json_schema": {"type": "object"}}),
    "schema": ({"format": SCHEMA}, {"json_schema": SCHEMA}),
    "thoughts": ({"think": True}, {"reasoning": "on"}),
    "no thoughts": ({"think": False}, {"reasoning": "off"}),
    "few thoughts": ({"think": "low"}, {"reasoning": "on", "template_options": {"reasoning_effort": "low"}}),
    "few thoughts after a beginning": (
        {"think": "low", "messages": [*SAID, {"role": "assistant", "content": "So"}]},
        {"template_options": {"reasoning_effort": "low", "continue_final_message": True}},
    ),
    "scores": ({"logprobs": True, "top_logprobs": 2}, {"scores": 2}),
}


@pytest.mark.parametrize(("more", "wanted"), OLLAMA_WISHES.values(), ids=OLLAMA_WISHES)
@asynchronous
async def test_ollama_wish(more: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert (await given("/api/chat", {**OLLAMA, **more})).items() >= wanted.items()


@asynchronous
async def test_ollama_scores() -> None:
    body = {"model": "fake", "prompt": "ab", "logprobs": True, "top_logprobs": 1}
    async with client_of() as client:
        whole = (await client.post("/api/generate", json={**body, "stream": False})).json()
        text = (await client.post("/api/generate", json=body)).text
    pieces = [one for line in text.strip().split("\n") for one in json.loads(line).get("logprobs", [])]
    assert whole["logprobs"] == pieces
    assert [(one["token"], one["bytes"]) for one in pieces] == [("a", [97]), ("b", [98])]
    assert pieces[0]["logprob"] == pieces[0]["top_logprobs"][0]["logprob"] == pytest.approx(-0.6931, abs=1e-4)


@asynchronous
async def test_responses_whole_and_streamed() -> None:
    async with client_of() as client:
        whole = (await client.post("/v1/responses", json=RESPONSES)).json()
        found = data_of((await client.post("/v1/responses", json={**RESPONSES, "stream": True})).text)
    for output in (whole["output"], found[-1]["response"]["output"]):
        thought, call = output
        assert thought["content"][0]["text"] == "weather!"
        assert (call["type"], call["name"], call["call_id"]) == ("function_call", "weather", "call_1")
        assert json.loads(call["arguments"]) == ARGUMENTS
    pieces = [one["delta"] for one in found if one["type"] == "response.function_call_arguments.delta"]
    assert json.loads("".join(pieces)) == ARGUMENTS


RESPONSES_WISHES = {
    "this tool": (
        {"tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": False},
    ),
    "schema": ({"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}}, {"json_schema": SCHEMA}),
    "json": ({"text": {"format": {"type": "json_object"}}}, {"json_schema": {"type": "object"}}),
    "effort": ({"reasoning": {"effort": "low"}}, {"template_options": {"reasoning_effort": "low"}}),
    "no effort": ({"reasoning": {"effort": "none"}}, {"reasoning": "off"}),
    "scores": ({"include": ["message.output_text.logprobs"], "top_logprobs": 4}, {"scores": 4}),
}


@pytest.mark.parametrize(("more", "wanted"), RESPONSES_WISHES.values(), ids=RESPONSES_WISHES)
@asynchronous
async def test_responses_wish(more: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert (await given("/v1/responses", {**RESPONSES, **more})).items() >= wanted.items()


@asynchronous
async def test_responses_scores() -> None:
    body = {"input": "ab cd", "include": ["message.output_text.logprobs"], "top_logprobs": 1}
    async with client_of() as client:
        whole = (await client.post("/v1/responses", json=body)).json()["output"][0]["content"][0]["logprobs"]
        found = data_of((await client.post("/v1/responses", json={**body, "stream": True})).text)
    pieces = [one for event in found if event["type"] == "response.output_text.delta" for one in event["logprobs"]]
    assert "".join(one["token"] for one in pieces) == "ab cd"
    assert whole == pieces == found[-1]["response"]["output"][0]["content"][0]["logprobs"]


@pytest.mark.parametrize(("drawn_from", "name"), [(False, "logprob"), (True, "prob")])
@asynchronous
async def test_llama_server_probabilities(drawn_from: bool, name: str) -> None:
    body = {"prompt": "ab cd", "n_probs": 2, "post_sampling_probs": drawn_from}
    async with client_of() as client:
        whole = (await client.post("/completion", json=body)).json()
        found = data_of((await client.post("/completion", json={**body, "stream": True})).text)
        plain = (await client.post("/completion", json={"prompt": "ab", "n_probs": 0})).json()
    pieces = [one for event in found for one in event.get("completion_probabilities", [])]
    assert whole["completion_probabilities"] == pieces
    assert "".join(one["token"] for one in pieces) == "ab cd"
    assert pieces[0][name] == pytest.approx(0.5 if drawn_from else -0.6931, abs=1e-4)
    assert [one["id"] for one in pieces[0][f"top_{name}s"]] == [97, 98]
    assert whole["generation_settings"]["n_probs"] == 2
    assert "completion_probabilities" not in plain
    assert plain["generation_settings"]["n_probs"] == 0


@asynchronous
async def test_llama_server_constraints() -> None:
    async with client_of() as client:
        for more in ({"json_schema": SCHEMA}, {"grammar": 'root ::= "x"'}):
            reply = await client.post("/completion", json={"prompt": "x", **more})
            assert reply.status_code == 200, reply.text
        reply = await client.post("/completion", json={"prompt": "x", "json_schema": [1]})
    assert reply.status_code == 400
    assert "json_schema" in reply.text


REFUSED = {
    "ollama: number of scores": ("/api/chat", {**OLLAMA, "logprobs": True, "top_logprobs": 99}, "top_logprobs"),
    "ollama: scores of nothing": ("/api/chat", {**OLLAMA, "top_logprobs": 1}, "top_logprobs"),
    "ollama: thoughts without a template": (
        "/api/generate",
        {"model": "fake", "prompt": "x", "raw": True, "think": True},
        "think",
    ),
    "responses: scores not included": ("/v1/responses", {"input": "x", "top_logprobs": 2}, "top_logprobs"),
    "responses: unknown inclusion": ("/v1/responses", {"input": "x", "include": ["a.b"]}, "include"),
    "anthropic: two schemas": (
        "/v1/messages",
        {
            **ANTHROPIC,
            "output_format": {"type": "json_schema", "schema": {}},
            "output_config": {"format": {"type": "json_schema", "schema": {}}},
        },
        "output_format",
    ),
    "llama-server: number of scores": ("/completion", {"prompt": "x", "n_probs": 10**6}, "n_probs"),
}


@pytest.mark.parametrize(("path", "body", "word"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused(path: str, body: dict[str, Any], word: str) -> None:
    async with client_of() as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == 400
    assert word in reply.text
