"""The log of requests: one line each, as text or JSON, without prompts, answers or keys."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, TextIO

from starlette.requests import Request

LOGGER = logging.getLogger("pacos.requests")


def log_request(request: Request, status: int, seconds: float, state: Mapping[str, Any]) -> None:
    """Note one request; `state` has its id, the owner of its key, and facts such as the model and tokens."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    client = request.client
    fields = {
        "id": state["request_id"],
        "method": request.method,
        "path": request.url.path[:200],
        "status": status,
        "ms": round(seconds * 1000, 1),
        "client": client.host if client else "",
        "owner": state.get("owner", ""),
        **state["facts"],
    }
    LOGGER.info("request", extra={"fields": {name: value for name, value in fields.items() if value != ""}})


class Lines(logging.Formatter):
    """A line for each record: time, level, message and the record's fields."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback follows it in text, and is a field in JSON."""
        fields = getattr(record, "fields", {})
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self.form == "json":
            whole = {"time": now, "level": record.levelname.lower(), "message": record.getMessage(), **fields}
            return json.dumps({**whole, "trace": trace} if trace else whole, default=str)
        said = " ".join(f"{name}={_plain(value)}" for name, value in fields.items())
        line = f"{now} {record.levelname.lower()} {_one_line(record.getMessage())}"
        return "\n".join(part for part in (f"{line} {said}".rstrip(), trace) if part)


def _plain(value: Any) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text and text else json.dumps(text)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def logs_to(stream: TextIO, form: str) -> None:
    """Write every message of the server from INFO on to a stream, in this form: "text" or "json"."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(form))
    for name, level in (("pacos", logging.INFO), ("uvicorn", logging.WARNING)):
        one = logging.getLogger(name)
        one.handlers, one.propagate = [handler], False
        one.setLevel(level)
