"""A request of every kind in the catalogue of bad input gets the outcome that the catalogue gives it.

The groups are H (transport), B (bodies and parameters), N (operations) and D (streams and clients that leave). The
table is tests/catalogue.py; bytes on connections are in test_connections.py, bodies in test_requests.py, hosts and keys
in test_guard.py, TLS in test_tls.py, slots in test_slots.py, addresses in test_serve_command.py. The last test proves
that no id is forgotten.

Where the catalogue and what the project promises differ, the promise holds: an unknown field is a 400 that names it,
also where the catalogue would ignore it (B-08, B-33, allowed_token_ids of B-23, lazy grammars of B-39). Not applicable:

B-34, B-35   pictures: a clear 400, whatever they hold; nothing is decoded, no address is asked
N-10 - N-13  pulling, deleting, copying, blobs and creating belong to the tests of the store
H-24         the accept loop under too few open files is asyncio's; the limit is raised at the start
D-06, D-09   what a proxy or a buffer between does is TCP's; comments keep streams alive (D-08)
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from catalogue import ROWS
from fake_llm import FakeModels, fake_spec
from patience import SECONDS, soon
from serving import asynchronous, client_of, served

from pacos.hub.names import resolve
from pacos.server import guard
from pacos.server.access import logs_to
from pacos.server.dialects import dialects
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency

ELSEWHERE = {"B-34", "B-35", "N-10", "N-11", "N-12", "N-13", "H-24", "D-06", "D-09"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served("storyteller", "--parallel", "4") as server:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=SECONDS / 2) as made:
            yield made
            canary = made.post("/completion", json={"prompt": "Once", "n_predict": 3, "temperature": 0})
            assert canary.json()["tokens_predicted"] == 3, "it answers still"


@pytest.mark.parametrize(("path", "body", "status", "said"), ROWS.values(), ids=ROWS)
def test_row(client: httpx.Client, path: str, body: Any, status: int, said: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post(path, content=data, headers={"Content-Type": "application/json"})
    assert reply.status_code == status, reply.text[:500]
    assert said in reply.text
    if status >= 400:
        assert reply.json()["error"]
        assert len(reply.text) < 1000


def test_b_15_same_seed_same_text(client: httpx.Client) -> None:
    body = {"prompt": "Once", "n_predict": 8, "seed": 2**63, "temperature": 1.5}
    assert len({client.post("/completion", json=body).json()["content"] for _ in range(3)}) == 1


def test_b_22_stops_are_cut_and_leak_nothing(client: httpx.Client) -> None:
    body = {"prompt": "Once upon a time", "n_predict": 20, "temperature": 0}
    free = client.post("/completion", json=body).json()["content"]
    for stop in (free[:1], free[3:9], free[:12], free[5:6]):
        for stream in (False, True):
            reply = client.post("/completion", json={**body, "stop": [stop, free[4:15]], "stream": stream})
            pieces = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: ")]
            told = "".join(one["content"] for one in pieces) if stream else reply.json()["content"]
            end, place = min((free.index(one) + len(one), free.index(one)) for one in (stop, free[4:15]))
            assert told == free[:place], (stop, end)


VALUES = (None, True, "", "x", [], {}, -1, 0, 1.5, 2**31, 2**63, 2**64, 1e308, float("nan"))
GIVEN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/messages": {"model": "fake", "max_tokens": 2, "messages": [{"role": "user", "content": "x"}]},
    "/completion": {"prompt": "x"},
    "/infill": {"input_prefix": "x", "input_suffix": "y"},
    "/embedding": {"content": "x"},
    "/rerank": {"query": "q", "documents": ["x"]},
    "/tokenize": {"content": "x"},
    "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": [{"role": "user", "content": "x"}]},
    "/api/generate": {"model": "fake", "prompt": "x", "stream": False},
    "/api/chat": {"model": "fake", "messages": [{"role": "user", "content": "x"}], "stream": False},
    "/api/embed": {"model": "fake", "input": "x"},
}


def fields_of(path: str) -> list[str]:
    """The fields that an operation's body has."""
    body = next(one.body for dialect in dialects() for one in dialect.operations if one.path == path)
    return sorted(body.__struct_fields__)


