"""Parts that OpenAI's operations share: errors, usage, options that all take, ids."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any

import msgspec

from pacos import __version__
from pacos.server.adapters import Adapter, scales_of
from pacos.server.call import Call
from pacos.server.fields import Fields, option_values
from pacos.server.problem import Problem, RequestError
from pacos.server.residency import Resident
from pacos.settings import GenerateOptions, QueueOptions, SamplingOptions
from pacos.types import Completion, ContextUse, Event, PromptProgress, Timings

FINGERPRINT = f"pacos-{__version__}"
NAMES = {"temp": "temperature", "n_predict": "max_tokens", "stop_ids": "stop"}
GROUPS = (SamplingOptions, GenerateOptions, QueueOptions)
CHOICES_MAX = 16
User = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[Annotated[str, msgspec.Meta(max_length=64)], User], msgspec.Meta(max_length=16)]

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def render(problem: Problem) -> dict[str, Any]:
    """A problem as OpenAI's errors look."""
    kind = _TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error")
    return {"error": {"message": problem.message, "type": kind, "param": problem.field, "code": problem.code}}


class StreamOptions(Fields):
    """What a stream brings beside its pieces."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Generating(Fields):
    """Fields of chat completions and completions.

    `n_keep`, `n_discard`, `n_cmpl`, `lora` and `id_slot` are llama-server's. What tells who asks or how often
    (`user`, `safety_identifier`, `prompt_cache_key`, `metadata`) changes no answer.
    """

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str | list[int]] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    n_predict: int | None = None
    logit_bias: dict[str, float] | list[tuple[int, float]] | None = None
    user: User | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    store: bool | None = None
    timings_per_token: bool | None = None
    return_progress: bool | None = None
    sse_ping_interval: int | None = None
    id_slot: int | None = None
    n_cmpl: int | None = None
    n_keep: int | None = None
    n_discard: int | None = None
    lora: list[Adapter] | None = None
    safety_identifier: User | None = None
    prompt_cache_key: User | None = None


class PromptDetails(msgspec.Struct):
    """Of the prompt's tokens, those that were not computed anew."""

    cached_tokens: int = 0


class Usage(msgspec.Struct):
    """Tokens that a request cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Head(msgspec.Struct):
    """What every piece of a stream begins with."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str


class InputTokens(msgspec.Struct):
    """How many tokens a request's prompt has."""

    input_tokens: int
    object: str = "response.input_tokens"


def usage(prompt_tokens: int, generated_tokens: int, cached_tokens: int) -> Usage:
    """The tokens of a request, summed."""
    total = prompt_tokens + generated_tokens
    return Usage(prompt_tokens, generated_tokens, total, PromptDetails(cached_tokens))


def timings_of(timings: Timings | None) -> dict[str, Any] | None:
    """What an answer cost, in llama-server's names. Units: tokens, milliseconds, tokens per second."""
    if timings is None:
        return None
    prompt, generated = timings.prompt_tokens - timings.cached_tokens, timings.generated_tokens
    prompt_ms, generate_ms = timings.prompt_seconds * 1000, timings.generate_seconds * 1000
    return {
        "cache_n": timings.cached_tokens,
        "prompt_n": prompt,
        "prompt_ms": round(prompt_ms, 3),
        "prompt_per_token_ms": round(prompt_ms / prompt, 3) if prompt else 0.0,
        "prompt_per_second": round(timings.prompt_rate, 3),
        "predicted_n": generated,
        "predicted_ms": round(generate_ms, 3),
        "predicted_per_token_ms": round(generate_ms / generated, 3) if generated else 0.0,
        "predicted_per_second": round(timings.generate_rate, 3),
    }


def progress_of(progress: PromptProgress) -> dict[str, Any]:
    """How far a prompt is computed, in llama-server's names."""
    return {
        "total": progress.total_tokens,
        "cache": progress.cached_tokens,
        "processed": progress.computed_tokens,
        "time_ms": round(progress.seconds * 1000),
    }


def context_of(one: Event | Completion) -> ContextUse | msgspec.UnsetType:
    """What was left out because the context is too small; nothing when all of it had room."""
    use = one.context
    return use if use is not None and (use.cut_tokens or use.shifts) else msgspec.UNSET


