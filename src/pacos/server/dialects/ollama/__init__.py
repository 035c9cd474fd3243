"""The dialect of Ollama's API."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.ollama import chat, embed, generate, managing, models, shapes

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
        Operation(
            "POST",
            "/api/pull",
            managing.pull,
            "Download a model into the store.",
            scope="manage",
            body=managing.PullRequest,
            reply=managing.Status,
            streamed=managing.Status,
            light=True,
        ),
        Operation(
            "POST",
            "/api/create",
            managing.create,
            "Give a model a name with defaults of its own.",
            scope="manage",
            body=managing.CreateRequest,
            reply=managing.Status,
            streamed=managing.Status,
        ),
        Operation(
            "POST",
            "/api/copy",
            managing.copy_model,
            "Give a model a second name.",
            body=managing.CopyRequest,
            scope="manage",
        ),
        Operation(
            "DELETE", "/api/delete", managing.delete, "Remove a model.", body=managing.DeleteRequest, scope="manage"
        ),
        Operation("GET", "/api/version", models.version, "Tell the version.", reply=models.Version, light=True),
    ),
    shapes.render,
    shapes.NAMES,
    prefixes=("/api/",),
)
