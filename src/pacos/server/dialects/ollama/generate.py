"""Ollama's generate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.ollama import answering, shapes
from pacos.server.dialects.ollama.shapes import Costs, Generating
from pacos.server.problem import RequestError
from pacos.server.residency import Resident
from pacos.types import Completion, Event


class GenerateRequest(Generating, kw_only=True):
    """A request for a continuation: of a prompt in the model's chat form, or with `raw` of the text itself."""

    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: Sequence[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class GenerateReply(Costs, kw_only=True):
    """A continuation, or a piece of it."""

    response: str
    thinking: str | None = None


async def run(call: Call[GenerateRequest]) -> ASGIApp:
    """Continue a prompt."""
    body, began = call.body, time.monotonic()
    for name in ("suffix", "template", "context", "images"):
        if getattr(body, name):
            raise RequestError(f"{name} is not supported", field=name, code="unsupported", hint="leave it out")
    if not body.prompt:
        return await answering.only_open(call, _rendered, began)
    resident = await shapes.open_model(call)
    load_seconds = time.monotonic() - began
    begin, prompt = _beginning(body, resident)
    (stream,) = await answers.start(
        call,
        resident,
        begin,
        prompt,
        shapes.run_options(body, resident),
        size_characters=len(body.prompt) + len(body.system or ""),
    )
    return await answering.reply(call, resident.llm, stream, _rendered, began=began, load_seconds=load_seconds)


def _beginning(body: GenerateRequest, resident: Resident) -> tuple[Any, Any]:
    if body.raw or not resident.llm.has_chat_template:
        if body.system:
            problem = "system needs a chat template"
            raise RequestError(problem, field="system", code="invalid_value", hint="leave out system, or raw")
        if body.think is not None:
            problem = "think needs a chat template"
            raise RequestError(problem, field="think", code="invalid_value", hint="leave out think, or raw")
        return resident.llm.stream_many, body.prompt
    system = [{"role": "system", "content": body.system}] if body.system else []
    return resident.llm.stream_chat_many, [*system, {"role": "user", "content": body.prompt}]


def _rendered(one: Event | Completion, fields: dict[str, Any]) -> GenerateReply:
    return GenerateReply(response=one.text, thinking=one.reasoning or None, **fields)
