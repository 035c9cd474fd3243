"""llama-server's work with tokens and templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos.llm import LLM
from pacos.server.call import Call
from pacos.server.fields import Fields
from pacos.server.stream import json_response


class TokenizeRequest(Fields):
    """A text to turn into token ids."""

    content: str
    model: str | None = None
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class PieceOfText(msgspec.Struct):
    """A token with its text, or its bytes where they are no text."""

    id: int
    piece: str | list[int]


class Tokens(msgspec.Struct):
    """Token ids, or with `with_pieces` tokens."""

    tokens: Sequence[int | PieceOfText]


class DetokenizeRequest(Fields):
    """Token ids to turn into a text."""

    tokens: list[int]
    model: str | None = None


class Text(msgspec.Struct):
    """The text of token ids."""

    content: str


class TemplateRequest(Fields):
    """A conversation to write out."""

    messages: list[dict[str, Any]]
    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None


class Prompt(msgspec.Struct):
    """The prompt that a conversation becomes."""

    prompt: str


async def tokenize(call: Call[TokenizeRequest]) -> ASGIApp:
    """Turn a text into token ids."""
    body = call.body
    llm = (await call.resident(body.model)).llm
    ids = await call.prepared(
        len(body.content),
        lambda: llm.tokenize(body.content, add_special=body.add_special, parse_special=body.parse_special),
    )
    return json_response(call, Tokens([_piece(llm, token) for token in ids] if body.with_pieces else ids))


def _piece(llm: LLM, token: int) -> PieceOfText:
    data = llm.tokenizer.piece(token, special=True)
    try:
        return PieceOfText(token, data.decode())
    except UnicodeDecodeError:
        return PieceOfText(token, list(data))


async def detokenize(call: Call[DetokenizeRequest]) -> ASGIApp:
    """Turn token ids into a text."""
    body = call.body
    llm = (await call.resident(body.model)).llm
    text = await call.prepared(len(body.tokens), lambda: llm.detokenize(body.tokens, special=True))
    return json_response(call, Text(text))


async def apply_template(call: Call[TemplateRequest]) -> ASGIApp:
    """Write a conversation as the chat template does."""
    body = call.body
    llm = (await call.resident(body.model)).llm
    options = {**(body.chat_template_kwargs or {}), "add_generation_prompt": body.add_generation_prompt}

    def written() -> str:
        messages, tools = llm.template.fit_tools(body.messages, body.tools or ())
        return "".join(segment.text for segment in llm.template.render(messages, tools=tools, **options))

    prompt = await call.prepared(sum(len(str(message)) for message in body.messages), written)
    return json_response(call, Prompt(prompt))
