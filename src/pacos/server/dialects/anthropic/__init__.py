"""The dialect of Anthropic's API."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.anthropic import counting, messages, shapes
from pacos.server.dialects.anthropic.prompt import Prompt

DIALECT = Dialect(
    "anthropic",
    (
        Operation(
            "POST",
            "/v1/messages",
            messages.run,
            "Answer a conversation.",
            body=messages.MessagesRequest,
            reply=shapes.Message,
            streamed=shapes.StreamEvent,
        ),
        Operation(
            "POST",
            "/v1/messages/count_tokens",
            counting.run,
            "Count a conversation's tokens.",
            body=Prompt,
            reply=counting.Count,
        ),
    ),
    shapes.render,
    shapes.NAMES,
    prefixes=("/v1/messages",),
)
