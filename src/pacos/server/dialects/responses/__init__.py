"""The dialect of OpenAI's responses: answers that a later request can go on from."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.openai import shapes
from pacos.server.dialects.responses import answering, keeping
from pacos.server.dialects.responses.reply import Response, StreamEvent
from pacos.server.dialects.responses.request import NAMES, ResponsesRequest

DIALECT = Dialect(
    "responses",
    (
        Operation(
            "POST",
            "/v1/responses",
            answering.run,
            "Answer an input, and perhaps what came before it.",
            body=ResponsesRequest,
            reply=Response,
            streamed=StreamEvent,
        ),
        Operation(
            "POST",
            "/v1/responses/input_tokens",
            answering.count,
            "Count the tokens of an input.",
            body=ResponsesRequest,
            reply=shapes.InputTokens,
        ),
        Operation(
            "GET", "/v1/responses/{response}", keeping.show, "Give a response again.", reply=Response, light=True
        ),
        Operation(
            "DELETE",
            "/v1/responses/{response}",
            keeping.delete,
            "Forget a response.",
            reply=keeping.Deleted,
            light=True,
        ),
        Operation(
            "GET",
            "/v1/responses/{response}/input_items",
            keeping.inputs,
            "List what a response answered.",
            reply=keeping.Items,
            light=True,
        ),
    ),
    shapes.render,
    NAMES,
    prefixes=("/v1/responses",),
    background=keeping.kept,
)
