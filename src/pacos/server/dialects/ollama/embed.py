"""Ollama's embeddings, of one text or several."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.ollama import shapes
from pacos.server.dialects.openai.embeddings import INPUTS_MAX
from pacos.server.fields import Fields, text_or_tokens
from pacos.server.problem import RequestError
from pacos.server.stream import json_response


class Embedding(Fields):
    """Fields of both requests; the model's options have no effect on vectors, but they are checked."""

    model: str
    options: shapes.Options | None = None  # type: ignore[valid-type]  # made of the option groups
    keep_alive: float | str | None = None


class EmbedRequest(Embedding, kw_only=True):
    """A request for vectors of texts."""

    input: str | list[str]
    truncate: bool = True
    dimensions: int | None = None


class EmbedReply(msgspec.Struct):
    """A vector for each text, in order. Units: nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldRequest(Embedding, kw_only=True):
    """A request for the vector of one text."""

    prompt: str


class OldReply(msgspec.Struct):
    """A vector."""

    embedding: list[float]


async def run(call: Call[EmbedRequest]) -> ASGIApp:
    """Turn texts into vectors of length 1."""
    body, began = call.body, time.monotonic()
    resident = await shapes.open_model(call)
    load_seconds = time.monotonic() - began
    if body.input == []:
        raise RequestError("input is empty", field="input", code="invalid_value", hint="give a text or several")
    options: dict[str, Any] = {"truncate": body.truncate}
    if body.dimensions is not None:
        options["dimensions"] = body.dimensions
    texts = text_or_tokens(body.input, "input", most=INPUTS_MAX)
    found = await call.while_connected(call.in_thread(lambda: resident.llm.embed(texts, **options)))
    tokens = sum(found.token_counts)
    call.count(prompt_tokens=tokens)
    reply = EmbedReply(
        body.model,
        [vector.tolist() for vector in found.vectors],
        round((time.monotonic() - began) * 1e9),
        round(load_seconds * 1e9),
        tokens,
    )
    return json_response(call, reply)


async def run_old(call: Call[OldRequest]) -> ASGIApp:
    """Turn one text into a vector, of whatever length."""
    body = call.body
    resident = await shapes.open_model(call)
    options = {"truncate": True, "normalize": -1}
    found = await call.while_connected(call.in_thread(lambda: resident.llm.embed([body.prompt], **options)))
    call.count(prompt_tokens=sum(found.token_counts))
    reply = OldReply(found.vectors[0].tolist())
    return json_response(call, reply)
