"""Parts that llama-server's operations share: errors, options, prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pacos.llm import LLM
from pacos.llm.choices import CHOICES_MAX
from pacos.server.adapters import Adapter, scales_of
from pacos.server.fields import Fields, option_values
from pacos.server.problem import Problem, RequestError
from pacos.settings import GenerateOptions, SamplingOptions, options_of
from pacos.settings.constraint import ConstraintOptions

GROUPS = (SamplingOptions, GenerateOptions, ConstraintOptions)
NAMES = {
    **{"temp": "temperature", "scores": "n_probs", "post_sampling_scores": "post_sampling_probs"},
    **{"keep": "n_keep", "discard": "n_discard"},
}
PROMPTS_MAX = 256

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


def render(problem: Problem) -> dict[str, Any]:
    """A problem as llama-server's errors look."""
    kind = _TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error")
    if problem.code == "context_length_exceeded":
        kind = "exceed_context_size_error"
    return {"error": {"code": problem.status, "message": problem.message, "type": kind}}


class Generating(Fields):
    """Fields of completion and infill.

    Slots are names: every sequence finds the pages that its prompt shares with any other, so `n_cache_reuse` changes
    nothing.
    """

    model: str | None = None
    stream: bool | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    logit_bias: list[Any] | dict[str, float | bool] | None = None
    json_schema: dict[str, Any] | str | None = None
    n_probs: int | None = None
    post_sampling_probs: bool | None = None
    t_max_predict_ms: int | None = None
    return_tokens: bool | None = None
    timings_per_token: bool | None = None
    response_fields: list[str] | None = None
    id_slot: int | None = None
    n_cache_reuse: int | None = None
    n_keep: int | None = None
    n_discard: int | None = None
    return_progress: bool | None = None
    sse_ping_interval: int | None = None
    lora: list[Adapter] | None = None


def run_options(body: Generating, llm: LLM) -> dict[str, Any]:
    """Our options of a request.

    Errors: RequestError for fields that contradict each other or mean what is not there.
    """
    found = option_values(body, GROUPS, NAMES)
    if body.lora is not None:
        found["lora_scales"] = scales_of(body.lora, llm)
    if body.n_probs is not None and body.n_probs < 0:
        raise RequestError(f"n_probs is {body.n_probs}", field="n_probs", code="invalid_value", hint="use 0 or more")
    if not found.get("scores"):
        found.pop("scores", None)  # 0 is off here
        found.pop("post_sampling_scores", None)
    if not body.stream:
        found.pop("return_progress", None)  # only a stream can tell
    if body.t_max_predict_ms is not None:
        found["t_max_predict_ms"] = max(0, body.t_max_predict_ms)  # -1 is off there
    if body.max_tokens is not None and found.setdefault("n_predict", body.max_tokens) != body.max_tokens:
        problem = f"max_tokens is {body.max_tokens} and n_predict {found['n_predict']}"
        raise RequestError(problem, field="max_tokens", code="invalid_value", hint="give one of them")
    if body.logit_bias is not None:
        found["logit_bias"] = _biases(body.logit_bias, llm)
    return found


def _biases(given: list[Any] | dict[str, float | bool], llm: LLM) -> list[tuple[int, float]]:
    """Pairs of token id and bias; a text stands for each of its tokens, false for never."""
    found: list[tuple[int, float]] = []
    entries: list[Any] = given if isinstance(given, list) else [list(pair) for pair in given.items()]
    for entry in entries:
        fits = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], (int, str))
        if not fits or entry[1] is True or not isinstance(entry[1], (int, float)):
            problem = f"logit_bias has the entry {entry!a:.60}"
            hint = "use pairs of a token id or text, and a number or false"
            raise RequestError(problem, field="logit_bias", code="invalid_value", hint=hint)
        bias = float("-inf") if entry[1] is False else float(entry[1])
        found += [(token, bias) for token in _tokens_of(entry[0], llm, keys=isinstance(given, dict))]
    return found


def _tokens_of(named: int | str, llm: LLM, *, keys: bool) -> list[int]:
    """The tokens that an id or a text names; the keys of an object are ids where they are numbers."""
    if isinstance(named, str) and not (keys and named.isascii() and named.isdecimal()):
        return llm.tokenize(named, add_special=False)
    return [int(named)]


def prompts_of(value: Any, llm: LLM, *, field: str = "prompt", most: int = PROMPTS_MAX) -> tuple[list[list[int]], bool]:
    """The token ids of each prompt, and whether there may be several.

    A list that holds a number is one prompt of ids and texts mixed. Errors: RequestError naming the field.
    """
    if isinstance(value, list) and not any(_is_id(one) for one in value):
        if not 0 < len(value) <= most:
            hint = f"give 1 to {most}"
            raise RequestError(f"{field} has {len(value)} prompts", field=field, code="invalid_value", hint=hint)
        return [_one_prompt(one, llm, field) for one in value], True
    return [_one_prompt(value, llm, field)], False


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_prompt(value: Any, llm: LLM, field: str) -> list[int]:
    if isinstance(value, dict) and set(value) <= {"prompt_string", "multimodal_data"} and "prompt_string" in value:
        if value.get("multimodal_data"):
            problem = f"{field}.multimodal_data is not supported"
            raise RequestError(problem, field=f"{field}.multimodal_data", status=501, code="unsupported")
        value = value["prompt_string"]
    if isinstance(value, str):
        return llm.tokenize(value, parse_special=True)
    if not isinstance(value, list) or not all(_is_id(one) or isinstance(one, str) for one in value):
        hint = "use a text, or a list of token ids and texts"
        raise RequestError(f"{field} is {value!a:.60}", field=field, code="invalid_type", hint=hint)
    ids: list[int] = []
    for place, one in enumerate(value):
        ids += llm.tokenize(one, add_special=place == 0, parse_special=True) if isinstance(one, str) else [one]
    return ids


def generation_settings(options: dict[str, Any], llm: LLM, model: str) -> dict[str, Any]:
    """Every option in use, in llama-server's names."""
    found: dict[str, Any] = {}
    for group in GROUPS:
        for one in options_of(group):
            value = options.get(one.name, one.default)
            found[NAMES.get(one.name, one.name)] = list(value) if isinstance(value, tuple) else value
    found["n_probs"] = max(0, found["n_probs"])
    return {**found, "max_tokens": found["n_predict"], "n_ctx": llm.context_tokens, "model": model}


def chosen(result: dict[str, Any], fields: Sequence[str] | None) -> dict[str, Any]:
    """The fields of a result that are wanted; one named with slashes comes up from within, under its last name."""
    if not fields:
        return result
    found = {}
    for name in fields:
        value: Any = result
        for step in name.split("/"):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            found[name.rpartition("/")[2]] = value
    return found


def choices_of(wanted: int | None) -> int:
    """How many completions of each prompt. Errors: RequestError."""
    if wanted is not None and not 1 <= wanted <= CHOICES_MAX:
        hint = f"use 1 to {CHOICES_MAX}"
        raise RequestError(f"n_cmpl is {wanted}", field="n_cmpl", code="invalid_value", hint=hint)
    return wanted or 1