@pytest.mark.parametrize("path", GIVEN)
@asynchronous
async def test_b_09_every_field_with_every_value(path: str) -> None:
    spec = ModelSpec("fake", str(resolve("storyteller")))  # where nothing is generated, and the fake has no template
    residency = Residency([spec]) if path in ("/infill", "/apply-template") else None
    async with client_of(residency) as client:
        for name in fields_of(path):
            for value in VALUES:
                data = json.dumps({**GIVEN[path], name: value}).encode()
                reply = await client.post(path, content=data, headers={"Content-Type": "application/json"})
                assert reply.status_code in {200, 400, 404, 501}, (name, value, reply.text)
                if reply.status_code == 400 and value == value:
                    said = (name.split("_")[0], "options", "n_predict", "message")
                    assert any(word in reply.text for word in said), (name, value, reply.text)


@asynchronous
async def test_n_09_health_tells_of_draining_and_of_a_stall() -> None:
    models = FakeModels()
    async with client_of(models=models, stall_seconds=5) as client:
        assert (await client.post("/completion", json={"prompt": "x"})).status_code == 200
        models.opened["fake"].stalled_seconds = 4.0
        assert (await client.get("/health")).status_code == 200
        models.opened["fake"].stalled_seconds = 6.0
        stalled = await client.get("/health")
        models.opened["fake"].stalled_seconds = 0.0
        client._transport.app.state.requests.drain()  # type: ignore[attr-defined]
        draining = await client.get("/health")
    assert (stalled.status_code, stalled.json()["status"], stalled.json()["models"]) == (503, "stalled", ["fake"])
    assert (draining.status_code, draining.json()["status"]) == (503, "draining")
    error = {"code": 503, "message": "Draining", "type": "unavailable_error"}
    assert draining.json()["error"] == error, "as llama-server says it"


@asynchronous
async def test_h_15_body_that_trickles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_BODY_GRACE_SECONDS", 0.2)
    whole = b'{"prompt": "x"}' + b" " * 100_000
    places = [0]

    async def trickle():
        for place, byte in enumerate(whole):
            places.append(place)
            yield bytes([byte])
            await asyncio.sleep(0.02)

    async def brisk():
        yield b" " * (1024 * 60)  # a minute's
        for _ in range(20):
            yield b" "
            await asyncio.sleep(0.02)
        yield b'{"prompt": "x"}'

    async with client_of() as client:
        slow, good = await asyncio.gather(
            asyncio.gather(*(client.post("/completion", content=trickle()) for _ in range(50))),
            client.post("/completion", content=brisk()),
        )
    assert {reply.status_code for reply in slow} == {408}
    assert max(places) < len(whole) - 1, "refused long before its end"
    assert "too slowly" in slow[0].json()["error"]["message"]
    assert good.status_code == 200


@asynchronous
async def test_n_06_properties_tell_no_paths_and_no_keys(tmp_path: Path) -> None:
    async with client_of(api_key=("secret",), slot_save_path=str(tmp_path)) as client:
        for path in ("/v1/models", "/slots", "/openapi.json"):
            reply = await client.get(path, headers={"X-Api-Key": "secret"})
            assert reply.status_code == 200
            assert "secret" not in reply.text
            assert str(tmp_path) not in reply.text


def test_n_06_properties_name_the_model_alone(client: httpx.Client) -> None:
    assert "/" not in client.get("/props").json()["model_path"]


@asynchronous
async def test_n_08_metrics_are_off_until_asked_for_and_escape_names() -> None:
    async with client_of() as client:
        assert (await client.get("/metrics")).status_code == 404
    name = 'a"} 1\nevil'
    models = FakeModels()
    residency = Residency([fake_spec(name)], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency, metrics=True) as client:
        assert (await client.post("/completion", json={"prompt": "x"})).status_code == 200
        lines = (await client.get("/metrics")).text.splitlines()
    assert "llamacpp:tokens_predicted_total 1" in lines, "under llama-server's names too"
    assert not any(line.startswith("evil") for line in lines)
    assert any(r'model="a\"} 1\nevil"' in line for line in lines)


