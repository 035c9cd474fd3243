"""OpenAI's completions: a text goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import ASGIApp

from pacos.llm.choices import likeliest
from pacos.llm.infill import can_fill, infill_tokens
from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.openai import shapes
from pacos.server.dialects.openai.scores import text_scores
from pacos.server.dialects.openai.shapes import FINGERPRINT, Generating, Usage, new_id, now
from pacos.server.dialects.openai.wishes import TOP_SCORES_MAX
from pacos.server.fields import OWN, option_values, text_or_tokens, with_options
from pacos.server.problem import RequestError
from pacos.server.residency import Resident
from pacos.server.stream import DONE, event, json_response, server_sent_events
from pacos.settings.constraint import ConstraintOptions
from pacos.types import Completion, ContextUse, TokenScore

if TYPE_CHECKING:
    from pacos.llm import LLM

PROMPTS_MAX = 128


class CompletionFields(Generating, kw_only=True):
    """A request to go on with a text or token ids, or with several."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    suffix: str | None = None
    json_schema: dict[str, Any] | str | None = None


CompletionRequest = with_options(
    CompletionFields, (*shapes.GROUPS, ConstraintOptions), without=OWN, names={"temp": "temperature"}
)


class TextChoice(msgspec.Struct):
    """One text, or a piece of it."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    context: ContextUse | msgspec.UnsetType = msgspec.UNSET


class CompletionReply(shapes.Head, omit_defaults=True):
    """Texts, or pieces of them in a stream."""

    choices: list[TextChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    timings: dict[str, Any] | None = None
    prompt_progress: dict[str, Any] | None = None


async def run(call: Call[CompletionFields]) -> ASGIApp:
    """Go on with texts."""
    body = call.body
    resident = await call.resident(body.model)
    options = shapes.options_of_body(call, resident)
    options |= option_values(body, (ConstraintOptions,))
    choices, tried = _counts(body)
    if body.logprobs is not None or tried > choices:
        options["scores"] = body.logprobs or 0
    prompts = text_or_tokens(body.prompt, "prompt", most=PROMPTS_MAX)
    streams = []
    for prompt in prompts:
        ids = await _with_suffix(call, resident, prompt)
        streams += await answers.start(
            call, resident, resident.llm.stream_many, ids, options, size_characters=len(ids), choices=tried
        )
    said = [_said(resident, prompt) if body.echo else "" for prompt in prompts for _ in range(choices)]
    scored = body.echo and body.logprobs is not None
    if body.stream:
        asked = [stream.prompt_token_ids for stream in streams] if scored else []
        before = await _prompt_scores(call, resident, asked)
        return server_sent_events(call, _chunks(call, resident.llm, streams, said, choices, before))
    every = await answers.completions(call, streams)
    found = _best(every, choices, tried)
    prompts_said = await _prompt_scores(call, resident, [one.prompt_token_ids for one in found] if scored else [])
    reply = CompletionReply(
        *_head(call),
        [
            TextChoice(
                index,
                said[index] + one.text,
                shapes.finish_reason(one),
                None if body.logprobs is None else _scores(resident.llm, one, prompts_said[index : index + 1]),
                shapes.context_of(one),
            )
            for index, one in enumerate(found)
        ],
        _usage(every, tried),
        shapes.timings_of(found[-1].timings),
    )
    return json_response(call, reply)


async def _with_suffix(call: Call[CompletionFields], resident: Resident, prompt: str | list[int]) -> str | list[int]:
    """The prompt, or the gap between it and a suffix. Errors: RequestError for a model that fills none."""
    suffix = call.body.suffix
    if not suffix:
        return prompt
    if not can_fill(resident.llm):
        problem = "suffix needs a model with tokens that mark a gap"
        raise RequestError(problem, field="suffix", code="unsupported", hint="use a model for code completion")
    return await call.prepared(len(prompt) + len(suffix), lambda: infill_tokens(resident.llm, prompt, suffix))


def _counts(body: CompletionFields) -> tuple[int, int]:
    """How many answers are wanted of each prompt, and how many are made to choose from. Errors: RequestError."""
    choices = shapes.choices_of(body)
    if body.logprobs is not None and not 0 <= body.logprobs <= TOP_SCORES_MAX:
        problem, hint = f"logprobs is {body.logprobs}", f"use 0 to {TOP_SCORES_MAX}"
        raise RequestError(problem, field="logprobs", code="invalid_value", hint=hint)
    tried = body.best_of or choices
    if body.best_of is not None and not choices <= body.best_of <= shapes.CHOICES_MAX:
        hint = f"use n ({choices}) to {shapes.CHOICES_MAX}"
        raise RequestError(f"best_of is {body.best_of}", field="best_of", code="invalid_value", hint=hint)
    if tried > choices and body.stream:
        raise RequestError("best_of is not streamed", field="best_of", code="invalid_value", hint="drop stream")
    return choices, tried


def _best(found: list[Completion], choices: int, tried: int) -> list[Completion]:
    """Of the answers to each prompt the likeliest, by the mean of their tokens' scores; all when all are wanted."""
    if tried == choices:
        return found
    best = []
    for start in range(0, len(found), tried):
        best += likeliest(found[start : start + tried], choices)
    return best


