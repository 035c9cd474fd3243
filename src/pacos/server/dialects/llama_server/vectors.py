"""llama-server's vectors of texts, and its ranks of documents."""

from __future__ import annotations

from array import array
from typing import Any, Literal

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.llama_server import shapes
from pacos.server.dialects.openai.embeddings import INPUTS_MAX
from pacos.server.fields import Fields, option_values, with_options
from pacos.server.problem import RequestError
from pacos.server.stream import json_response
from pacos.settings.embed import EmbedOptions, InputOptions

_GROUPS = (EmbedOptions, InputOptions)
NAMES = {"normalize": "embd_normalize"}


class EmbeddingFields(Fields):
    """A request for vectors: `content`, or `input`, is one prompt or a list of prompts."""

    content: Any = None
    input: Any = None
    model: str | None = None
    embd_normalize: int | None = None
    encoding_format: Literal["float"] | None = None


EmbeddingRequest = with_options(EmbeddingFields, _GROUPS, names=NAMES)


class Vectors(msgspec.Struct):
    """The vectors of one prompt: one, or without pooling one for each token."""

    index: int
    embedding: list[list[float]]


class RerankFields(Fields):
    """A request for ranks: `documents`, or `texts`, which is answered with a plain list of scores."""

    query: str
    documents: list[str] | None = None
    texts: list[str] | None = None
    top_n: int | None = None
    return_text: bool = False
    model: str | None = None


RerankRequest = with_options(RerankFields, (InputOptions,))


class Rank(msgspec.Struct):
    """The place of a document in the request, and how well it answers the query."""

    index: int
    relevance_score: float


class RankUsage(msgspec.Struct):
    """Tokens of all pairs of the query and a document."""

    prompt_tokens: int
    total_tokens: int


class RerankReply(msgspec.Struct):
    """The best documents, the best first."""

    model: str
    object: str
    usage: RankUsage
    results: list[Rank]


async def embed(call: Call[EmbeddingFields]) -> ASGIApp:
    """Turn prompts into vectors."""
    body = call.body
    if (body.content is None) == (body.input is None):
        raise RequestError("content is missing, or given beside input", field="content", code="missing_field")
    resident = await call.resident(body.model)
    field = "content" if body.input is None else "input"
    value = body.content if body.input is None else body.input
    prompts, _ = await call.in_thread(lambda: shapes.prompts_of(value, resident.llm, field=field, most=INPUTS_MAX))
    options = option_values(body, _GROUPS, NAMES)
    found = await call.while_connected(call.in_thread(lambda: resident.llm.embed(prompts, **options)))
    call.count(prompt_tokens=sum(found.token_counts))
    return json_response(call, [Vectors(index, _rows(one, found.width)) for index, one in enumerate(found.vectors)])


def _rows(vector: array[float], width: int) -> list[list[float]]:
    return [vector[start : start + width].tolist() for start in range(0, len(vector), width)]


async def rerank(call: Call[RerankFields]) -> ASGIApp:
    """Rank documents."""
    body = call.body
    if (body.documents is None) == (body.texts is None):
        raise RequestError("documents is missing, or given beside texts", field="documents", code="missing_field")
    documents = body.documents if body.documents is not None else body.texts or []
    field = "documents" if body.documents is not None else "texts"
    if not 1 <= len(documents) <= INPUTS_MAX:
        problem, hint = f"{field} has {len(documents)} entries", f"send 1 to {INPUTS_MAX}"
        raise RequestError(problem, field=field, code="invalid_value", hint=hint)
    if body.top_n is not None and body.top_n < 1:
        raise RequestError(f"top_n is {body.top_n}", field="top_n", code="invalid_value", hint="use 1 or more")
    resident = await call.resident(body.model)
    options = option_values(body, (InputOptions,))
    found = await call.while_connected(call.in_thread(lambda: resident.llm.rerank(body.query, documents, **options)))
    tokens = sum(found.token_counts)
    call.count(prompt_tokens=tokens)
    places = found.best(body.top_n)
    if body.texts is not None:
        text = [{"text": documents[place]} if body.return_text else {} for place in places]
        scored = zip(places, text, strict=True)
        return json_response(call, [{"index": place, "score": found.scores[place], **more} for place, more in scored])
    ranks = [Rank(place, found.scores[place]) for place in places]
    return json_response(call, RerankReply(resident.name, "list", RankUsage(tokens, tokens), ranks))