@asynchronous
async def test_h_27_log_escapes_what_a_client_sends(capsys: pytest.CaptureFixture[str]) -> None:
    logs_to(sys.stderr, "text")
    async with client_of() as client:
        await client.get("/v1/models/x%0d%0a2026 forged%1b[31m", headers={"User-Agent": "a\x1b[31m"})
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "request" in line]) == 1
    assert "\x1b" not in "".join(lines)


@asynchronous
async def test_d_03_client_that_leaves_while_it_waits_is_never_computed() -> None:
    models = FakeModels()
    async with client_of(models=models) as client:
        assert (await client.post("/completion", json={"prompt": "x"})).status_code == 200
        models.opened["fake"].held = True
        waiting = asyncio.ensure_future(client.post("/completion", json={"prompt": "y"}))
        await soon(lambda: len(models.opened["fake"].streams) >= 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        left = models.opened["fake"].streams[1]
        await soon(lambda: left.closed)
        models.opened["fake"].held = False
        await asyncio.sleep(0.05)  # time in which it could begin
    assert not left.started


@pytest.mark.parametrize(
    ("path", "body"), [(path, body) for path, body in GIVEN.items() if path in ("/completion", "/v1/completions")]
)
@asynchronous
async def test_d_07_failure_within_a_stream_is_told_there(path: str, body: dict[str, Any]) -> None:
    async with client_of() as client:
        reply = await client.post(path, json={**body, "prompt": "fail", "stream": True})
    assert reply.status_code == 200
    assert "event: error\ndata: " in reply.text
    assert "[DONE]" not in reply.text


@asynchronous
async def test_d_12_last_event_id_changes_nothing() -> None:
    async with client_of() as client:
        body = {"prompt": "a b c", "stream": True}
        plain, again = [
            await client.post("/completion", json=body, headers=headers) for headers in ({}, {"Last-Event-ID": "1"})
        ]
    assert plain.text.count("data: ") == again.text.count("data: ") > 3


def test_h_19_d_11_requests_that_do_not_wait_are_answered_in_order(client: httpx.Client) -> None:
    streamed = b'{"prompt": "Once", "n_predict": 5, "stream": true}'
    counted = b'{"content": "x"}'
    heads = [("/completion", streamed), *[("/tokenize", counted)] * 98, ("/tokenize", b"{}")]
    sent = b"".join(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        for path, body in heads
    )
    url = client.base_url
    with socket.create_connection((url.host, url.port), timeout=SECONDS) as connection:
        connection.sendall(sent + b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = b""
        while piece := connection.recv(1 << 16):
            reply += piece
    codes = re.findall(rb"HTTP/1.1 (\d+)", reply)
    assert codes == [b"200"] * 99 + [b"400"] + [b"200"]
    assert reply.index(b'"stop":true') < reply.index(b'{"tokens":[')


def test_d_04_who_leaves_in_the_middle_of_a_prompt_harms_nobody(client: httpx.Client) -> None:
    long = {"prompt": [5] * 1000, "n_predict": 1}
    with pytest.raises(httpx.TimeoutException):
        client.post("/completion", json={**long, "n_predict": -1, "ignore_eos": True}, timeout=0.01)
    other = client.post("/completion", json={"prompt": "Once", "n_predict": 3})
    assert (other.status_code, other.json()["tokens_predicted"]) == (200, 3)


def test_no_id_is_forgotten() -> None:
    wanted = {
        f"{group}-{number:02}"
        for group, last in {"H": 27, "B": 39, "N": 20, "D": 12}.items()
        for number in range(1, last + 1)
    }
    here = Path(__file__).parent
    text = "".join(path.read_text() for path in (*here.glob("*.py"), here.parent / "catalogue.py"))
    named = {
        f"{group.upper()}-{number}" for group, number in re.findall(r"(?<![A-Za-z])([HBNDhbnd])[-_](\d\d)(?!\d)", text)
    }
    assert wanted - named - ELSEWHERE == set()
