"""Anthropic's count of a conversation's tokens."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.anthropic.prompt import Prompt, chat_messages, chat_options
from pacos.server.stream import json_response


class Count(msgspec.Struct):
    """How many tokens a conversation has."""

    input_tokens: int


async def run(call: Call[Prompt]) -> ASGIApp:
    """Count the tokens that a conversation would cost."""
    body = call.body
    resident = await call.resident(body.model)
    return json_response(
        call, Count(await answers.prompt_tokens(call, resident, chat_messages(body), chat_options(body)))
    )
