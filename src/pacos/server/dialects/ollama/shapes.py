"""Parts that Ollama's operations share: errors, options, durations, the costs at an answer's end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from pacos.errors import UsageError
from pacos.hub.presets import named_by
from pacos.server.call import Call
from pacos.server.dialects.openai.wishes import TOP_SCORES_MAX
from pacos.server.fields import OWN, Fields, option_values, with_options
from pacos.server.problem import Problem, RequestError
from pacos.server.residency import Resident
from pacos.settings import GenerateOptions, SamplingOptions
from pacos.types import Timings

GROUPS = (SamplingOptions, GenerateOptions)
NAMES = {"temp": "temperature", "n_predict": "num_predict", "keep": "num_keep"}  # our options' names here

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_TEMPLATE_CHARACTERS_MAX = 1 << 16
_WITHOUT_END = -2  # num_predict: until the context is full


def render(problem: Problem) -> dict[str, Any]:
    """A problem as Ollama's errors look."""
    return {"error": problem.message}


class RunOptions(Fields):
    """How to generate, in Ollama's names.

    What says how a model is opened was decided when the server opened it: `num_gpu` to `use_mlock` change nothing,
    and `num_ctx` is refused where it asks for more than there is.
    """

    temperature: float | None = None
    num_predict: int | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    stop: str | list[str] | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_batch: int | None = None
    num_thread: int | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None


Options = with_options(RunOptions, GROUPS, without=OWN, names=NAMES)


class Generating(Fields):
    """Fields of generate and chat.

    `truncate` says whether a prompt that is too long is cut, `shift` whether an answer goes on in a full context, for
    which older text is left out; without both it is as the server was started.
    """

    model: str
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: Options | None = None  # type: ignore[valid-type]  # made of the option groups
    keep_alive: float | str | None = None
    template: str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Costs(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What every reply says of itself; the costs come with the last one. Units: nanoseconds."""

    model: str
    created_at: str
    done: bool | msgspec.UnsetType = msgspec.UNSET
    logprobs: list[dict[str, Any]] | None = None
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


def now() -> str:
    """The time as replies give it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def costs(timings: Timings | None, total_seconds: float, load_seconds: float) -> dict[str, int]:
    """The fields of `Costs` at the end of an answer."""
    spent = timings or Timings()
    seconds = {
        "total_duration": total_seconds,
        "load_duration": load_seconds,
        "prompt_eval_duration": spent.prompt_seconds,
        "eval_duration": spent.generate_seconds,
    }
    counts = {"prompt_eval_count": spent.prompt_tokens, "eval_count": spent.generated_tokens}
    return {**counts, **{name: round(value * 1e9) for name, value in seconds.items()}}


def done_reason(finish_reason: str) -> str:
    """Why an answer ended, in Ollama's words."""
    return "length" if finish_reason == "length" else "stop"


def without_pictures(field: str) -> RequestError:
    """The refusal of pictures in a field."""
    hint = "no model sees pictures here yet; send text alone"
    return RequestError(f"{field}: pictures are not supported", field=field, code="unsupported", hint=hint)


def model_name(name: str) -> str:
    """A model's name without the tag that everything has."""
    return name.removesuffix(":latest")


async def open_model(call: Call[Any], *, opens: bool = False) -> Resident:
    """The request's model, kept open as long as it says.

    Errors: RequestError for a duration that is none; as `Call.resident`.
    """
    body = call.body
    seconds = None if body.keep_alive is None else keep_alive_seconds(body.keep_alive)
    return await call.resident(model_name(body.model), keep_alive_seconds=seconds, opens=opens)


def keep_alive_seconds(value: float | str) -> float:
    """Seconds that a number, or a text such as "5m" or "1h30m", means; below 0 is for ever. Errors: RequestError."""
    if not isinstance(value, str):
        return float(value)
    text = value.strip()
    digits = text.removeprefix("-")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", digits):
        seconds = float(digits)
    elif _DURATION.sub("", digits) == "" and digits:
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(digits))
    else:
        hint = 'use seconds, or a duration such as "5m"'
        raise RequestError(f"keep_alive is {value[:40]!a}", field="keep_alive", code="invalid_value", hint=hint)
    return -seconds if text != digits else seconds


def run_options(body: Generating, resident: Resident) -> dict[str, Any]:
    """Our options of a request. Errors: RequestError for a context that is larger than the model's here."""
    given = cast("Any", body.options)
    if given is None:
        given = Options()
    if given.num_ctx is not None and not 1 <= given.num_ctx <= resident.llm.context_tokens:
        problem = f"num_ctx is {given.num_ctx}, the model is served with {resident.llm.context_tokens}"
        hint = "ask for less, or start the server with --ctx-size"
        raise RequestError(problem, field="options.num_ctx", code="invalid_value", hint=hint)
    found = option_values(given, GROUPS, NAMES)
    if found.get("n_predict") == _WITHOUT_END:
        found["n_predict"] = -1
    wishes = (_format(body.format), _think(body.think), _scores(body), _template(body.template), _policy(body))
    return {**found, **{name: value for wish in wishes for name, value in wish.items()}}


def _policy(body: Generating) -> dict[str, str]:
    if body.shift and body.truncate is False:
        problem = "shift is true and truncate false"
        raise RequestError(problem, field="shift", code="invalid_value", hint="what shifts cuts long prompts too")
    if body.shift or body.truncate:
        return {"context_policy": "shift" if body.shift else "truncate"}
    return {"context_policy": "error"} if False in (body.shift, body.truncate) else {}


def _template(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    if len(text) > _TEMPLATE_CHARACTERS_MAX:
        hint = f"use at most {_TEMPLATE_CHARACTERS_MAX}"
        raise RequestError(f"template has {len(text)} characters", field="template", code="invalid_value", hint=hint)
    try:
        return {"chat_template": named_by(text)}
    except UsageError as error:
        raise RequestError(error.message, field="template", code="invalid_value", hint=error.hint) from None


def _scores(body: Generating) -> dict[str, int]:
    top = body.top_logprobs
    if top is not None and not body.logprobs:
        problem = "top_logprobs is given without logprobs"
        raise RequestError(problem, field="top_logprobs", code="invalid_value", hint="set logprobs to true")
    if top is not None and not 0 <= top <= TOP_SCORES_MAX:
        hint = f"use 0 to {TOP_SCORES_MAX}"
        raise RequestError(f"top_logprobs is {top}", field="top_logprobs", code="invalid_value", hint=hint)
    return {"scores": top or 0} if body.logprobs else {}


def _format(wanted: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if not wanted:
        return {}
    if isinstance(wanted, str) and wanted != "json":
        hint = "use json, or a JSON schema"
        raise RequestError(f"format is {wanted[:40]!a}", field="format", code="invalid_value", hint=hint)
    return {"json_schema": {"type": "object"} if wanted == "json" else wanted}


def _think(wanted: bool | str | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    if isinstance(wanted, str) and wanted not in ("low", "medium", "high", "max"):
        hint = "use true, false, low, medium or high"
        raise RequestError(f"think is {wanted[:40]!a}", field="think", code="invalid_value", hint=hint)
    effort = {"reasoning_effort": wanted} if isinstance(wanted, str) else {}
    return {"reasoning": "on" if wanted else "off", **({"template_options": effort} if effort else {})}
