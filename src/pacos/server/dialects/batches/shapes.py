"""What files and batches look like, to clients and on disk."""

from __future__ import annotations

import secrets
import time
from typing import Any, Literal

import msgspec

from pacos.server.dialects.openai.shapes import Metadata
from pacos.server.fields import Fields

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
ENDED = ("completed", "failed", "expired", "cancelled")
KEPT_SECONDS = (3600, 30 * 86400)  # how long files may be kept that expire


class File(msgspec.Struct, kw_only=True):
    """A file that was uploaded, or that a batch wrote."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None = None
    object: str = "file"
    status: str = "processed"


class Counts(msgspec.Struct):
    """How many requests a batch has, and how many were answered."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class LineError(msgspec.Struct):
    """What is wrong with a batch, or with a line of its input."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Errors(msgspec.Struct):
    """Why a batch failed."""

    data: list[LineError]
    object: str = "list"


class Batch(msgspec.Struct, kw_only=True):
    """Requests that are answered in the background. Units: seconds since 1970."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str
    created_at: int
    expires_at: int
    request_counts: Counts = msgspec.field(default_factory=Counts)
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Errors | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    metadata: dict[str, str] | None = None
    object: str = "batch"


class KeptFile(msgspec.Struct):
    """A file on disk, and whose it is."""

    file: File
    owner: str


class KeptBatch(msgspec.Struct):
    """A batch on disk, whose it is, and what its files will be called."""

    batch: Batch
    owner: str
    output_id: str
    errors_id: str
    output_seconds: int | None = None  # how long its files are kept
    ending: str | None = None  # the status that it is about to end with

    def enter(self, status: str) -> None:
        """Go on to a status, and note when."""
        self.batch.status = status
        setattr(self.batch, f"{status}_at", now())

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.batch.status in ENDED


class Expiry(Fields):
    """How long a file is kept."""

    anchor: Literal["created_at"]
    seconds: int


class BatchRequest(Fields):
    """A request to answer the requests in a file."""

    input_file_id: str
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: str
    metadata: Metadata | None = None
    output_expires_after: Expiry | None = None


class Line(Fields):
    """A request of a batch."""

    custom_id: str
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class Page(msgspec.Struct):
    """A part of a list."""

    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


class Deleted(msgspec.Struct):
    """A file that is gone."""

    id: str
    object: str = "file"
    deleted: bool = True


def new_id(kind: str) -> str:
    """An id such as file-... or batch_..."""
    return f"{kind}{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
