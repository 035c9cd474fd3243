"""OpenAI's completions: a text goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.openai import shapes
from pacos.server.dialects.openai.shapes import FINGERPRINT, Generating, Usage, new_id, now
from pacos.server.fields import text_or_tokens, with_options
from pacos.server.residency import Resident
from pacos.server.stream import DONE, event, json_bytes, server_sent_events
from pacos.types import Completion

PROMPTS_MAX = 128


class CompletionFields(Generating, kw_only=True):
    """A request to go on with a text or token ids, or with several."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    suffix: str | None = None


CompletionRequest = with_options(CompletionFields, shapes.GROUPS, without=shapes.HIDDEN, names={"temp": "temperature"})


class TextChoice(msgspec.Struct):
    """One text, or a piece of it."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class CompletionReply(msgspec.Struct, omit_defaults=True):
    """Texts, or pieces of them in a stream."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    timings: dict[str, Any] | None = None


async def run(call: Call[CompletionFields]) -> ASGIApp:
    """Go on with texts."""
    body = call.body
    resident = await call.resident(body.model)
    options = shapes.options_of_body(body, resident)
    for name in ("logprobs", "suffix"):
        if getattr(body, name) is not None:
            raise shapes.not_yet(name)
    choices = shapes.choices_of(body)
    if body.best_of not in (None, choices):
        raise shapes.not_yet("best_of other than n")
    prompts = text_or_tokens(body.prompt, "prompt", most=PROMPTS_MAX)
    streams = []
    for prompt in prompts:
        streams += await answers.start(
            call, resident, resident.llm.stream, prompt, options, size_characters=len(prompt), choices=choices
        )
    said = [_said(resident, prompt) if body.echo else "" for prompt in prompts for _ in range(choices)]
    if body.stream:
        return server_sent_events(call, _chunks(call, streams, said, choices))
    found = await answers.completions(call, streams)
    reply = CompletionReply(
        *_head(call),
        [TextChoice(i, said[i] + one.text, shapes.finish_reason(one)) for i, one in enumerate(found)],
        _usage(found, choices),
        shapes.timings_of(found[-1].timings),
    )
    return Response(json_bytes(reply), headers=call.headers, media_type="application/json")


def _said(resident: Resident, prompt: str | list[int]) -> str:
    return prompt if isinstance(prompt, str) else resident.llm.detokenize(prompt, special=True)


def _head(call: Call[Any]) -> tuple[str, str, int, str, str]:
    return (new_id("cmpl"), "text_completion", now(), call.model_name, FINGERPRINT)


def _usage(found: Sequence[Completion], choices: int) -> Usage:
    firsts = found[::choices]  # a prompt is counted once, whatever the number of its answers
    prompt = sum(len(one.prompt_token_ids) for one in firsts)
    cached = sum(one.timings.cached_tokens for one in firsts)
    return shapes.usage(prompt, sum(len(one.token_ids) for one in found), cached)


async def _chunks(
    call: Call[CompletionFields], streams: Sequence[answers.Answer], said: Sequence[str], choices: int
) -> AsyncIterator[bytes]:
    body = call.body
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    missing: Any = None if with_usage else msgspec.UNSET
    head = _head(call)
    for index, text in enumerate(said):
        if text:
            yield event(CompletionReply(*head, [TextChoice(index, text)], missing))
    generated, cached = 0, 0
    async with aclosing(answers.events(call, streams)) as found:
        async for index, one in found:
            generated += len(one.token_ids)
            if one.finish_reason is not None and one.timings is not None and index % choices == 0:
                cached += one.timings.cached_tokens
            if one.text or one.finish_reason is not None:
                piece = [TextChoice(index, one.text, shapes.finish_reason(one))]
                yield event(CompletionReply(*head, piece, missing, shapes.timings_of(one.timings)))
    if with_usage:
        prompt = sum(len(stream.prompt_token_ids) for stream in streams[::choices])
        yield event(CompletionReply(*head, [], shapes.usage(prompt, generated, cached)))
    yield DONE
