"""How an answer of Ollama's becomes lines of JSON, or one object."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.ollama import shapes
from pacos.server.dialects.openai.scores import token_scores
from pacos.server.stream import json_lines, json_response, line
from pacos.types import Completion, Event

if TYPE_CHECKING:
    from pacos.llm import LLM

# Makes a reply of an event, or of a whole answer, and the fields of `Costs`.
Render = Callable[[Event | Completion, dict[str, Any]], Any]


async def reply(
    call: Call[Any], llm: LLM, stream: answers.Answer, render: Render, *, began: float, load_seconds: float
) -> ASGIApp:
    """Answer with lines, unless the request wants one object. `began` is the request's start, monotonic."""
    head = {"model": call.body.model}

    def rendered(one: Event | Completion, **fields: Any) -> Any:
        scores = token_scores(llm, one.scores) or None
        return render(one, {**head, "created_at": shapes.now(), "logprobs": scores, **fields})

    if call.body.stream is not False:
        return json_lines(call, _lines(call, stream, rendered, began, load_seconds))
    (found,) = await answers.completions(call, [stream])
    spent = shapes.costs(found.timings, time.monotonic() - began, load_seconds)
    last = {"done": True, "done_reason": shapes.done_reason(found.finish_reason), **spent}
    return json_response(call, rendered(found, **last))


async def _lines(
    call: Call[Any], stream: answers.Answer, rendered: Callable[..., Any], began: float, load_seconds: float
) -> AsyncIterator[bytes]:
    async with aclosing(answers.events(call, [stream])) as found:
        async for _, one in found:
            if one.text or one.reasoning or one.tool_calls or one.scores:
                yield line(rendered(one, done=False))
            if one.finish_reason is not None:
                spent = shapes.costs(one.timings, time.monotonic() - began, load_seconds)
                last = {"done": True, "done_reason": shapes.done_reason(one.finish_reason), **spent}
                yield line(rendered(Event(""), **last))


async def only_open(call: Call[Any], render: Render, began: float) -> ASGIApp:
    """Answer a request without a prompt: it opens the model, or with a keep_alive of 0 lets it go."""
    await shapes.open_model(call, opens=True)
    keep = call.body.keep_alive
    unload = keep is not None and shapes.keep_alive_seconds(keep) == 0
    spent = {"total_duration": round((time.monotonic() - began) * 1e9)}
    fields = {"done": True, "done_reason": "unload" if unload else "load", **spent}
    value = render(Event(""), {"model": call.body.model, "created_at": shapes.now(), **fields})
    return json_response(call, value)