def new_id(kind: str) -> str:
    """An id such as chatcmpl-..."""
    return f"{kind}-{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def not_yet(name: str) -> RequestError:
    """The refusal of a field whose meaning is not there yet."""
    return RequestError(f"{name} is not supported yet", field=name, code="unsupported", hint="leave it out")


def finish_reason(one: Event | Completion) -> str | None:
    """Why an answer ended, in OpenAI's words."""
    return "length" if one.finish_reason == "deadline" else one.finish_reason


def choices_of(body: Generating) -> int:
    """How many answers are wanted. Errors: RequestError."""
    n = the_same(body, "n", "n_cmpl") or (1 if body.n is None else body.n)
    if not 1 <= n <= CHOICES_MAX:
        raise RequestError(f"n is {n}", field="n", code="invalid_value", hint=f"use 1 to {CHOICES_MAX}")
    return n


def options_of_body(call: Call[Any], resident: Resident) -> dict[str, Any]:
    """The options that a request gives, under our names.

    Errors: RequestError for fields that contradict each other or mean what is not there.
    """
    body = call.body
    _check_service(body)
    call.ping(body.sse_ping_interval)
    values = option_values(body, GROUPS, {"temp": "temperature"})
    if body.return_progress and body.stream:  # only a stream can tell
        values["return_progress"] = True
    else:
        values.pop("return_progress", None)
    for ours, theirs in (("keep", "n_keep"), ("discard", "n_discard")):
        if (value := the_same(body, ours, theirs)) is not None:
            values[ours] = value
    if body.lora is not None:
        values["lora_scales"] = scales_of(body.lora, resident.llm)
    limit = _limit(body)
    if limit is not None:
        values["n_predict"] = limit
    values.pop("stop", None)
    values |= _stops(body.stop, values.get("stop_ids") or (), resident)
    if isinstance(body.logit_bias, dict):
        values["logit_bias"] = _biases(body.logit_bias)
    return values


def _check_service(body: Generating) -> None:
    if body.service_tier not in (None, "auto", "default"):
        problem = f"service_tier is {body.service_tier[:40]!a}"
        raise RequestError(problem, field="service_tier", code="invalid_value", hint="use auto or default")
    if body.store:
        raise not_yet("store")
    if body.stream_options is not None and not body.stream:
        problem = "stream_options is given without stream"
        raise RequestError(problem, field="stream_options", code="invalid_value", hint="set stream to true")


def _limit(body: Generating) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = getattr(body, name, None)
        if value is not None and value < 0:
            raise RequestError(f"{name} is {value}", field=name, code="invalid_value", hint="use 0 or more")
    return the_same(body, "max_completion_tokens", "max_tokens", "n_predict")


def the_same(body: Any, *names: str) -> int | None:
    """What fields that mean the same say; None where there is none. Errors: RequestError where they differ."""
    given = {name: value for name in names if (value := getattr(body, name, None)) is not None}
    if len(set(given.values())) > 1:
        problem = f"{' and '.join(given)} differ"
        raise RequestError(problem, field=next(iter(given)), code="invalid_value", hint="give one of them")
    return next(iter(given.values()), None)


def _stops(stop: str | list[str | list[int]] | None, stop_ids: Any, resident: Resident) -> dict[str, Any]:
    """Stop strings and ids: an array of one token is an id, one of several is the text that they make."""
    if stop is None:
        return {}
    texts, ids = [], list(stop_ids)
    for one in [stop] if isinstance(stop, str) else stop:
        if isinstance(one, str):
            texts.append(one)
        elif len(one) == 1:
            ids.append(one[0])
        else:
            texts.append(resident.llm.detokenize(one, special=True))
    return {"stop": texts, **({"stop_ids": ids} if ids else {})}


def _biases(given: dict[str, float]) -> list[tuple[int, float]]:
    pairs = []
    for token, bias in given.items():
        if not token.isascii() or not token.isdecimal():
            problem = f"logit_bias has the key {token[:40]!a}"
            raise RequestError(problem, field="logit_bias", code="invalid_value", hint="use token ids as keys")
        pairs.append((int(token), bias))
    return pairs
