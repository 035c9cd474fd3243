"""Answer a request for a response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.openai.scores import token_scores
from pacos.server.dialects.openai.shapes import InputTokens
from pacos.server.dialects.responses import reply
from pacos.server.dialects.responses.keeping import Keeper
from pacos.server.dialects.responses.reply import Response, StreamEvent
from pacos.server.dialects.responses.request import (
    ResponsesFields,
    chat_messages,
    chat_options,
    items_of,
    read_items,
)
from pacos.server.dialects.responses.streamed import Items
from pacos.server.problem import RequestError
from pacos.server.stream import event, json_response, server_sent_events


async def run(call: Call[ResponsesFields]) -> ASGIApp:
    """Answer an input, and what came before it."""
    body = call.body
    resident = await call.resident(body.model)
    inputs, messages = await _messages(call)
    (stream,) = await answers.start(
        call,
        resident,
        resident.llm.stream_chat_many,
        messages,
        chat_options(body),
        size_characters=sum(len(str(message)) for message in messages),
    )
    response = reply.begun(body, resident.name)
    if body.stream:
        return server_sent_events(call, _pieces(call, stream, response, inputs, Items(resident.llm)), _error)
    (found,) = await answers.completions(call, [stream])
    counts = (len(found.prompt_token_ids), len(found.token_ids))
    reply.finish(
        response,
        reply.outputs(found, token_scores(resident.llm, found.scores)),
        found.finish_reason,
        counts,
        found.timings,
    )
    await _keep(call, response, inputs)
    return json_response(call, response)


async def count(call: Call[ResponsesFields]) -> ASGIApp:
    """Count the tokens of an input, and of what came before it."""
    resident = await call.resident(call.body.model)
    counted = await answers.prompt_tokens(call, resident, (await _messages(call))[1], chat_options(call.body))
    return json_response(call, InputTokens(counted))


async def _messages(call: Call[ResponsesFields]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All items up to this input, and the same as chat templates take them. Errors: RequestError for no input."""
    body = call.body
    inputs = [*await _before(call), *({**one, "id": one.get("id") or reply.new_id("item")} for one in _items(body))]
    messages = chat_messages(body.instructions, read_items(inputs))
    if not messages:
        raise RequestError("input is empty", field="input", code="invalid_value", hint="give a text or items")
    return inputs, messages


def _items(body: ResponsesFields) -> list[dict[str, Any]]:
    found = items_of(body.input)
    for index, one in enumerate(found):
        if not isinstance(one, dict):
            raise RequestError(f"input[{index}] is no object", field=f"input[{index}]", code="invalid_type")
    return found


async def _before(call: Call[ResponsesFields]) -> list[dict[str, Any]]:
    """What an earlier response answered, and what it said. Its instructions are not carried over."""
    name = call.body.previous_response_id
    if name is None:
        return []
    kept = await Keeper.of(call).find(name, call.owner, "previous_response_id")
    return [*kept.inputs, *msgspec.to_builtins(kept.response.output)]


async def _keep(call: Call[ResponsesFields], response: Response, inputs: list[dict[str, Any]]) -> None:
    if call.body.store is not False:
        await Keeper.of(call).keep(response, inputs, call.owner)


def _error(rendered: Any) -> bytes:
    return event({"type": "error", **rendered["error"]}, "error")


async def _pieces(
    call: Call[ResponsesFields],
    stream: answers.Answer,
    response: Response,
    inputs: list[dict[str, Any]],
    items: Items,
) -> AsyncIterator[bytes]:
    number, generated = -1, 0

    def framed(one: StreamEvent) -> bytes:
        nonlocal number
        number += 1
        one.sequence_number = number
        return event(one, one.type)

    yield framed(StreamEvent("response.created", response=response))
    yield framed(StreamEvent("response.in_progress", response=response))
    async with aclosing(answers.events(call, [stream])) as found:
        async for _, one in found:
            generated += len(one.token_ids)
            for piece in items.pieces(one):
                yield framed(piece)
            if one.finish_reason is not None:
                for piece in items.end():
                    yield framed(piece)
                counts = (len(stream.prompt_token_ids), generated)
                reply.finish(response, items.done, one.finish_reason, counts, one.timings)
    await _keep(call, response, inputs)
    yield framed(StreamEvent(f"response.{response.status}", response=response))
