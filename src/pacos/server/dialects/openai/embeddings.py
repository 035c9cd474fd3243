"""OpenAI's embeddings."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Literal

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.openai.shapes import User
from pacos.server.fields import Fields, option_values, text_or_tokens, with_options
from pacos.server.problem import RequestError
from pacos.server.stream import json_response
from pacos.settings.embed import EmbedOptions, InputOptions

INPUTS_MAX = 2048
_GROUPS = (EmbedOptions, InputOptions)


class EmbeddingFields(Fields):
    """A request for vectors of texts or token ids."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: User | None = None


EmbeddingRequest = with_options(EmbeddingFields, _GROUPS)


class EmbeddingUsage(msgspec.Struct):
    """Tokens that the inputs have."""

    prompt_tokens: int
    total_tokens: int


class Embedding(msgspec.Struct):
    """One vector: numbers, or the base64 of their little-endian floats."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingReply(msgspec.Struct, omit_defaults=True):
    """A vector for each input, in order; `truncated` names the inputs that were cut."""

    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    truncated: list[int] = []


async def run(call: Call[EmbeddingFields]) -> ASGIApp:
    """Turn texts into vectors."""
    body = call.body
    resident = await call.resident(body.model)
    options = option_values(body, _GROUPS)
    if options.get("dimensions") == 0:  # all of them here, an error there
        problem = "dimensions is 0"
        raise RequestError(problem, field="dimensions", code="invalid_value", hint="use 1 or more, or leave it out")
    if options.get("pooling") == "none":
        raise RequestError("pooling is none", field="pooling", code="invalid_value", hint="use mean, cls, last or rank")
    inputs = text_or_tokens(body.input, "input", most=INPUTS_MAX)
    found = await call.while_connected(call.in_thread(lambda: resident.llm.embed(inputs, **options)))
    tokens = sum(found.token_counts)
    call.count(prompt_tokens=tokens)
    written = _base64 if body.encoding_format == "base64" else _numbers
    reply = EmbeddingReply(
        "list",
        [Embedding(index, written(vector)) for index, vector in enumerate(found.vectors)],
        resident.name,
        EmbeddingUsage(tokens, tokens),
        list(found.truncated),
    )
    return json_response(call, reply)


def _numbers(vector: array[float]) -> list[float]:
    return vector.tolist()


def _base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
