"""What went wrong with a request, before a dialect gives it its shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pacos.errors import CapacityError, ContextFull, ModelNotFound, PacosError, UsageError
from pacos.log import logger

RETRY_SECONDS = 1  # what a client is told to wait when no better number is known


class RequestError(PacosError):
    """A request is refused: `status` is HTTP's, `field` the path of the field at fault, `code` a word for programs."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        field: str | None = None,
        code: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.field = field
        self.code = code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Problem:
    """The facts of a failed request; a dialect renders them.

    `message` is a sentence with its hint. `code` is a word such as "context_length_exceeded".
    """

    status: int
    message: str
    field: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def problem_of(error: BaseException, names: Mapping[str, str] | None = None) -> Problem:
    """The problem that an error is. `names` are the request's own names of our options, for the field at fault.

    What is no PacosError is our own fault: it is logged with its traceback, and the client learns no detail.
    """
    if isinstance(error, RequestError):
        return Problem(error.status, str(error), error.field, error.code, error.headers)
    if isinstance(error, ContextFull):
        return Problem(400, str(error), code="context_length_exceeded")
    if isinstance(error, ModelNotFound):
        return Problem(404, str(error), "model", "model_not_found")
    if isinstance(error, CapacityError):
        return Problem(503, str(error), code="server_busy", headers={"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, UsageError):
        ours = error.message.split(" ", 1)[0]  # such errors begin with the option's name
        theirs = (names or {}).get(ours)
        problem = Problem(error.http_status, str(error), theirs, "invalid_value" if theirs else None)
        return replace(problem, message=theirs + problem.message.removeprefix(ours)) if theirs else problem
    if isinstance(error, PacosError):
        return Problem(error.http_status, str(error))
    logger(__name__).error("a request failed", exc_info=error)
    return Problem(500, "a fault inside the server; its log says more", code="internal_error")
