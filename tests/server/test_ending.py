"""Requests that end otherwise than by their answer: the queue is too slow, the server stops, the client is too slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fake_llm import FakeLLM, FakeModels, fake_spec
from patience import soon
from serving import asynchronous, client_of

from pacos.server.app import create_app
from pacos.server.residency import Residency
from pacos.settings.serve import ServeOptions

BODY = {"prompt": "one two three four five six"}


async def begun(models: FakeModels) -> FakeLLM:
    """The model, once it gave the first word of an answer and holds the rest and all others back."""
    await soon(lambda: models.opened and models.opened["fake"].generated)
    models.opened["fake"].held = True
    return models.opened["fake"]


@asynchronous
async def test_turn_that_does_not_come() -> None:
    models = FakeModels()
    async with client_of(models=models, queue_seconds=0.05) as client:
        await client.post("/v1/completions", json=BODY)
        models.opened["fake"].held = True
        whole = await client.post("/v1/completions", json=BODY)
        stream = await client.post("/v1/completions", json={**BODY, "stream": True})
    assert (whole.status_code, whole.json()["error"]["code"]) == (503, "queue_timeout")
    assert whole.headers["retry-after"]
    assert stream.headers["x-queue-position"] == "1"
    last = [line for line in stream.text.splitlines() if line.startswith("data: ")][-1]
    assert json.loads(last[6:])["error"]["code"] == "queue_timeout"
    assert "event: error" in stream.text


@asynchronous
async def test_p_01_draining_sends_the_waiting_away_and_lets_the_running_end() -> None:
    models = FakeModels(held=lambda _, made: made > 0)
    residency = Residency([fake_spec()], open_model=models.open)  # type: ignore[arg-type]
    app = create_app(residency, ServeOptions())
    from httpx import ASGITransport, AsyncClient

    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1:8080") as client,
    ):
        running = asyncio.ensure_future(client.post("/v1/completions", json=BODY))
        model = await begun(models)
        waiting = asyncio.ensure_future(client.post("/v1/completions", json=BODY))
        await soon(lambda: len(model.streams) >= 2)
        app.state.requests.drain()
        sent_away = await waiting
        late = await client.post("/v1/completions", json=BODY)
        model.held = False
        ended = await running
    assert (sent_away.status_code, sent_away.json()["error"]["code"]) == (503, "server_shutdown")
    assert (late.status_code, late.headers["connection"]) == (503, "close")
    assert ended.status_code == 200


@asynchronous
async def test_p_01_what_still_runs_at_the_end_hears_why() -> None:
    models = FakeModels(held=lambda _, made: made > 0)
    residency = Residency([fake_spec()], open_model=models.open)  # type: ignore[arg-type]
    app = create_app(residency, ServeOptions())
    from httpx import ASGITransport, AsyncClient

    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1:8080") as client,
    ):
        stream = asyncio.ensure_future(client.post("/v1/completions", json={**BODY, "stream": True}))
        await begun(models)
        app.state.requests.cut_short()
        text = (await stream).text
    assert '"code":"server_shutdown"' in text


SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/v1/completions",
    "raw_path": b"/v1/completions",
    "query_string": b"",
    "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 8080),
    "state": {},
}


class Client:
    """Asks for a stream; what it does with each piece is to be said."""

    def __init__(self, take: Callable[[list[bytes]], Awaitable[None]]) -> None:
        self.take = take
        self.sent: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        if not self.sent:
            self.sent.append(b"")
            return {"type": "http.request", "body": json.dumps({**BODY, "stream": True}).encode(), "more_body": False}
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message.get("body", b""))
        await self.take(self.sent)


@asynchronous
async def test_h_16_client_that_takes_nothing_is_dropped() -> None:
    models = FakeModels()
    residency = Residency([fake_spec()], open_model=models.open)  # type: ignore[arg-type]
    app = create_app(residency, ServeOptions(slow_client_seconds=0.1))

    async def take(sent: list[bytes]) -> None:
        if len(sent) == 4:  # the head and the first pieces
            await asyncio.sleep(3600)

    async with app.router.lifespan_context(app):
        slow = Client(take)
        await app(SCOPE, slow.receive, slow.send)
        assert len(slow.sent) == 4
        assert all(stream.closed for stream in models.opened["fake"].streams)


@asynchronous
async def test_d_08_silent_stream_gets_comments() -> None:
    models = FakeModels(held=lambda _, made: made > 0)
    residency = Residency([fake_spec()], open_model=models.open)  # type: ignore[arg-type]
    app = create_app(residency, ServeOptions(stream_ping_seconds=0.03))

    async def take(sent: list[bytes]) -> None:
        if b"".join(sent).count(b": keep-alive\n\n") == 3:
            models.opened["fake"].held = False

    async with app.router.lifespan_context(app):
        client = Client(take)
        await app(SCOPE, client.receive, client.send)
    text = b"".join(client.sent)
    assert text.index(b"one ") < text.index(b": keep-alive") < text.rindex(b": keep-alive") < text.index(b"two ")
    assert text.endswith(b"data: [DONE]\n\n")


@asynchronous
async def test_d_10_choice_that_fails_does_not_end_the_others() -> None:
    models = FakeModels(0.01)
    async with client_of(models=models) as client:
        body = {"prompt": ["fail", "one two three"], "stream": True}
        text = (await client.post("/v1/completions", json=body)).text
    pieces = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    said = "".join(c["text"] for piece in pieces if "choices" in piece for c in piece["choices"] if c["index"] == 1)
    assert said == "one two three"
    assert pieces[-1]["error"]["message"].startswith("choice 0: ")
