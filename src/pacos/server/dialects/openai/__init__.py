"""The dialect of OpenAI's API."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.openai import chat, completions, embeddings, models, shapes

DIALECT = Dialect(
    "openai",
    (
        Operation(
            "POST",
            "/v1/chat/completions",
            chat.run,
            "Answer a conversation.",
            body=chat.ChatRequest,
            reply=chat.ChatReply,
            streamed=chat.ChatChunk,
        ),
        Operation(
            "POST",
            "/v1/chat/completions/input_tokens",
            chat.count,
            "Count the tokens of a conversation.",
            body=chat.ChatRequest,
            reply=shapes.InputTokens,
        ),
        Operation(
            "POST",
            "/v1/completions",
            completions.run,
            "Go on with a text.",
            body=completions.CompletionRequest,
            reply=completions.CompletionReply,
            streamed=completions.CompletionReply,
        ),
        Operation(
            "POST",
            "/v1/embeddings",
            embeddings.run,
            "Turn texts into vectors.",
            body=embeddings.EmbeddingRequest,
            reply=embeddings.EmbeddingReply,
        ),
        *(
            Operation("GET", path, models.list_models, "List the models.", reply=models.ModelList, light=True)
            for path in ("/v1/models", "/models")
        ),
        Operation(
            "GET", "/v1/models/{model:path}", models.show_model, "Describe a model.", reply=models.Model, light=True
        ),
    ),
    shapes.render,
    shapes.NAMES,
    prefixes=("/v1/",),
)