async def _prompt_scores(
    call: Call[CompletionFields], resident: Resident, prompts: Sequence[tuple[int, ...]]
) -> list[Sequence[TokenScore | None]]:
    """Scores of each prompt; its first token has none. Errors: RequestError where the model predicts no prompt."""
    if prompts and resident.llm.engine.start_token >= 0:
        problem = "the prompt's tokens have no log-probabilities: an encoder reads them, and nothing predicts them"
        raise RequestError(problem, field="echo", code="unsupported", hint="drop echo or logprobs")
    top = call.body.logprobs or 0
    known: dict[tuple[int, ...], Sequence[TokenScore | None]] = {}
    for ids in prompts:
        if ids not in known:
            work = call.in_thread(lambda ids=ids: resident.llm.scores(ids, 0, top))  # type: ignore[misc]
            known[ids] = [None, *await call.while_connected(work)]
    return [known[ids] for ids in prompts]


def _scores(llm: LLM, one: Completion, prompt: Sequence[Sequence[TokenScore | None]]) -> dict[str, Any]:
    before = prompt[0] if prompt else ()
    tokens = [*(one.prompt_token_ids if prompt else ()), *(score.token for score in one.scores)]
    return text_scores(llm, [*before, *one.scores], tokens, 0)


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
    call: Call[CompletionFields],
    llm: LLM,
    streams: Sequence[answers.Answer],
    said: Sequence[str],
    choices: int,
    before: Sequence[Sequence[TokenScore | None]],
) -> AsyncIterator[bytes]:
    body = call.body
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    missing: Any = None if with_usage else msgspec.UNSET
    head = _head(call)
    for index, text in enumerate(said):
        if text:
            told = text_scores(llm, before[index], streams[index].prompt_token_ids, 0) if before else None
            yield event(CompletionReply(*head, [TextChoice(index, text, None, told)], missing))
    generated, cached = 0, 0
    lengths = [len(text) for text in said]
    async with aclosing(answers.events(call, streams)) as found:
        async for index, one in found:
            generated += len(one.token_ids)
            if one.finish_reason is not None and one.timings is not None and index % choices == 0:
                cached += one.timings.cached_tokens
            if one.progress is not None:
                yield event(CompletionReply(*head, [], missing, prompt_progress=shapes.progress_of(one.progress)))
            if one.text or one.scores or one.finish_reason is not None:
                told = None if body.logprobs is None else text_scores(llm, one.scores, one.token_ids, lengths[index])
                lengths[index] += len(one.text)
                piece = [TextChoice(index, one.text, shapes.finish_reason(one), told, shapes.context_of(one))]
                spent = one.timings or (streams[index].timings() if body.timings_per_token else None)
                yield event(CompletionReply(*head, piece, missing, shapes.timings_of(spent)))
    if with_usage:
        prompt = sum(len(stream.prompt_token_ids) for stream in streams[::choices])
        yield event(CompletionReply(*head, [], shapes.usage(prompt, generated, cached)))
    yield DONE
