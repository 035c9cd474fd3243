"""The dialect of Ollama's API."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.ollama import chat, embed, generate, models, shapes

DIALECT = Dialect(
    "ollama",
    (
        Operation(
            "POST",
            "/api/generate",
            generate.run,
            "Continue a prompt.",
            body=generate.GenerateRequest,
            reply=generate.GenerateReply,
            streamed=generate.GenerateReply,
        ),
        Operation(
            "POST",
            "/api/chat",
            chat.run,
            "Answer a conversation.",
            body=chat.ChatRequest,
            reply=chat.ChatReply,
            streamed=chat.ChatReply,
        ),
        Operation(
            "POST", "/api/embed", embed.run, "Turn texts into vectors.", body=embed.EmbedRequest, reply=embed.EmbedReply
        ),
        Operation(
            "POST",
            "/api/embeddings",
            embed.run_old,
            "Turn one text into a vector.",
            body=embed.OldRequest,
            reply=embed.OldReply,
        ),
        Operation("GET", "/api/tags", models.tags, "List the models.", reply=models.ModelList, light=True),
        Operation("GET", "/api/ps", models.running, "List the open models.", reply=models.ModelList, light=True),
        Operation("POST", "/api/show", models.show, "Describe a model.", body=models.ShowRequest, reply=models.Shown),
        Operation("GET", "/api/version", models.version, "Tell the version.", reply=models.Version, light=True),
    ),
    shapes.render,
    shapes.NAMES,
    prefixes=("/api/",),
)
