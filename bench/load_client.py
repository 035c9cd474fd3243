"""Many streams at once from one thread: what clients of a server see of it.

One loop over plain sockets, no HTTP library: it shall take as little of the machine as it can, because the server
that it measures runs on the same one. Units: seconds since the requests were sent.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_EVENT = b"data: {"
_READ_BYTES = 1 << 16


@dataclass
class Stream:
    """One request: when its events came, and what it was answered; the last event is the answer's end."""

    connection: socket.socket
    request: bytes
    arrivals: list[float] = field(default_factory=list)
    answer: bytearray = field(default_factory=bytearray)
    ended: float = 0.0

    def take(self, data: bytes, now: float) -> None:
        """Note the events in a piece of the answer, also one that the piece before began."""
        known = len(self.answer)
        self.answer += data
        begin = max(0, known - len(_EVENT) + 1)
        self.arrivals.extend([now] * self.answer.count(_EVENT, begin))

    def events(self) -> list[dict[str, Any]]:
        """Its events. Errors: OSError for an answer that is an error, or none."""
        head, _, rest = bytes(self.answer).partition(b"\r\n\r\n")
        said = unchunked(rest) if b" 200 " in head[:20] else b""
        found = [json.loads(line[6:]) for line in said.splitlines() if line.startswith(b"data: {")]  # not [DONE]
        if not found or "error" in found[-1]:
            raise OSError(f"the server answered {(head[:20] + rest[:200])!r}")
        return found


def unchunked(body: bytes) -> bytes:
    """The text of a body that came in chunks."""
    pieces = []
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        pieces.append(body[:count])
        body = body[count + 2 :]
    return b"".join(pieces)


def request_bytes(path: str, body: dict[str, Any]) -> bytes:
    """A POST of JSON after whose answer the server closes the connection."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data


def run(port: int, requests: Sequence[bytes], limit_seconds: float) -> list[Stream]:
    """Send all requests at once and follow the answers to their ends. Errors: TimeoutError."""
    streams = [Stream(socket.create_connection(("127.0.0.1", port)), request) for request in requests]
    selector = selectors.DefaultSelector()
    began = time.perf_counter()
    for stream in streams:
        stream.connection.sendall(stream.request)
        stream.connection.setblocking(False)
        selector.register(stream.connection, selectors.EVENT_READ, stream)
    running = len(streams)
    while running:
        ready = selector.select(1.0)
        now = time.perf_counter() - began
        if now > limit_seconds:
            raise TimeoutError(f"{running} of {len(streams)} streams run still after {now:.0f} s")
        for key, _ in ready:
            stream = key.data
            data = stream.connection.recv(_READ_BYTES)
            if data:
                stream.take(data, now)
                continue
            stream.ended = now
            selector.unregister(stream.connection)
            stream.connection.close()
            running -= 1
    return streams
