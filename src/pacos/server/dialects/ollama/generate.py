"""Ollama's generate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from pacos.llm.infill import can_fill, infill_tokens
from pacos.llm.prompt import behind
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
    context: Sequence[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class GenerateReply(Costs, kw_only=True):
    """A continuation, or a piece of it."""

    response: str
    thinking: str | None = None
    context: list[int] | None = None


async def run(call: Call[GenerateRequest]) -> ASGIApp:
    """Continue a prompt."""
    body, began = call.body, time.monotonic()
    if body.images:
        raise shapes.without_pictures("images")
    if not body.prompt:
        return await answering.only_open(call, _rendered, began)
    resident = await shapes.open_model(call)
    load_seconds = time.monotonic() - began
    options = shapes.run_options(body, resident)
    begin, prompt, before = _beginning(body, resident)
    (stream,) = await answers.start(
        call,
        resident,
        begin,
        prompt,
        {**options, "before": before} if before else options,
        size_characters=len(body.prompt) + len(body.system or ""),
    )
    rendered = _rendered if body.raw or body.suffix else partial(_with_context, stream)
    return await answering.reply(call, resident.llm, stream, rendered, began=began, load_seconds=load_seconds)


def _beginning(body: GenerateRequest, resident: Resident) -> tuple[Any, Any, list[int]]:
    """What begins the answer, with which prompt, and the token ids before it. Errors: RequestError."""
    llm, before = resident.llm, list(body.context or ())
    if not body.raw and not body.suffix and (llm.has_chat_template or body.template):
        system = [{"role": "system", "content": body.system}] if body.system else []
        return llm.stream_chat_many, [*system, {"role": "user", "content": body.prompt}], before
    reason = "raw" if body.raw else "suffix" if body.suffix else "a model that has none"
    for name in ("system", "template", "think"):
        if getattr(body, name) is not None:
            problem = f"{name} is for prompts in a chat template, and has no effect with {reason}"
            raise RequestError(problem, field=name, code="invalid_value", hint=f"leave out {name}")
    if body.suffix:
        if before or not can_fill(llm):
            problem = "suffix needs a model with tokens that mark a gap, and goes without context"
            raise RequestError(problem, field="suffix", code="unsupported", hint="use a model for code completion")
        return llm.stream_many, infill_tokens(llm, body.prompt, body.suffix), []
    return llm.stream_many, behind(llm, before, body.prompt), []


def _rendered(one: Event | Completion, fields: dict[str, Any]) -> GenerateReply:
    return GenerateReply(response=one.text, thinking=one.reasoning or None, **fields)


def _with_context(stream: answers.Answer, one: Event | Completion, fields: dict[str, Any]) -> GenerateReply:
    """A reply whose last piece has all tokens, for a request that goes on from here."""
    found = _rendered(one, fields)
    if found.done is True:
        found.context = list(stream.token_ids)
    return found
