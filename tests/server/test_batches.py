"""Files and batches: what is kept, whose it is, and that a batch survives restarts and crashes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fake_llm import FakeModels
from serving import asynchronous, client_of, served

from pacos.server.dialects.batches import lines, runner, store
from pacos.server.dialects.batches.shapes import Batch, Counts, KeptBatch
from pacos.server.problem import RequestError

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    return tmp_path


def line(name: str, body: dict[str, Any], url: str = TEXT) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def text_of(requests: Iterable[Any]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in requests).encode()


async def upload(client: httpx.AsyncClient, data: bytes, purpose: str = "batch", **more: Any) -> httpx.Response:
    return await client.post("/v1/files", files={"file": ("in.jsonl", data)}, data={"purpose": purpose}, **more)


async def begin(client: httpx.AsyncClient, requests: Iterable[Any], url: str = TEXT, **more: Any) -> dict[str, Any]:
    name = (await upload(client, text_of(requests))).json()["id"]
    body = {"input_file_id": name, "endpoint": url, "completion_window": "24h", **more}
    reply = await client.post("/v1/batches", json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def ended(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = (await client.get(f"/v1/batches/{name}")).json()
        if found["status"] in {"completed", "failed", "expired", "cancelled"}:
            return found
        await asyncio.sleep(0.01)


async def content(client: httpx.AsyncClient, name: str | None) -> list[dict[str, Any]]:
    if name is None:
        return []
    return [json.loads(one) for one in (await client.get(f"/v1/files/{name}/content")).text.splitlines()]


@asynchronous
async def test_files() -> None:
    async with client_of() as client:
        kept = (await upload(client, b"one\n")).json()
        other = (await upload(client, b"\x00\xff" * 700_000, "user_data")).json()
        assert (kept["bytes"], kept["filename"], kept["purpose"]) == (4, "in.jsonl", "batch")
        assert [one["id"] for one in (await client.get("/v1/files?purpose=batch")).json()["data"]] == [kept["id"]]
        first = (await client.get("/v1/files?limit=1&order=asc")).json()
        assert first["has_more"]
        rest = (await client.get(f"/v1/files?order=asc&after={first['last_id']}")).json()
        assert {first["first_id"], rest["first_id"]} == {kept["id"], other["id"]}
        assert (await client.get(f"/v1/files/{other['id']}/content")).content == b"\x00\xff" * 700_000
        assert (await client.get(f"/v1/files/{kept['id']}")).json() == kept
        assert (await client.delete(f"/v1/files/{kept['id']}")).json()["deleted"]
        for path in (f"/v1/files/{kept['id']}", f"/v1/files/{kept['id']}/content"):
            assert (await client.get(path)).status_code == 404


@asynchronous
async def test_files_and_batches_are_their_owners() -> None:
    async with client_of(api_key=("a", "b")) as client:
        mine, theirs = {"X-Api-Key": "a"}, {"X-Api-Key": "b"}
        name = (await upload(client, text_of([line("1", {"prompt": "x"})]), headers=mine)).json()["id"]
        body = {"input_file_id": name, "endpoint": TEXT, "completion_window": "24h"}
        batch = (await client.post("/v1/batches", json=body, headers=mine)).json()["id"]
        for method, path in (
            ("GET", f"/v1/files/{name}"),
            ("GET", f"/v1/files/{name}/content"),
            ("DELETE", f"/v1/files/{name}"),
            ("GET", f"/v1/batches/{batch}"),
            ("POST", f"/v1/batches/{batch}/cancel"),
        ):
            assert (await client.request(method, path, headers=theirs)).status_code == 404, path
        assert (await client.post("/v1/batches", json=body, headers=theirs)).status_code == 404
        for path in ("/v1/files", "/v1/batches"):
            assert (await client.get(path, headers=theirs)).json()["data"] == []
            assert len((await client.get(path, headers=mine)).json()["data"]) >= 1


BODIES = {
    CHAT: {"messages": [{"role": "user", "content": "hello"}]},
    TEXT: {"prompt": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/responses": {"input": "hello"},
}


@pytest.mark.parametrize("url", BODIES)
@asynchronous
async def test_batch_answers_as_the_endpoint_does(url: str) -> None:
    models = FakeModels()
    volatile = ("id", "created", "created_at", "timings")
    async with client_of(models=models) as client:
        direct = (await client.post(url, json=BODIES[url])).json()
        begun = await begin(client, [line("a", BODIES[url], url), line("b", {**BODIES[url], "x": 1}, url)], url)
        assert begun["status"] == "validating"
        found = await ended(client, begun["id"])
        [good], [bad] = [await content(client, found[kind]) for kind in ("output_file_id", "error_file_id")]
    assert found["status"] == "completed"
    assert found["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    answer = good["response"]["body"]
    strip = lambda one: json.dumps({k: v for k, v in one.items() if k not in volatile and k != "output"})  # noqa: E731
    assert (good["custom_id"], good["response"]["status_code"], strip(answer)) == ("a", 200, strip(direct))
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("b", 400)
    assert bad["response"]["body"]["error"]["param"] == "x"
    assert [stream.priority for stream in models.opened["fake"].streams[1:]] == [-50] * (url != "/v1/embeddings")


@asynchronous
async def test_stream_is_refused_by_line() -> None:
    async with client_of() as client:
        begun = await begin(client, [line("a", {"prompt": "x", "stream": True})])
        found = await ended(client, begun["id"])
        (bad,) = await content(client, found["error_file_id"])
    assert bad["response"]["body"]["error"]["param"] == "stream"
    assert found["output_file_id"] is None


GOOD = line("a", {"prompt": "x"})
INPUTS = {
    "twice": ([GOOD, GOOD], "duplicate_custom_id", 2),
    "other endpoint": ([GOOD, line("b", {}, CHAT)], "mismatched_endpoint", 2),
    "empty id": ([line("", {})], "invalid_custom_id", 1),
    "unknown field": ([{**GOOD, "x": 1}], "unknown_field", 1),
    "no object": ([[]], "invalid_type", 1),
    "method": ([{**GOOD, "method": "GET"}], "invalid_type", 1),
    "no body": ([{"custom_id": "a", "method": "POST", "url": TEXT}], "missing_field", 1),
}


@pytest.mark.parametrize(("requests", "code", "place"), INPUTS.values(), ids=INPUTS)
@asynchronous
async def test_bad_input_fails_the_batch(requests: list[Any], code: str, place: int) -> None:
    async with client_of() as client:
        found = await ended(client, (await begin(client, requests))["id"])
    assert found["status"] == "failed"
    (error,) = found["errors"]["data"]
    assert (error["code"], error["line"]) == (code, place)


@asynchronous
async def test_blank_input_and_no_json() -> None:
    async with client_of() as client:
        for data, code in ((b"\n\n", "empty_file"), (b"{\n", "invalid_json")):
            name = (await upload(client, data)).json()["id"]
            body = {"input_file_id": name, "endpoint": TEXT, "completion_window": "24h"}
            found = await ended(client, (await client.post("/v1/batches", json=body)).json()["id"])
            assert found["errors"]["data"][0]["code"] == code


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "window": ({"completion_window": "soon"}, "completion_window"),
    "long window": ({"completion_window": "31d"}, "completion_window"),
    "endpoint": ({"endpoint": "/v1/models"}, "endpoint"),
    "unknown field": ({"colour": "red"}, "colour"),
    "kept too short": (
        {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
        "output_expires_after.seconds",
    ),
}


@pytest.mark.parametrize(("more", "field"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused_batch(more: dict[str, Any], field: str) -> None:
    async with client_of() as client:
        name = (await upload(client, text_of([GOOD]))).json()["id"]
        body = {"input_file_id": name, "endpoint": TEXT, "completion_window": "24h", **more}
        reply = await client.post("/v1/batches", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


@asynchronous
async def test_refused_upload() -> None:
    async with client_of() as client:
        assert (await client.post("/v1/files", json={})).status_code == 415
        head = {"Content-Type": "multipart/form-data"}
        assert (await client.post("/v1/files", content=b"x", headers=head)).status_code == 400
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await client.post("/v1/files", content=b"--y\r\n", headers=head)).status_code == 400
        assert (await upload(client, b"x", "fun")).json()["error"]["param"] == "purpose"
        assert (await upload(client, b"")).json()["error"]["param"] == "file"
        reply = await client.post("/v1/files", data={"purpose": "batch"}, files={"other": ("a", b"x")})
        assert reply.json()["error"]["param"] == "other"
        wrong = (await upload(client, b"x", "user_data")).json()["id"]
        body = {"input_file_id": wrong, "endpoint": TEXT, "completion_window": "24h"}
        assert (await client.post("/v1/batches", json=body)).json()["error"]["param"] == "input_file_id"


@asynchronous
async def test_cancel_keeps_what_was_answered() -> None:
    models = FakeModels()
    async with client_of(models=models) as client:
        await client.post(TEXT, json={"prompt": "x"})
        requests = [line(str(number), {"prompt": "x" if number < 4 else "one two"}) for number in range(40)]
        models.opened["fake"].held = lambda text, made: text != "x" and made > 0
        begun = await begin(client, requests)
        while (await client.get(f"/v1/batches/{begun['id']}")).json()["request_counts"]["completed"] < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert (await client.delete(f"/v1/files/{begun['input_file_id']}")).status_code == 409
        assert (await client.post(f"/v1/batches/{begun['id']}/cancel")).json()["status"] == "cancelling"
        found = await ended(client, begun["id"])
        answered = await content(client, found["output_file_id"])
        assert (await client.post(f"/v1/batches/{begun['id']}/cancel")).status_code == 409
    assert found["status"] == "cancelled"
    assert len(answered) == found["request_counts"]["completed"] == 4
    assert len({one["custom_id"] for one in answered}) == len(answered)


@pytest.mark.parametrize("late_seconds", [0, 3600])  # over before the requests were checked
@asynchronous
async def test_expiry_tells_what_was_not_answered(monkeypatch: pytest.MonkeyPatch, late_seconds: int) -> None:
    monkeypatch.setattr(runner, "time", SimpleNamespace(time=lambda: time.time() + late_seconds))
    models = FakeModels()
    async with client_of(models=models) as client:
        await client.post(TEXT, json={"prompt": "x"})
        models.opened["fake"].held = True
        begun = await begin(client, [line(str(number), {"prompt": "x"}) for number in range(3)], completion_window="1s")
        found = await ended(client, begun["id"])
        late = await content(client, found["error_file_id"])
    assert found["status"] == "expired"
    assert found["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
    assert {one["custom_id"]: one["error"]["code"] for one in late} == dict.fromkeys("012", "batch_expired")


@asynchronous
async def test_restart_goes_on() -> None:
    requests = [line(str(number), {"prompt": f"word {number}"}) for number in range(60)]
    async with client_of(models=FakeModels(held=lambda text, _: int(text[5:]) >= 10)) as client:
        begun = await begin(client, requests)
        while (await client.get(f"/v1/batches/{begun['id']}")).json()["request_counts"]["completed"] < 10:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    models = FakeModels()
    async with client_of(models=models) as client:
        found = await ended(client, begun["id"])
        answers = await content(client, found["output_file_id"])
    assert found["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
    assert sorted(int(one["custom_id"]) for one in answers) == list(range(60))
    texts = {one["custom_id"]: one["response"]["body"]["choices"][0]["text"] for one in answers}
    assert texts == {str(number): f"word {number}" for number in range(60)}
    assert len(models.opened["fake"].streams) == 50  # what was answered before is not asked again


def test_torn_line_is_answered_again(tmp_path: Path) -> None:
    counts = Counts()
    answers = lines.Answers(tmp_path / "output", tmp_path / "errors", counts)
    reply = lines.Reply(200, "req", lines.msgspec.Raw(b"{}"))
    answers.add("a", reply)
    answers.add("a", reply)
    answers.add("b", reply)
    answers.close()
    answers.add("c", reply)  # too late
    whole = (tmp_path / "output").read_bytes()
    for cut in range(len(whole) + 1):
        (tmp_path / "output").write_bytes(whole[:cut])
        again = lines.Answers(tmp_path / "output", tmp_path / "errors", counts)
        for name in "ab":
            again.add(name, reply)
        again.close()
        found = [json.loads(one)["custom_id"] for one in (tmp_path / "output").read_text().splitlines()]
        assert (found, counts.completed) == (["a", "b"], 2), cut


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_end_that_was_cut_short(tmp_path: Path, moved: int) -> None:
    """Killed between any two steps of the end, the next server comes to the same end."""
    kept = KeptBatch(
        Batch(
            id="batch_1",
            endpoint=TEXT,
            input_file_id="file-0",
            completion_window="24h",
            status="in_progress",
            created_at=1,
            expires_at=2,
        ),
        "",
        "file-1",
        "file-2",
    )
    first = store.Store(tmp_path)
    first.part(kept.batch, "output").write_bytes(b"{}\n")
    first.part(kept.batch, "errors").write_bytes(b"")
    first.add_batch(kept)
    if moved:
        first.part(kept.batch, "output").replace(first.path("file-1"))
    if moved == 2:
        first._describe("file-1", "x", "batch_output", "", None)
    first.close()
    second = store.Store(tmp_path)
    again = second.batches["batch_1"]
    second.finish(again, "expired")
    assert (again.batch.output_file_id, again.batch.error_file_id) == ("file-1", None)
    assert second.path("file-1").read_bytes() == b"{}\n"
    assert [file.id for file in second.files("")] == ["file-1"]
    second.close()


def test_folder_belongs_to_one_server(tmp_path: Path) -> None:
    first = store.Store(tmp_path)
    with pytest.raises(RequestError, match="another server"):
        store.Store(tmp_path)
    first.close()
    store.Store(tmp_path).close()


def test_remains_of_a_crash_are_removed(tmp_path: Path) -> None:
    first = store.Store(tmp_path)
    kept = first.add(io.BytesIO(b"x"), "x", "batch", "", None)
    first.close()
    for name in ("file-a.new", "file-b.data", "batch_c.new"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "file-d.json").write_bytes(b'{"fil')
    second = store.Store(tmp_path)
    assert [file.id for file in second.files("")] == [kept.id]
    assert {path.name for path in tmp_path.iterdir()} == {"lock", f"{kept.id}.json", f"{kept.id}.data", "file-d.json"}
    second.close()


def test_room_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OWNER_BYTES_MAX", 10)
    monkeypatch.setattr(store, "ALL_BYTES_MAX", 15)
    found = store.Store(tmp_path)
    found.add(io.BytesIO(b"12345678"), "x", "batch", "a", None)
    for owner in ("a", "b"):
        with pytest.raises(RequestError, match="no room"):
            found.add(io.BytesIO(b"12345678"), "x", "batch", owner, None)
    found.add(io.BytesIO(b"1234567"), "x", "batch", "b", None)
    found.close()


def test_files_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = store.Store(tmp_path)
    kept = found.add(io.BytesIO(b"x"), "x", "batch", "", 3600)
    monkeypatch.setattr(store, "now", lambda: kept.created_at + 3601)
    assert found.files("") == []
    assert not found.path(kept.id).exists()
    found.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_and_official_client(state: Path) -> None:
    """A batch of a real model, through the client of OpenAI; the server is killed in its midst."""
    import openai

    requests = [line(str(n), {"prompt": "Once upon a time", "max_tokens": 24, "seed": n}) for n in range(60)]
    environment = {"PACOS_HOME": str(state)}
    with served("storyteller", environment=environment) as server:
        server.wait_until_ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            file = client.files.create(file=("in.jsonl", text_of(requests)), purpose="batch")
            batch = client.batches.create(input_file_id=file.id, endpoint=TEXT, completion_window="24h")
            while client.batches.retrieve(batch.id).request_counts.completed < 5:
                time.sleep(0.005)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with served("storyteller", environment=environment) as server:
        server.wait_until_ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            while (found := client.batches.retrieve(batch.id)).status != "completed":
                assert found.status in {"in_progress", "finalizing"}
                time.sleep(0.05)
            assert [one.id for one in client.batches.list()] == [batch.id]
            answers = [json.loads(one) for one in client.files.content(found.output_file_id).text.splitlines()]
            direct = client.completions.create(
                model="storyteller", prompt="Once upon a time", max_tokens=24, extra_body={"seed": 7}
            )
    assert sorted(int(one["custom_id"]) for one in answers) == list(range(60))
    (same,) = [one for one in answers if one["custom_id"] == "7"]
    assert same["response"]["body"]["choices"][0]["text"] == direct.choices[0].text
