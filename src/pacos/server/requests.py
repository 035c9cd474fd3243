"""The requests that a server is answering: how many, and how they end when the server does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pacos.server.problem import RequestError

if TYPE_CHECKING:
    from pacos.server.call import Call

_RETRY_SECONDS_MAX = 60
_RECENT = 0.1  # weight of the latest answer in the mean duration


class Requests:
    """All running requests, waiting ones included, `most` at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: set[Call[Any]] = set()
        self._mean_seconds = 1.0
        self.draining = False

    @property
    def running(self) -> int:
        """How many there are."""
        return len(self._calls)

    @contextmanager
    def place(self, call: Call[Any]) -> Iterator[None]:
        """Count a request until the block ends. Errors: RequestError 503 when there are too many, or when draining."""
        if self.draining:
            raise stopping()
        if len(self._calls) >= self._most:
            raise RequestError(
                f"{len(self._calls)} requests are running, no more are taken",
                status=503,
                code="server_busy",
                headers={"Retry-After": str(self.retry_seconds())},
            )
        self._calls.add(call)
        try:
            yield
        finally:
            self._calls.discard(call)

    def ended(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._mean_seconds += _RECENT * (seconds - self._mean_seconds)

    def retry_seconds(self) -> int:
        """When a client that was refused may try again: about the time that an answer takes."""
        return max(1, min(_RETRY_SECONDS_MAX, math.ceil(self._mean_seconds)))

    def drain(self) -> None:
        """Take no more, and send those away whose turn has not come."""
        self.draining = True
        for call in list(self._calls):
            if call.waits:
                call.stop(stopping())

    def cut_short(self) -> None:
        """End what still runs, with an error that says why."""
        for call in list(self._calls):
            call.stop(stopping())


def stopping() -> RequestError:
    """The refusal of a server that ends."""
    headers = {"Retry-After": "5", "Connection": "close"}
    return RequestError("the server stops", status=503, code="server_shutdown", headers=headers)
