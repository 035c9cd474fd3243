"""What a talk begins with: the model in two lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pacos.cli import render
from pacos.hub.store import files_of

if TYPE_CHECKING:
    from pacos.llm import LLM


def banner(llm: LLM) -> tuple[str, str]:
    """Name, architecture, type, size and format of a model; and how much text it bears."""
    archive, metadata = llm.archive, llm.archive.metadata
    types: Counter[str] = Counter()
    for entry in archive.tensors.values():
        types[entry.type] += entry.nbytes
    kind = str(metadata.get("general.architecture", "unknown"))
    parts = (
        str(metadata.get("general.name") or llm.path.stem),
        kind,
        types.most_common(1)[0][0] if types else "",
        render.size_text(sum(file.stat().st_size for file in files_of(llm.path))),
        f"{len(archive.tensors)} tensors",
        str(getattr(archive, "format", "safetensors")),
    )
    trained = metadata.get(f"{kind}.context_length")
    layers, width = (metadata.get(f"{kind}.{key}") for key in ("block_count", "embedding_length"))
    form = (
        f"context {llm.context_tokens} tokens" + (f", trained on {trained}" if trained else ""),
        f"{layers} layers of {width}" if layers and width else "",
        f"template {llm.template.name or 'of its own'}",
    )
    return " · ".join(filter(None, parts)), " · ".join(filter(None, form))
