"""The options of an answer as data, made of the options themselves, so that a page can draw a form of them."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
from starlette.types import ASGIApp

from pacos import __version__
from pacos.server.call import Call
from pacos.server.dialects.openai.chat import ChatRequest
from pacos.server.stream import json_response
from pacos.settings import GenerateOptions, Option, QueueOptions, SamplingOptions, options_of
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions

_GROUPS = {
    "sampling": SamplingOptions,
    "generation": GenerateOptions,
    "reasoning": ReasoningOptions,
    "constraint": ConstraintOptions,
    "queue": QueueOptions,
}
_NAMES = {"temp": "temperature"}
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", tuple: "array"}


class OptionRow(msgspec.Struct, omit_defaults=True):
    """One option: `name` is its field in a chat request, `default` what the model gets without it.

    `minimum` and `maximum` may be used, `above` may not. `items` is the type of an array's entries, `most` how many
    there may be.
    """

    name: str
    type: str
    help: str
    default: Any
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    choices: list[str] | None = None
    items: str | None = None
    most: int | None = None


class OptionGroup(msgspec.Struct):
    """Options that belong together."""

    name: str
    help: str
    options: list[OptionRow]


class Options(msgspec.Struct):
    """What a chat request may say, and what this server is: whether it keeps conversations for those who wish it."""

    version: str
    model: str
    conversations: bool
    groups: list[OptionGroup]


async def run(call: Call[None]) -> ASGIApp:
    """Tell the options, with the defaults of the model that the query names. Errors: ModelNotFound."""
    spec = call.residency.spec(call.request.query_params.get("model"))
    groups = [
        OptionGroup(
            name,
            (kind.__doc__ or "").partition("\n")[0],
            [_row(kind, one, spec.defaults.get(one.name, one.default)) for one in options_of(kind) if _known(one)],
        )
        for name, kind in _GROUPS.items()
    ]
    return json_response(call, Options(__version__, spec.name, call.options.conversations, groups))


def _known(one: Option) -> bool:
    return _NAMES.get(one.name, one.name) in ChatRequest.__struct_fields__


def _row(group: type, one: Option, default: Any) -> OptionRow:
    entries = get_args(get_type_hints(group)[one.name])
    return OptionRow(
        name=_NAMES.get(one.name, one.name),
        type=_TYPES[one.kind],
        help=one.help,
        default=default if default != "" or not one.choices else None,  # "" is as if nothing was said
        minimum=one.minimum,
        above=one.above,
        maximum=one.maximum,
        choices=[choice for choice in one.choices if choice] or None,
        items=_TYPES.get(entries[0], "array") if one.kind is tuple else None,
        most=one.most,
    )
