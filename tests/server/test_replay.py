"""Streams that outlive their connection, as llama-server's."""

from __future__ import annotations

import asyncio

import pytest
from fake_llm import FakeModels
from patience import soon
from serving import asynchronous, client_of

from pacos.server import replay

TEXT = "one two three four five six"
CHAT = {"messages": [{"role": "user", "content": TEXT}], "stream": True}
NAMED = {"X-Conversation-Id": "c1"}


@asynchronous
async def test_stream_goes_on_when_its_client_left_and_is_read_again() -> None:
    models = FakeModels(pace_seconds=0.01)
    async with client_of(models=models) as client:
        asked = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT, headers=NAMED))
        await soon(lambda: models.opened.get("fake") and models.opened["fake"].generated)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        whole = await client.get("/v1/stream", params={"conv_id": "c1"})
        assert whole.headers["content-type"].startswith("text/event-stream")
        assert "six" in whole.text and whole.text.endswith("data: [DONE]\n\n")
        assert models.opened["fake"].streams[0].closed
        part = await client.get("/v1/stream", params={"conv_id": "c1", "from": "100"})
        assert whole.text.encode()[100:] == part.content
        found = (await client.post("/v1/streams/lookup", json={"conversation_ids": ["c1", "c2"]})).json()
        assert [(one["conversation_id"], one["is_done"]) for one in found] == [("c1", True)]
        assert found[0]["total_bytes"] == len(whole.content)


@asynchronous
async def test_stream_is_stopped_or_replaced() -> None:
    models = FakeModels()
    async with client_of(models=models) as client:
        assert (await client.post("/completion", json={"prompt": "x"})).status_code == 200
        models.opened["fake"].held = True
        first = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT, headers=NAMED))
        await soon(lambda: len(models.opened["fake"].streams) >= 2)
        second = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT, headers=NAMED))
        await first
        assert models.opened["fake"].streams[1].closed
        assert (await client.delete("/v1/stream", params={"conv_id": "c1"})).json() == {"success": True}
        await second
        assert (await client.delete("/v1/stream", params={"conv_id": "c1"})).status_code == 200
        assert (await client.get("/v1/stream", params={"conv_id": "c1"})).status_code == 404


@asynchronous
async def test_only_its_owner_reads_a_stream_and_old_bytes_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "KEPT_BYTES", 700)
    alice, bob = ({"X-Api-Key": key} for key in "ab")
    async with client_of(models=FakeModels(pace_seconds=0.02), api_key=("a", "b")) as client:
        sent = await client.post("/v1/chat/completions", json=CHAT, headers={**NAMED, **alice})
        assert "six" in sent.text
        assert (await client.get("/v1/stream?conv_id=c1", headers=bob)).status_code == 404
        gone = await client.get("/v1/stream?conv_id=c1&from=0", headers=alice)
        assert gone.status_code == 400
        assert (await client.get("/v1/stream?conv_id=c1&from=x", headers=alice)).status_code == 400
        assert (await client.get("/v1/stream", headers=alice)).status_code == 400
        start = int(gone.json()["error"]["message"].split("bytes from ")[1].split()[0])
        rest = await client.get(f"/v1/stream?conv_id=c1&from={start}", headers=alice)
        assert rest.content == sent.content[start:]
