"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.batches.shapes import Page
from pacos.server.problem import RequestError
from pacos.server.stream import json_response


def page(call: Call[Any], found: Sequence[Any], *, limit: int, most: int) -> ASGIApp:
    """The part of a list that the query asks for with `limit` and `after`. Errors: RequestError."""
    query = call.request.query_params
    if (text := query.get("limit")) is not None:
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:10]) <= most:
            hint = f"use 1 to {most}"
            raise RequestError(f"limit is {text[:40]!a}", field="limit", code="invalid_value", hint=hint)
        limit = int(text)
    if (after := query.get("after")) is not None:
        places = [place for place, one in enumerate(found) if one.id == after]
        if not places:
            raise RequestError(f"after is {after[:80]!a}, which is not there", field="after", code="invalid_value")
        found = found[places[0] + 1 :]
    shown = list(found[:limit])
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return json_response(call, Page(shown, first, last, has_more=len(found) > limit))
