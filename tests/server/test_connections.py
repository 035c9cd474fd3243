"""Connections as bytes: clients that are slow, rude, many, or leave."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from patience import SECONDS, until
from serving import Server, asynchronous, served

CHAT = {"messages": [{"role": "user", "content": "Tell me a story."}], "ignore_eos": True}
ENDLESS = {**CHAT, "context_policy": "shift", "max_tokens": 10**6}
BODY = json.dumps({**CHAT, "max_tokens": 2}).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that gives slow clients their time: a busy machine makes them of a thousand."""
    limits = ("--head-timeout", "60", "--idle-timeout", "60", "--max-connections", "1200")
    with served("storyteller", "--metrics", "--parallel", "16", *limits) as running:
        running.wait_until_ready()
        yield running


def connect(server: Server) -> socket.socket:
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=SECONDS)


def request(body: bytes = BODY, *headers: str, start: str = "POST /v1/chat/completions HTTP/1.1") -> bytes:
    head = "\r\n".join([start, "Host: localhost", "Content-Type: application/json", *headers])
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def status_of(server: Server, data: bytes) -> int:
    """Send bytes, read until the server closes, and give the first answer's status; 0 when there was none."""
    with closing(connect(server)) as connection:
        connection.sendall(data)
        reply = read_all(connection)
    return int(reply.split(b" ", 2)[1]) if reply else 0


def numbers(server: Server) -> dict[str, float]:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def idle(server: Server) -> bool:
    """Whether nothing is computed any more."""
    return all(value == 0 for name, value in numbers(server).items() if name.startswith("pacos_sequences_running"))


RUDE = {
    "H-01-tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "H-01-http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "H-01-random": bytes(range(256)),
    "H-01-proxy": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n\r\n",
    "H-01-ssh": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "H-04-long-field": request(BODY, "X-Long: " + "x" * 70_000),
    "H-04-bare-name": b"GET /health HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
    "H-04-space-in-name": request(BODY, "X Y: 1"),
    "H-04-nul": request(BODY, "X-Nul: a\0b"),
    "H-05-no-host": b"GET /health HTTP/1.1\r\n\r\n",
    "H-05-two-hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "H-06-two-lengths": request(BODY, "Content-Length: 1"),
    "H-06-negative-length": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "H-06-plus-length": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde",
    "H-06-twice-chunked": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "H-07-chunk-size": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "H-07-huge-chunk-size": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"F" * 40
    + b"\r\n",
}


@pytest.mark.parametrize("data", RUDE.values(), ids=RUDE)
def test_rude(server: Server, data: bytes) -> None:
    assert status_of(server, data) in {0, 400, 404, 413, 431, 501}
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_h_09_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with closing(connect(server)) as connection:
        first, second = request(), request(BODY, "X-Request-Id: second", "Connection: close")
        connection.sendall(first + second)
        reply = read_all(connection)
    assert reply.count(b"HTTP/1.1 200") == 2
    assert b"x-request-id: second" in reply.rpartition(b"HTTP/1.1 200")[2]


def test_streamed_answers_with_and_without_chunks(server: Server) -> None:
    """One after another on a connection in HTTP/1.1; in HTTP/1.0 the end of the connection is the answer's."""
    body = json.dumps({**CHAT, "max_tokens": 3, "stream": True}).encode()
    with closing(connect(server)) as connection:
        connection.sendall(request(body) + request(body, "Connection: close"))
        reply = read_all(connection)
    answers = reply.split(b"HTTP/1.1 200")[1:]
    assert [answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for answer in answers] == [True, True]
    with closing(connect(server)) as connection:
        connection.sendall(request(body, start="POST /v1/chat/completions HTTP/1.0"))
        head, _, data = read_all(connection).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert all(line.startswith(b"data: ") for line in data.split(b"\n\n")[:-1])
    assert data.endswith(b"data: [DONE]\n\n")


def test_h_10_body_is_refused_before_it_is_sent(server: Server) -> None:
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    )
    with closing(connect(server)) as connection:
        connection.sendall(head)
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 413")


def test_h_08_short_body_never_reaches_a_model(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(request()[:-10])
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " not in read_all(connection)


def test_h_14_slow_head_is_dropped() -> None:
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 600
    with served("--head-timeout", "1") as server, closing(connect(server)) as connection:
        said = None
        with suppress(ConnectionError):  # where a byte was under way when it was closed
            for byte in head:
                connection.sendall(bytes([byte]))
                if select.select([connection], [], [], 0.1)[0]:
                    said = read_all(connection)
                    break
            else:
                pytest.fail("the whole head was taken")
        assert not said


def test_h_20_connection_closes_after_a_refusal_with_an_unread_body(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(request(BODY, start="POST /nowhere HTTP/1.1"))
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in reply.lower()


def test_h_21_upgrade_is_not_made(server: Server) -> None:
    headers = ("Upgrade: websocket", "Connection: Upgrade, close")
    assert status_of(server, request(b"", *headers, start="GET /health HTTP/1.1")) == 200


@pytest.mark.parametrize("stream", [True, False], ids=["D-01-stream", "D-02-whole"])
def test_h_17_client_that_leaves_stops_the_engine(server: Server, stream: bool) -> None:
    before = numbers(server)["pacos_disconnects_total"]
    with closing(connect(server)) as connection:
        connection.sendall(request(json.dumps({**ENDLESS, "n": 16, "stream": stream}).encode()))
        if stream:
            connection.recv(100)
        else:
            until(lambda: not idle(server))
    until(lambda: idle(server) and numbers(server)["pacos_disconnects_total"] > before, every=0.02)


def test_d_05_many_clients_that_vanish(server: Server) -> None:
    for _ in range(5):
        connections = [connect(server) for _ in range(40)]
        for connection in connections:
            connection.sendall(request(json.dumps({**ENDLESS, "stream": True}).encode()))
        for connection in connections:
            connection.recv(50)
            connection.close()
    until(lambda: idle(server), every=0.05)
    found = numbers(server)
    held = [value for name, value in found.items() if name.startswith('pacos_pages{model="storyteller",state="held"')]
    assert held == [0]


@asynchronous
async def test_h_18_a_thousand_idle_connections(server: Server) -> None:
    where = urlsplit(server.url)
    idle_ones = [await asyncio.open_connection(where.hostname, where.port) for _ in range(1000)]
    try:
        async with httpx.AsyncClient(timeout=4 * SECONDS, limits=httpx.Limits(max_connections=None)) as client:
            asked = [
                client.post(f"{server.url}/v1/chat/completions", json={**CHAT, "max_tokens": 8}) for _ in range(144)
            ]
            replies = await asyncio.gather(*asked)
            assert (await client.get(f"{server.url}/health")).status_code == 200
        assert {reply.status_code for reply in replies} == {200}
    finally:
        for _, writer in idle_ones:
            writer.close()


def test_h_18_connections_over_the_limit_are_refused(server: Server) -> None:
    connections = [connect(server) for _ in range(1200)]
    try:
        with closing(connect(server)) as one_more:
            assert read_all(one_more).startswith(b"HTTP/1.1 503")
    finally:
        for connection in connections:
            connection.close()
        until(lambda: httpx.get(f"{server.url}/health").status_code == 200)
