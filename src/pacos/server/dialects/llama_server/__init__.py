"""The dialect of llama.cpp's llama-server, where it is not OpenAI's.

Source: tools/server/README.md of llama.cpp.
"""

from __future__ import annotations

from pacos.server.adapters import Adapter
from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.llama_server import (
    completion,
    infill,
    opening,
    properties,
    shapes,
    slots,
    streams,
    tokens,
    vectors,
)

_COMPLETIONS = [
    Operation(
        "POST",
        path,
        completion.run,
        "Continue texts or token ids.",
        body=completion.CompletionRequest,
        reply=completion.Result,
        streamed=completion.Piece,
    )
    for path in ("/completion", "/completions")
]

_VECTORS = [
    Operation(
        "POST",
        path,
        vectors.embed,
        "Turn prompts into vectors.",
        body=vectors.EmbeddingRequest,
        reply=list[vectors.Vectors],
    )
    for path in ("/embedding", "/embeddings")
]

_RANKS = [
    Operation("POST", path, vectors.rerank, "Rank documents.", body=vectors.RerankRequest, reply=vectors.RerankReply)
    for path in ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking")
]

DIALECT = Dialect(
    "llama_server",
    (
        *_COMPLETIONS,
        *_VECTORS,
        *_RANKS,
        Operation("GET", "/v1/stream", streams.read, "Read a stream again: ?conv_id=ID&from=BYTE.", light=True),
        Operation("DELETE", "/v1/stream", streams.stop, "Stop a stream: ?conv_id=ID.", light=True),
        Operation(
            "POST",
            "/v1/streams/lookup",
            streams.lookup,
            "Tell which conversations have a stream.",
            body=streams.Lookup,
            reply=list[streams.StreamState],
            light=True,
        ),
        Operation("GET", "/slots", slots.run, "List the slots.", reply=list[slots.SlotState], light=True),
        Operation(
            "POST",
            "/slots/{slot}",
            slots.act,
            "Save a slot's text to a file, restore or erase it: ?action=save, restore or erase.",
            reply=slots.Saved,
            scope="manage",
        ),
        Operation(
            "POST",
            "/infill",
            infill.run,
            "Fill the gap between two pieces of code.",
            body=infill.InfillRequest,
            reply=completion.Result,
            streamed=completion.Piece,
        ),
        Operation(
            "POST",
            "/tokenize",
            tokens.tokenize,
            "Turn a text into token ids.",
            body=tokens.TokenizeRequest,
            reply=tokens.Tokens,
        ),
        Operation(
            "POST",
            "/detokenize",
            tokens.detokenize,
            "Turn token ids into a text.",
            body=tokens.DetokenizeRequest,
            reply=tokens.Text,
        ),
        Operation(
            "POST",
            "/apply-template",
            tokens.apply_template,
            "Write a conversation as the model's chat template does.",
            body=tokens.TemplateRequest,
            reply=tokens.Prompt,
        ),
        Operation(
            "POST", "/models/load", opening.load, "Open a model.", body=opening.Named, reply=opening.Done, light=True
        ),
        Operation(
            "POST",
            "/models/unload",
            opening.unload,
            "Close a model that nobody uses.",
            body=opening.Named,
            reply=opening.Done,
            light=True,
            scope="manage",
        ),
        Operation(
            "GET", "/props", properties.run, "Tell the server's properties.", reply=properties.Properties, light=True
        ),
        Operation("GET", "/lora-adapters", properties.adapters, "List the adapters of a model and their scales."),
        Operation(
            "POST",
            "/lora-adapters",
            properties.set_adapters,
            "Set the scales of a model's adapters.",
            body=list[Adapter],
            scope="manage",
        ),
    ),
    shapes.render,
    {**shapes.NAMES, **vectors.NAMES},
)
