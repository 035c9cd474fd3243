"""Conversations on the server: kept for those who wish it, apart for each key, and never lost between two pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import asynchronous, client_of

from pacos.server.dialects.pacos import conversations
from pacos.sessions import Sessions

ALL = "/pacos/conversations"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    return tmp_path


async def _told(client: httpx.AsyncClient, key: str = "c1", **fields: Any) -> dict[str, Any]:
    reply = await client.put(f"{ALL}/{key}", json=fields)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def _said(client: httpx.AsyncClient, message: str, parent: str | None, text: str, **more: Any) -> dict[str, Any]:
    body = {"role": "user", "parent": parent, "content": text, **more}
    reply = await client.put(f"{ALL}/c1/messages/{message}", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@asynchronous
async def test_off_unless_switched_on() -> None:
    async with client_of() as client:
        for method, path in (("GET", ALL), ("GET", f"{ALL}/x"), ("DELETE", f"{ALL}/x"), ("GET", "/pacos/export")):
            reply = await client.request(method, path)
            assert (reply.status_code, "--conversations" in reply.text) == (404, True)
        assert (await client.get("/pacos/options")).json()["conversations"] is False
    async with client_of(conversations=True) as client:
        assert (await client.get("/pacos/options")).json()["conversations"] is True
        assert (await client.get(ALL)).json() == {"data": [], "hits": []}


@asynchronous
async def test_a_conversation_from_beginning_to_end(home: Path) -> None:
    async with client_of(conversations=True) as client:
        made = await _told(client, model="m", system="Be kind.", parameters={"temperature": 0.5})
        assert (made["id"], made["active"], made["message_count"]) == ("c1", None, 0)
        await _said(client, "q", None, "Tell me of foxes.", attachments=[{"name": "a.txt", "text": "x"}])
        timings = {"prompt_tokens": 5, "generated_tokens": 3, "generate_seconds": 0.5}
        answer = await _said(client, "a", "q", "Once.", role="assistant", reasoning="Hm.", timings=timings)
        assert answer["timings"] | timings == answer["timings"]
        changed = await client.put(
            f"{ALL}/c1/messages/a", json={"content": "Once there was a fox.", "details": {"n": 1}}
        )
        assert (changed.json()["reasoning"], changed.json()["details"]) == ("Hm.", {"n": 1})
        await _said(client, "a2", "q", "Twice.", role="assistant")
        assert (await _told(client, active="a"))["active"] == "a"
        assert (await _told(client, title="Foxes"))["title"] == "Foxes"
        whole = (await client.get(f"{ALL}/c1")).json()
        assert [(one["id"], one["parent"]) for one in whole["messages"]] == [("q", None), ("a", "q"), ("a2", "q")]
        assert whole["conversation"] | {"system": "Be kind.", "message_count": 3} == whole["conversation"]
        found = (await client.get(ALL, params={"search": "fox once"})).json()
        assert found["hits"] == [{"conversation": "c1", "message": "a", "excerpt": "Once there was a fox."}]
        assert [one["id"] for one in found["data"]] == ["c1"]
        assert (await client.delete(f"{ALL}/c1/messages/a")).json()["message_count"] == 2
        assert (await client.delete(f"{ALL}/c1")).json() == {"id": "c1", "deleted": True}
        assert (await client.delete(f"{ALL}/c1")).status_code == 404
    assert (home / "state" / "sessions.sqlite").exists()


@asynchronous
async def test_two_pages_at_once_make_branches_and_lose_nothing() -> None:
    async with client_of(conversations=True) as client:
        await asyncio.gather(*(_told(client, title="T") for _ in range(8)))
        await _said(client, "q", None, "Hi")
        await asyncio.gather(*(_said(client, f"m{number}", "q", f"text {number}") for number in range(20)))
        await asyncio.gather(*(_said(client, "same", "q", "once") for _ in range(8)))
        whole = (await client.get(f"{ALL}/c1")).json()
        assert {one["id"] for one in whole["messages"]} == {"q", "same", *(f"m{number}" for number in range(20))}
        assert all(one["parent"] == "q" for one in whole["messages"][1:])


@asynchronous
async def test_what_has_not_changed_is_not_sent_again() -> None:
    async with client_of(conversations=True) as client:
        await _told(client, title="T")
        for path in (ALL, f"{ALL}/c1"):
            tag = (await client.get(path)).headers["etag"]
            assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 304
            await _said(client, f"m{len(path)}", None, "Hi")
            assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


@asynchronous
async def test_everyone_has_their_own(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("ann:k1\nbob:k2\n")
    async with client_of(conversations=True, api_key_file=str(keys)) as client:
        assert (await client.get(ALL)).status_code == 401
        client.headers["Authorization"] = "Bearer k1"
        await _told(client, title="Ann's")
        await _said(client, "q", None, "secret words")
        client.headers["Authorization"] = "Bearer k2"
        assert (await client.get(ALL)).json()["data"] == []
        assert (await client.get(ALL, params={"search": "secret"})).json()["data"] == []
        assert (await client.get("/pacos/export")).json()["conversations"] == []
        for method, path in (
            ("GET", "c1"),
            ("DELETE", "c1"),
            ("DELETE", "c1/messages/q"),
        ):
            assert (await client.request(method, f"{ALL}/{path}")).status_code == 404
        assert (await client.get("/pacos/export", params={"id": "c1"})).status_code == 404
        await _told(client, title="Bob's, under the same id")
        assert (await client.get(f"{ALL}/c1")).json()["messages"] == []
    with Sessions() as terminal:
        assert terminal.list() == ()


@asynchronous
async def test_without_keys_they_are_the_terminals() -> None:
    with Sessions() as terminal:
        talk = terminal.create("From the terminal")
        terminal.append(talk.id, "user", "Hello")
    async with client_of(conversations=True) as client:
        (found,) = (await client.get(ALL)).json()["data"]
        assert (found["title"], found["message_count"]) == ("From the terminal", 1)


@asynchronous
async def test_out_and_in_again() -> None:
    async with client_of(conversations=True) as client:
        await _told(client, title="T")
        await _said(client, "q", None, "Hi <script>alert(1)</script>")
        out = await client.get("/pacos/export")
        assert out.headers["content-disposition"] == 'attachment; filename="conversations.json"'
        text = await client.get("/pacos/export", params={"id": "c1", "format": "md"})
        assert (text.headers["content-type"], "# T" in text.text) == ("text/markdown; charset=utf-8", True)
        await client.delete(f"{ALL}/c1")
        (made,) = (await client.post("/pacos/import", json=out.json())).json()["data"]
        assert (made["id"], made["message_count"]) == ("c1", 1)
        listed = await client.post("/pacos/import", json=[{"role": "user", "content": "Only this"}])
        assert listed.json()["data"][0]["title"] == "Only this"
        assert len((await client.get(ALL)).json()["data"]) == 2


NEW: dict[str, Any] = {"role": "user", "parent": None, "content": "x"}

# what is wrong: method, path, body, status, words
WRONG: dict[str, tuple[str, str, Any, int, str]] = {
    "no such conversation": ("GET", "none", None, 404, "no conversation"),
    "a message of none": ("PUT", "none/messages/m", NEW, 404, "no conversation"),
    "an odd id": ("PUT", "a%20b", {}, 400, "the id is"),
    "a long id": ("PUT", "x" * 65, {}, 400, "the id is"),
    "an odd message id": ("PUT", "c1/messages/%2e%2e", NEW, 400, "the id is"),
    "an unknown field": ("PUT", "c1", {"name": "x"}, 400, "unknown field name"),
    "a number as title": ("PUT", "c1", {"title": 1}, 400, "title is 1"),
    "a long title": ("PUT", "c1", {"title": "x" * 300}, 400, "300 characters"),
    "an active that is not there": ("PUT", "c1", {"active": "none"}, 404, "no message"),
    "no parent": ("PUT", "c1/messages/m", {"role": "user", "content": "x"}, 400, "parent is missing"),
    "an empty parent": ("PUT", "c1/messages/m", {**NEW, "parent": ""}, 400, "parent is missing"),
    "an unknown parent": ("PUT", "c1/messages/m", {**NEW, "parent": "none"}, 404, "no message"),
    "no role": ("PUT", "c1/messages/m", {"parent": None, "content": "x"}, 400, "role is missing"),
    "an odd role": ("PUT", "c1/messages/m", {**NEW, "role": "A B"}, 400, "the role is"),
    "no content": ("PUT", "c1/messages/m", {"parent": None, "role": "user"}, 400, "content is missing"),
    "another role": ("PUT", "c1/messages/q", {"role": "assistant"}, 409, "role is 'assistant'"),
    "another parent": ("PUT", "c1/messages/q", {"parent": "q"}, 409, "parent is 'q'"),
    "odd timings": ("PUT", "c1/messages/m", {**NEW, "timings": {"x": 1}}, 400, "timings have 'x'"),
    "an odd limit": ("GET", "../conversations?limit=-1", None, 400, "limit is '-1'"),
    "a file that is none": ("POST", "../import", {"format": "other"}, 400, "no export"),
    "an endless number": ("POST", "../import", '[{"role":"user","content":1e999}]', 400, "too large"),
    "another form": ("GET", "../export?format=pdf", None, 400, "format"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), WRONG.values(), ids=WRONG)
@asynchronous
async def test_what_is_wrong_is_said(method: str, path: str, body: Any, status: int, words: str) -> None:
    async with client_of(conversations=True) as client:
        await _told(client)
        await _said(client, "q", None, "Hi")
        url = f"/pacos/{path[3:]}" if path.startswith("../") else f"{ALL}/{path}"
        sent = (
            {"content": body, "headers": {"Content-Type": "application/json"}}
            if isinstance(body, str)
            else {"json": body}
        )
        reply = await client.request(method, url, **(sent if body is not None else {}))
        assert reply.status_code == status, reply.text
        assert words in reply.json()["error"]["message"]
        assert len((await client.get(f"{ALL}/c1")).json()["messages"]) == 1


@asynchronous
async def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "CONVERSATIONS_MAX", 2)
    monkeypatch.setattr(conversations, "MESSAGES_MAX", 2)
    async with client_of(conversations=True, body_bytes_max=2000) as client:
        await _told(client, "c1")
        await _said(client, "a", None, "x")
        await _said(client, "b", "a", "x")
        assert (await client.put(f"{ALL}/c1/messages/c", json={**NEW, "parent": "b"})).status_code == 409
        await _told(client, "c2")
        assert (await client.put(f"{ALL}/c3", json={})).status_code == 409
        assert (await client.post("/pacos/import", json=[{"role": "user", "content": "x"}])).status_code == 409
        await _told(client, "c2", title="still changed")
        long = {**NEW, "content": "x" * 3000}
        assert (await client.put(f"{ALL}/c2/messages/m", json=long)).status_code == 413
