"""The responses dialect: whole and streamed answers, and answers that go on from earlier ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_llm import FakeLLM
from serving import asynchronous, client_of

from pacos.errors import UsageError
from pacos.server.dialects.responses import folder, keeping
from pacos.server.dialects.responses.request import (
    ResponsesRequest,
    chat_messages,
    chat_options,
    items_of,
    read_items,
)
from pacos.server.dialects.responses.streamed import Items
from pacos.server.fields import convert
from pacos.types import Event, ToolCallDelta

TEXT = "hello my dear world"


@asynchronous
async def test_whole_response() -> None:
    async with client_of() as client:
        data = (await client.post("/v1/responses", json={"input": TEXT, "max_output_tokens": 100})).json()
    assert data["status"] == "completed"
    (item,) = data["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}]
    assert data["usage"]["output_tokens"] == len(TEXT)
    assert data["usage"]["total_tokens"] == data["usage"]["input_tokens"] + len(TEXT)
    assert data["max_output_tokens"] == 100


@asynchronous
async def test_limit_makes_it_incomplete() -> None:
    async with client_of() as client:
        data = (await client.post("/v1/responses", json={"input": TEXT, "max_output_tokens": 5})).json()
    assert (data["status"], data["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


@asynchronous
async def test_streamed_response() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/responses", json={"input": TEXT, "stream": True})
        found = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: ")]
        kept = (await client.get(f"/v1/responses/{found[-1]['response']['id']}")).json()
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    kinds = [one["type"].removeprefix("response.") for one in found if not one["type"].endswith("delta")]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert "".join(one["delta"] for one in found if one["type"] == "response.output_text.delta") == TEXT
    assert found[-1]["response"] == kept
    assert kept["output"][0]["content"][0]["text"] == TEXT
    assert found[2]["item"]["status"] == "in_progress"


@asynchronous
async def test_goes_on_from_an_earlier_response() -> None:
    async with client_of() as client:
        first = (await client.post("/v1/responses", json={"input": "one"})).json()
        body = {"input": "two", "previous_response_id": first["id"]}
        second = (await client.post("/v1/responses", json=body)).json()
        assert second["usage"]["input_tokens"] == len("<user>one<assistant>one<user>two")
        listed = (await client.get(f"/v1/responses/{second['id']}/input_items")).json()["data"]
        assert [one["content"] if isinstance(one["content"], str) else one["role"] for one in listed] == [
            "two",
            "assistant",
            "one",
        ]
        assert (await client.delete(f"/v1/responses/{first['id']}")).json()["deleted"]
        assert (await client.get(f"/v1/responses/{first['id']}")).status_code == 404
        gone = await client.post("/v1/responses", json=body)
    assert gone.status_code == 404
    assert gone.json()["error"]["param"] == "previous_response_id"


@asynchronous
async def test_what_is_not_stored_is_not_there() -> None:
    async with client_of() as client:
        data = (await client.post("/v1/responses", json={"input": "x", "store": False})).json()
        assert (await client.get(f"/v1/responses/{data['id']}")).status_code == 404


@asynchronous
async def test_only_its_owner_sees_a_response() -> None:
    async with client_of(api_key=("one", "two")) as client:
        own, other = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
        data = (await client.post("/v1/responses", json={"input": "x"}, headers=own)).json()
        assert (await client.get(f"/v1/responses/{data['id']}", headers=own)).status_code == 200
        assert (await client.get(f"/v1/responses/{data['id']}", headers=other)).status_code == 404


@asynchronous
async def test_the_oldest_responses_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_MAX", 2)
    async with client_of() as client:
        ids = [(await client.post("/v1/responses", json={"input": "x"})).json()["id"] for _ in range(3)]
        assert [(await client.get(f"/v1/responses/{one}")).status_code for one in ids] == [404, 200, 200]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({}, "input"),
    "no items": ({"input": []}, "input"),
    "item that is no object": ({"input": [5]}, "input[0]"),
    "unknown kind of item": ({"input": [{"type": "picture"}]}, "input[0].type"),
    "unknown part": ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
    "unknown field": ({"input": "x", "temprature": 1}, "temprature"),
    "background": ({"input": "x", "background": True}, "background"),
    "truncation": ({"input": "x", "truncation": "auto"}, "truncation"),
    "what to include": ({"input": "x", "include": ["file_search_call.results"]}, "include"),
    "temperature": ({"input": "x", "temperature": -1}, "temperature"),
    "choice of a tool": ({"input": "x", "tool_choice": {"type": "mcp"}}, "tool_choice"),
    "built-in tool": ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0]"),
    "format without schema": (
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "x"}}},
        "text.format.schema",
    ),
}


@pytest.mark.parametrize(("body", "field"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused_field(body: dict[str, Any], field: str) -> None:
    async with client_of() as client:
        reply = await client.post("/v1/responses", json=body)
    assert reply.status_code == 400, reply.text
    assert str(reply.json()["error"]["param"]).startswith(field)


def test_tools_in_the_form_of_the_library() -> None:
    tools = [{"type": "function", "name": "f", "strict": True}, {"type": "function", "name": "g", "description": "x"}]
    options = chat_options(convert({"input": "x", "tools": tools}, ResponsesRequest))
    assert [one["function"] for one in options["tools"]] == [
        {"name": "f", "strict": True},
        {"name": "g", "description": "x"},
    ]


def test_items_as_messages() -> None:
    items = read_items(
        items_of(
            [
                {"role": "developer", "content": "rules"},
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
                {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "reasoning", "summary": []},
                {"role": "assistant", "content": [{"type": "output_text", "text": "done"}]},
            ]
        )
    )
    system, developer, user, asked, result, said = chat_messages("be brief", items)
    assert (system["role"], developer["role"], user["content"]) == ("system", "system", "ab")
    assert asked["reasoning_content"] == "hm"
    assert [call["function"]["name"] for call in asked["tool_calls"]] == ["f", "g"]
    assert result == {"role": "tool", "tool_call_id": "c1", "content": "1"}
    assert said == {"role": "assistant", "content": "done", "reasoning_content": ""}


def test_thoughts_and_calls_are_items_of_their_own() -> None:
    items = Items(FakeLLM())  # type: ignore[arg-type]
    events = [
        Event("", reasoning="hm"),
        Event("", reasoning="m"),
        Event("so"),
        Event("", tool_calls=(ToolCallDelta(0, "c0", "f", '{"a"'), ToolCallDelta(0, arguments=":1}"))),
        Event("", tool_calls=(ToolCallDelta(1, "c1", "g", "{}"),)),
    ]
    found = [piece for event in events for piece in items.pieces(event)] + list(items.end())
    assert [(one.type, one.status) for one in items.done] == [
        ("reasoning", "completed"),
        ("message", "completed"),
        ("function_call", "completed"),
        ("function_call", "completed"),
    ]
    assert [one.output_index for one in found if one.type == "response.output_item.done"] == [0, 1, 2, 3]
    thought, _, first, second = items.done
    assert thought.content is not None
    assert thought.content[0].text == "hmm"
    assert (first.call_id, first.name, first.arguments) == ("c0", "f", '{"a":1}')
    assert (second.name, second.arguments) == ("g", "{}")


def _in_folder(place: Path) -> dict[str, Any]:
    return {"responses_dir": str(place), "api_key": ("a", "b")}


A, B = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}


@asynchronous
async def test_a_later_server_goes_on_from_a_response_in_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    async with client_of(**_in_folder(place)) as client:
        first = (await client.post("/v1/responses", json={"input": "one"}, headers=A)).json()
        unkept = (await client.post("/v1/responses", json={"input": "one", "store": False}, headers=A)).json()
    async with client_of(**_in_folder(place)) as client:
        body = {"input": "two", "previous_response_id": first["id"], "stream": True}
        assert (await client.post("/v1/responses", json=body, headers=A)).status_code == 200
        assert (await client.get(f"/v1/responses/{first['id']}", headers=A)).json() == first
        assert (await client.get(f"/v1/responses/{first['id']}", headers=B)).status_code == 404
        assert (await client.get(f"/v1/responses/{unkept['id']}", headers=A)).status_code == 404
        assert (await client.get("/v1/responses/..%2F..%2Fx", headers=A)).status_code == 404
        assert (await client.delete(f"/v1/responses/{first['id']}", headers=B)).status_code == 404
        (other,) = [path for name, path in _files(place).items() if name != first["id"]]
        items = (await client.get(f"/v1/responses/{other.stem}/input_items", headers=A)).json()["data"]
        assert [one["content"] for one in items if one["role"] == "user"] == ["two", "one"]
        assert (await client.delete(f"/v1/responses/{first['id']}", headers=A)).json()["deleted"]
        assert (await client.get(f"/v1/responses/{first['id']}", headers=A)).status_code == 404
        other.write_bytes(other.read_bytes()[:40])
        assert (await client.get(f"/v1/responses/{other.stem}", headers=A)).status_code == 404
    assert list(_files(place)) == [other.stem]
    if os.name == "posix":
        assert {path.stat().st_mode & 0o077 for path in place.rglob("*")} == {0}


def _files(place: Path) -> dict[str, Path]:
    return {path.stem: path for path in place.rglob("*.json")}


@asynchronous
async def test_the_oldest_responses_in_a_folder_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "FILES_MAX", 2)
    (tmp_path / "owner").mkdir()
    begun = tmp_path / "owner" / "resp_0.new"
    begun.write_bytes(b"{")
    os.utime(begun, (0, 0))
    names = []
    for _ in range(2):  # what an earlier server wrote counts
        async with client_of(responses_dir=str(tmp_path)) as client:
            for _ in range(2):
                names.append((await client.post("/v1/responses", json={"input": "one"})).json()["id"])
                os.utime(_files(tmp_path)[names[-1]], (len(names), len(names)))
    assert sorted(_files(tmp_path)) == sorted(names[2:])
    assert not begun.exists()


@asynchronous
async def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="responses cannot be kept"):
        async with client_of(responses_dir=str(tmp_path / "file")):
            pass
    async with client_of(responses_dir=str(tmp_path / "gone")) as client:
        (tmp_path / "gone").rmdir()
        found = (await client.post("/v1/responses", json={"input": "one"})).json()
        assert (found["status"], found["store"]) == ("completed", False)
