"""The lines of a batch: requests that come in, and answers that go out, each at most once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pacos.server.dialects.batches.shapes import Counts, Line, LineError, new_id
from pacos.server.fields import convert, read_json
from pacos.server.problem import RequestError

LINES_MAX = 50_000
LINE_BYTES_MAX = 16 << 20
_ID_CHARACTERS_MAX = 512
_ERRORS_MAX = 100


class Reply(msgspec.Struct):
    """What a request was answered with; `body` is JSON."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class OutputLine(msgspec.Struct):
    """A line of a batch's output, or of its errors."""

    id: str
    custom_id: str
    response: Reply | None
    error: dict[str, Any] | None = None


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1. Errors: RequestError for one that is too long."""
    with path.open("rb") as file:
        number = 0
        while data := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(data) > LINE_BYTES_MAX:
                raise RequestError(f"the line has more than {LINE_BYTES_MAX} bytes", code="line_too_long")
            if data.strip():
                yield number, data


def parse(data: bytes) -> Line:
    """The request of a line. Errors: RequestError."""
    return convert(read_json(data), Line)


def check(path: Path, endpoint: str) -> tuple[int, list[LineError]]:
    """How many requests a file holds, and what is wrong with it."""
    errors: list[LineError] = []
    seen: set[str] = set()
    total, number = 0, 0
    try:
        for number, data in read_lines(path):
            total += 1
            if total > LINES_MAX:
                errors.append(LineError("too_many_requests", f"there are more than {LINES_MAX} requests", number))
                break
            try:
                _check_line(parse(data), endpoint, seen)
            except RequestError as error:
                errors.append(LineError(error.code or "invalid_request", str(error), number, error.field))
            if len(errors) >= _ERRORS_MAX:
                break
    except RequestError as error:
        errors.append(LineError(error.code or "invalid_request", str(error), number + 1))
    except OSError as error:
        errors.append(LineError("invalid_file", f"the input cannot be read: {error.strerror}"))
    if not total and not errors:
        errors.append(LineError("empty_file", "the input holds no request"))
    return total, errors


def _check_line(line: Line, endpoint: str, seen: set[str]) -> None:
    if not 1 <= len(line.custom_id) <= _ID_CHARACTERS_MAX:
        problem = f"custom_id has {len(line.custom_id)} characters"
        hint = f"use 1 to {_ID_CHARACTERS_MAX}"
        raise RequestError(problem, field="custom_id", code="invalid_custom_id", hint=hint)
    if line.custom_id in seen:
        problem = f"custom_id {line.custom_id[:80]!a} is there twice"
        raise RequestError(problem, field="custom_id", code="duplicate_custom_id")
    if line.url != endpoint:
        problem = f"url is {line.url[:80]!a}, the batch is for {endpoint}"
        raise RequestError(problem, field="url", code="mismatched_endpoint")
    seen.add(line.custom_id)


class Answers:
    """The answers of a batch so far, in two files that grow; from any thread.

    A line that a crash cut short is taken off, so that its request is answered again.
    """

    def __init__(self, output: Path, errors: Path, counts: Counts) -> None:
        self._turn = threading.Lock()
        self._counts = counts
        self._done: set[str] = set()
        self._output, good = _opened(output, self._done)
        self._errors, bad = _opened(errors, self._done)
        counts.completed, counts.failed = good, bad

    def has(self, custom_id: str) -> bool:
        """Whether a request is answered."""
        return custom_id in self._done

    def add(self, custom_id: str, reply: Reply | None, error: dict[str, Any] | None = None) -> None:
        """Note an answer; the second one to a request, and one that comes after the end, is dropped."""
        line = msgspec.json.encode(OutputLine(new_id("batch_req_"), custom_id, reply, error)) + b"\n"
        good = reply is not None and reply.status_code == 200
        with self._turn:
            file = self._output if good else self._errors
            if file.closed or custom_id in self._done:
                return
            file.write(line)
            file.flush()
            self._done.add(custom_id)
            if good:
                self._counts.completed += 1
            else:
                self._counts.failed += 1

    def close(self) -> None:
        """Settle what is written; there is no more."""
        with self._turn:
            for file in (self._output, self._errors):
                if not file.closed:
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()


def _opened(path: Path, done: set[str]) -> tuple[BinaryIO, int]:
    """A file to be written on, and how many whole lines it has; their ids are added to `done`."""
    file = path.open("a+b")
    file.seek(0)
    whole, count = 0, 0
    for data in file:
        if not data.endswith(b"\n"):
            break
        try:
            done.add(msgspec.json.decode(data, type=OutputLine).custom_id)
        except msgspec.DecodeError:
            break
        whole += len(data)
        count += 1
    file.truncate(whole)
    return file, count
