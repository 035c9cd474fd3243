"""Models of the store in a server: listed, opened on demand, and managed through Ollama's operations."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import STORYTELLER
from fake_hub import FakeHub, Fault
from fake_llm import FakeModels, fake_spec
from patience import until
from pulling import Q4, Q8, content, hub
from serving import asynchronous, client_of, served

from pacos.hub.entries import Entry, write_entry
from pacos.hub.names import find
from pacos.hub.naming import alias
from pacos.server.residency import Residency
from pacos.server.said import Said
from pacos.server.shelf import Shelf

__all__ = ("hub",)
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "stream": False}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))


def residency(models: FakeModels | None = None, *, shelf: Shelf | None = None) -> Residency:
    opened = models or FakeModels()
    return Residency([fake_spec()], open_model=opened.open, shelf=shelf or Shelf())  # type: ignore[arg-type]


@asynchronous
async def test_models_of_the_store_are_listed_and_opened_when_asked_for() -> None:
    alias("small", "storyteller")
    write_entry(Entry("brief", model="small", options={"ctx_size": 64}, system="Be brief."))
    models = FakeModels()
    shelf = Shelf(Said({"threads": 1, "temp": 0.5}))
    async with client_of(residency(models, shelf=shelf)) as client:
        openai = (await client.get("/v1/models")).json()["data"]
        assert {one["id"]: one["loaded"] for one in openai} == {"fake": False, "small": False, "brief": False}
        tags = (await client.get("/api/tags")).json()["models"]
        assert [one["name"] for one in tags] == ["brief", "small"]
        answer = await client.post("/api/chat", json={**CHAT, "model": "Brief:latest"})
        assert answer.json()["message"]["content"] == "hello"
        assert set(models.opened) == {"brief"}
        same = await client.post("/v1/chat/completions", json={**CHAT, "model": "brief"})
        assert same.status_code == 200
        assert (await client.get("/v1/models/brief")).json()["loaded"]
        shown = (await client.post("/api/show", json={"model": "brief"})).json()
        assert 'SYSTEM """Be brief."""' in shown["modelfile"]
        assert "num_ctx 64" in shown["parameters"]
        for name in ("/etc/passwd", str(STORYTELLER), "../names/small.json", "none", "org/none"):
            refused = await client.post("/api/chat", json={**CHAT, "model": name})
            assert refused.status_code == 404, name
    spec = shelf.spec("brief")
    assert spec is not None
    assert (spec.options.ctx_size, spec.options.threads, dict(spec.defaults)) == (64, 1, {"temp": 0.5})


@asynchronous
async def test_a_bundled_model_is_listed_while_it_is_open() -> None:
    models = FakeModels()
    async with client_of(residency(models)) as client:

        async def listed() -> list[tuple[str, bool]]:
            return [(one["id"], one["loaded"]) for one in (await client.get("/v1/models")).json()["data"]]

        assert await listed() == [("fake", False)]
        for name in ("storyteller", "fake"):
            assert (await client.post("/v1/chat/completions", json={**CHAT, "model": name})).status_code == 200
        assert await listed() == [("fake", True), ("storyteller", True)]
        assert (await client.post("/models/unload", json={"model": "storyteller"})).status_code == 200
        assert await listed() == [("fake", True)]


@asynchronous
async def test_without_the_store() -> None:
    alias("small", "storyteller")
    only = Residency([fake_spec()], open_model=FakeModels().open)  # type: ignore[arg-type]
    async with client_of(only) as client:
        assert len((await client.get("/v1/models")).json()["data"]) == 1
        assert (await client.post("/api/chat", json={**CHAT, "model": "small"})).status_code == 404
        assert (await client.request("DELETE", "/api/delete", json={"model": "small"})).status_code == 403


@asynchronous
async def test_copy_and_delete() -> None:
    models = FakeModels()
    store = residency(models)
    async with client_of(store) as client:
        copied = await client.post("/api/copy", json={"source": "storyteller", "destination": "mine:latest"})
        assert copied.status_code == 200, copied.text
        assert find("mine").path == STORYTELLER
        assert (await client.post("/api/copy", json={"source": "none", "destination": "x"})).status_code == 404
        for bad in ("../x", "a b", "/x", "storyteller", "mine"):
            copying = await client.post("/api/copy", json={"source": "mine", "destination": bad})
            assert copying.status_code == 400, bad
        await client.post("/api/chat", json={**CHAT, "model": "mine"})
        async with store.use("mine"):
            assert (await client.request("DELETE", "/api/delete", json={"model": "mine"})).status_code == 409
        alias("other", "mine")
        assert (await client.request("DELETE", "/api/delete", json={"model": "mine"})).status_code == 409
        assert (await client.request("DELETE", "/api/delete", json={"name": "other"})).status_code == 200
        assert (await client.request("DELETE", "/api/delete", json={"model": "mine"})).status_code == 200
        assert "mine" not in store.open
        assert (await client.request("DELETE", "/api/delete", json={"model": "mine"})).status_code == 404
        assert (await client.request("DELETE", "/api/delete", json={"model": "fake"})).status_code == 403
        assert (await client.request("DELETE", "/api/delete", json={})).status_code == 400


@asynchronous
async def test_create() -> None:
    async with client_of(residency()) as client:
        body = {"model": "brief", "from": "storyteller", "system": "Be brief.", "parameters": {"temperature": 0.1}}
        made = await client.post("/api/create", json={**body, "license": ["a", "b"], "template": "chatml"})
        assert json.loads(made.text.splitlines()[-1]) == {"status": "success"}
        preset = find("brief").preset
        assert (preset.options, preset.system, preset.template) == ({"temp": 0.1}, "Be brief.", "chatml")
        assert preset.licence == "a\n\nb"
        old = {"name": "old", "modelfile": 'FROM brief\nSYSTEM "Sing."', "stream": False}
        assert (await client.post("/api/create", json=old)).json() == {"status": "success"}
        assert find("old").preset.system == "Sing."
        for change, code in (
            ({"from": str(STORYTELLER)}, 404),
            ({"from": "none"}, 404),
            ({"model": "../x"}, 400),
            ({"adapters": {"a": "sha256:x"}}, 400),
            ({"parameters": {"lora": ["/x.gguf"]}}, 400),
            ({"files": {"a": "sha256:x"}}, 400),
            ({"quantize": "q4_0"}, 400),
            ({"template": "{{ .Odd }}<|odd|>"}, 400),
            ({"parameters": {"warmth": 1}}, 400),
            ({"messages": [{"role": "robot", "content": "x"}]}, 400),
            ({"extra": 1}, 400),
            ({"from": "brief"}, 400),
        ):
            refused = await client.post("/api/create", json={**body, **change})
            assert refused.status_code == code, (change, refused.text)
            assert refused.json()["error"]


@asynchronous
async def test_pull(hub: FakeHub) -> None:
    hub.add_ollama("tale/1b", {"model": content(3, 100_000), "system": b"Be brief."})
    async with client_of(residency()) as client:
        lines = (await client.post("/api/pull", json={"model": "tale:1b"})).text.splitlines()
        told = [json.loads(one) for one in lines]
        assert [told[0]["status"], told[-1]["status"]] == ["pulling manifest", "success"]
        assert any(one.get("completed", 0) <= one.get("total", -1) for one in told)
        assert find("tale:1b").preset.system == "Be brief."
        whole = {"model": "hf.co/org/tale:Q8_0", "stream": False}
        assert (await client.post("/api/pull", json=whole)).json() == {"status": "success"}
        assert find("org/tale").path.name == Q8
        assert (await client.post("/api/show", json={"model": "hf.co/org/tale:Q8_0"})).status_code == 200
        names = [one["name"] for one in (await client.get("/api/tags")).json()["models"]]
        assert names == ["org/tale:Q8_0", "tale:1b"]
        missing = (await client.post("/api/pull", json={"model": "none"})).text.splitlines()
        assert "no model none:latest" in json.loads(missing[-1])["error"]


BAD_PULLS = (
    *({"model": "../x"}, {"model": "http://127.0.0.1/x"}, {"model": "10.0.0.1/a/b"}, {"model": "host.example.com/b"}),
    *({"model": "a", "insecure": True}, {"model": "x" * 1024}, {}, {"model": "a%2fb"}, {"model": "hf.co/x"}),
)


@pytest.mark.parametrize("body", BAD_PULLS, ids=range(len(BAD_PULLS)))
def test_pulls_that_are_refused(hub: FakeHub, body: dict[str, Any]) -> None:
    @asynchronous
    async def run() -> None:
        async with client_of(residency()) as client:
            answer = await client.post("/api/pull", json={**body, "stream": False})
            assert answer.status_code == 400, answer.text

    run()
    assert not hub.asked


@asynchronous
async def test_a_client_that_leaves_ends_its_pull(hub: FakeHub) -> None:
    from pacos.errors import Cancelled
    from pacos.server.dialects.ollama import managing

    gate = threading.Event()
    hub.faults["/cdn/"] = [Fault(), *[Fault(gate=gate)] * 99]
    statuses = managing._statuses(managing._pulling("hf.co/org/tale:Q4_K_M"))
    async for one in statuses:
        if (one.completed or 0) > 20_000:
            break
    await statuses.aclose()
    until(lambda: not [thread for thread in threading.enumerate() if "_work" in thread.name])
    assert Cancelled.http_status == 499
    asked = hub.count("/cdn/")
    gate.set()
    await asyncio.sleep(0.2)  # time in which it could go on
    assert hub.count("/cdn/") == asked
    assert len(hub.repos["org/tale"][Q4]) > hub.sent("/cdn/")


@asynchronous
async def test_who_may_manage() -> None:
    keys = {"host": "0.0.0.0", "allowed_hosts": ("*",)}
    body = {"source": "storyteller", "destination": "mine"}
    async with client_of(residency(), **keys, insecure_no_auth=True) as client:
        assert (await client.post("/api/copy", json=body)).status_code == 403
    async with client_of(residency(), **keys, api_key=("secret",)) as client:
        assert (await client.post("/api/copy", json=body)).status_code == 401
        allowed = await client.post("/api/copy", json=body, headers={"Authorization": "Bearer secret"})
        assert allowed.status_code == 200, allowed.text


@pytest.fixture
def registry(hub: FakeHub) -> Iterator[FakeHub]:
    hub.add_ollama("tale/latest", {"model": STORYTELLER.read_bytes(), "params": b'{"temperature": 0.0}'})
    return hub


def test_the_official_client(registry: FakeHub) -> None:
    import ollama

    with ExitStack() as closing, served("storyteller") as server:
        server.wait_until_ready()
        client = ollama.Client(host=server.url)
        closing.callback(client._client.close)
        assert [one.status for one in client.pull("tale", stream=True)][-1] == "success"
        assert client.pull("tale").status == "success"
        assert {one.model for one in client.list().models} == {"storyteller", "tale:latest"}
        client.create(model="brief", from_="tale", system="Be brief.", parameters={"num_predict": 3})
        client.copy("brief", "second")
        asked = [{"role": "user", "content": "Tell me a story."}]
        answers = [client.chat(name, asked).message.content for name in ("brief", "second")]
        assert answers[0] == answers[1] != ""
        assert client.chat("brief", asked).eval_count == 3
        assert "FROM" in (client.show("brief").modelfile or "")
        for name in ("second", "brief", "tale"):
            assert client.delete(name).status == "success"
        with pytest.raises(ollama.ResponseError, match="no model"):
            client.delete("tale")
        assert {one.model for one in client.list().models} == {"storyteller"}
