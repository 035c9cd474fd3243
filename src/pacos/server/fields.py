"""Read a request's JSON strictly: what is unknown, of a wrong type, twice or no number is refused by its name."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast

import msgspec

from pacos.server.problem import RequestError
from pacos.settings import Option, options_of

DEPTH_MAX = 64
VALUES_MAX = 1_000_000
TEXT_CHARACTERS_MAX = 8 << 20
OWN = ("owner", "scores", "post_sampling_scores", "return_progress")  # options that a dialect asks for in its own words
DIGITS_MAX = 400  # of one number; the largest float has 309
_PATH = re.compile(r"(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)

_NO_TEXT = {
    f"{start}{kind}"
    for start in ("", "input_")
    for kind in ("image", "image_url", "audio", "video", "file", "document")
}

Body = TypeVar("Body")
Request = TypeVar("Request", bound="Fields")


class Fields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every object of a request is: only the fields that it names. null means not given where None is allowed."""


def read_json(data: bytes) -> Any:
    """The value of a JSON text.

    Errors: RequestError (400) for text that is not UTF-8 or not JSON, a name that an object has twice, NaN, infinite
    or endless numbers, nesting deeper than DEPTH_MAX, half a surrogate pair.
    """
    if not data.strip():
        raise RequestError("the request has no body", code="invalid_json", hint="send a JSON object")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8 (byte {error.start})", code="invalid_json") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_number,
            parse_int=_whole_number,
        )
    except json.JSONDecodeError as error:
        problem = f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise RequestError(problem, code="invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX or b"\\u" in data or len(data) > VALUES_MAX:
        _walk(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RequestError(f"{_cut(twice)} is given twice", field=_cut(twice), code="invalid_json", hint="drop one")
    return found


def _refuse_constant(text: str) -> float:
    raise RequestError(f"the body holds {text}, which is not JSON", code="invalid_json", hint="use a finite number")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RequestError(f"the number {_cut(text)} is too large", code="invalid_json")
    return value


def _whole_number(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise RequestError(f"the body holds a number of {len(text)} digits", code="invalid_json")
    return int(text)


def _too_deep() -> RequestError:
    return RequestError(f"the body nests deeper than {DEPTH_MAX} levels", code="invalid_json")


def _walk(value: Any) -> None:
    """Refuse deep nesting, too many values, and text that no UTF-8 can hold. Not recursive: it survives all depths."""
    level, values, depth = [value], 0, 0
    while level:
        below: list[Any] = []
        values += len(level)
        if values > VALUES_MAX:
            raise RequestError(f"the body holds more than {VALUES_MAX} values", code="invalid_json")
        for one in level:
            if isinstance(one, str):
                _check_text(one)
            elif isinstance(one, (dict, list)):
                if depth == DEPTH_MAX:
                    raise _too_deep()
                below.extend(one.values() if isinstance(one, dict) else one)
                for name in one if isinstance(one, dict) else ():
                    _check_text(name)
        level = below
        depth += 1


def _check_text(text: str) -> None:
    if len(text) > TEXT_CHARACTERS_MAX:
        raise RequestError(f"the body holds a text of {len(text)} characters", code="invalid_json")
    try:
        text.encode()
    except UnicodeEncodeError:
        problem = "the body holds a text with half of a surrogate pair"
        raise RequestError(problem, code="invalid_json", hint="escape such characters as pairs") from None


def convert(value: Any, kind: type[Body]) -> Body:
    """The request that a JSON value is. Errors: RequestError (400) naming the field, what was seen, what is needed."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), value, kind) from None


def _refusal(text: str, value: Any, kind: Any) -> RequestError:
    found = _PATH.fullmatch(text)
    what, where = (found[1], found[2] or "") if found else (text, "")
    if unknown := _UNKNOWN.fullmatch(what):
        name = unknown[1]
        path = _cut(f"{where}.{name}" if where else name)
        return RequestError(
            f"unknown field {path}", field=path, code="unknown_field", hint=_nearest(name, kind) if not where else None
        )
    if missing := _MISSING.fullmatch(what):
        path = f"{where}.{missing[1]}" if where else missing[1]
        return RequestError(f"{path} is missing", field=path, code="missing_field")
    wanted = what.replace("`", "").replace("Expected ", "expected ", 1)
    if not where:
        return RequestError(f"the body is wrong: {wanted}", code="invalid_type", hint="send a JSON object")
    seen = _seen_at(value, where)
    wanted = wanted.partition(", got ")[0] if seen else wanted
    path = _cut(where)
    hint = (
        "parts of a message are texts; pictures, sound and files cannot be used yet" if seen[1:-1] in _NO_TEXT else None
    )
    problem = f"{path} is {seen}: {wanted}" if seen else f"{path}: {wanted}"
    return RequestError(problem, field=path, code="invalid_type", hint=hint)


def _seen_at(value: Any, path: str) -> str:
    """What a body has at a path, cut to a few characters; nothing where the path is not exact."""
    for step in re.findall(r"[^.\[\]]+|\[\d+\]|\[\.\.\.\]", path):
        if isinstance(value, list) and re.fullmatch(r"\[\d+\]", step):
            value = value[int(step[1:-1])]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return ""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest(name: str, kind: Any) -> str | None:
    known = getattr(kind, "__struct_encode_fields__", ())
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else None


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def with_options(
    start: type[Request], groups: Sequence[type], *, without: Iterable[str] = (), names: Mapping[str, str] | None = None
) -> type[Request]:
    """A request type with a field for each option of the groups, beside what `start` declares itself.

    `names` are fields of `start` that mean an option, by the option's name: those options get no second field.
    """
    left_out = {*without, *(names or {}), *start.__struct_fields__}
    found = {
        one.name: (one.name, _json_type(one), None)
        for group in groups
        for one in options_of(group)
        if one.name not in left_out
    }
    made = msgspec.defstruct(
        start.__name__,
        list(found.values()),
        bases=(start,),
        module=start.__module__,
        namespace={"__doc__": start.__doc__},
        forbid_unknown_fields=True,
        kw_only=True,
    )
    return cast("type[Request]", made)


def _json_type(one: Option) -> Any:
    """Only the kind is checked as JSON is read; the option's own rules check the rest, and say what would fit."""
    kind: Any = list[Any] | str | dict[str, Any] if one.kind is tuple else one.kind
    schema: dict[str, Any] = {}
    if one.kind in (int, float):
        bounds = {"minimum": one.minimum, "exclusiveMinimum": one.above, "maximum": one.maximum}
        schema |= {name: bound for name, bound in bounds.items() if bound is not None}
    if one.choices:
        schema["enum"] = list(one.choices)
    bounded = Annotated[kind, msgspec.Meta(extra_json_schema=schema)]
    return Annotated[bounded | None, msgspec.Meta(description=one.help)]


def option_values(body: Any, groups: Sequence[type], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a request says of the groups' options; `names` maps an option's name to the field that means it."""
    names = names or {}
    values = {}
    for group in groups:
        for one in options_of(group):
            value = getattr(body, names.get(one.name, one.name), None)
            if value is not None:
                values[one.name] = value
    return values


def text_or_tokens(value: str | list[Any], name: str, *, most: int) -> list[str | list[int]]:
    """The inputs that a field holds: a text, a list of token ids, or a list of such. `name` is the field's.

    Errors: RequestError for an empty list, more than `most` entries, or numbers beside texts.
    """
    if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
        return [value]
    found = [value] if isinstance(value, str) else value
    for index, one in enumerate(found):
        if isinstance(one, int):
            raise RequestError(f"{name}[{index}] is a number among texts", field=name, code="invalid_type")
    if not 1 <= len(found) <= most:
        problem = f"{name} has {len(found)} entries"
        raise RequestError(problem, field=name, code="invalid_value", hint=f"send 1 to {most}")
    return found
