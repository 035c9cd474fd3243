"""What Ollama keeps of a model: a manifest that lists layers by digest, and the files of those layers.

    models/manifests/registry/library/NAME/TAG      JSON: layers with mediaType, digest and size
    models/blobs/sha256-<hex>                       weights, template, parameters, system text, licence, messages

Source: Ollama's documentation of its Modelfile and the files that it writes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.hub.entries import Entry, inside
from pacos.hub.presets import is_jinja, ollama_options, recognise_go

MANIFEST_BYTES_MAX = 4 << 20
TEXT_BYTES_MAX = 1 << 20  # of a template, parameters, a licence
_LAYERS_MAX = 1000
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_START = "application/vnd.ollama.image."
_TEXTS = ("template", "params", "system", "license", "messages", "prompt")
_UNUSABLE = {
    "tensor": "single tensors, which only Ollama reads",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A file of a model: what it is for, the SHA-256 of its content, and its size in bytes."""

    kind: str
    digest: str
    bytes: int

    @property
    def file_name(self) -> str:
        """Its name among the blobs."""
        return f"sha256-{self.digest}"


def read_manifest(data: bytes, shown: str) -> list[Layer]:
    """The layers of a manifest. Errors: FormatError for what is none; UnsupportedModel for a kind that is unknown."""
    try:
        if len(data) > MANIFEST_BYTES_MAX:
            raise ValueError("it is too long")
        whole = json.loads(data)
        layers = whole["layers"]
        if not isinstance(layers, list) or not 0 < len(layers) <= _LAYERS_MAX:
            raise ValueError(f"it has {len(layers)} layers")
        found = [_layer(one) for one in layers]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(f"{shown}: the manifest is damaged: {error!s:.200}", hint="pull the model again") from None
    for layer in found:
        if layer.kind in _UNUSABLE:
            raise UnsupportedModel(f"{shown} holds {_UNUSABLE[layer.kind]}", hint="choose another tag")
        if layer.kind not in ("model", "adapter", "projector", *_TEXTS):
            raise UnsupportedModel(f"{shown} holds a layer of the unknown kind {layer.kind!a:.60}")
    if sum(layer.kind == "model" for layer in found) != 1:
        count = sum(layer.kind == "model" for layer in found)
        raise UnsupportedModel(f"{shown} has {count} layers of weights, needed is one", hint="choose another tag")
    return found


def _layer(one: Any) -> Layer:
    digest = _DIGEST.fullmatch(one["digest"])
    size, kind = one["size"], one["mediaType"]
    if digest is None:
        raise ValueError(f"the digest {one['digest']!a:.100}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise ValueError(f"the size {size!a:.40}")
    if not isinstance(kind, str):
        raise TypeError(f"the kind {kind!a:.40}")
    return Layer(kind.removeprefix(_START), digest[1], size)


def entry_of(name: str, layers: list[Layer], blobs: Path, path: str, source: str) -> tuple[Entry, list[str]]:
    """The entry of a model whose layers lie in the folder `blobs`, and notes on what of it is not used.

    Errors: FormatError for a layer that cannot be read.
    """
    texts: dict[str, list[str]] = {}
    for layer in layers:
        if layer.kind in _TEXTS:
            texts.setdefault(layer.kind, []).append(_text(blobs / layer.file_name, name))
    sees = any(one.kind == "projector" for one in layers)
    notes = ["its projector for pictures is kept and not used"] if sees else []
    options: dict[str, Any] = {}
    for text in texts.get("params", ()):
        values = _json(text, dict, name)
        found, said = ollama_options(values.items())
        options |= found
        notes += said
    if adapters := [inside(blobs / one.file_name) for one in layers if one.kind == "adapter"]:
        options["lora"] = adapters
    messages = [one for text in texts.get("messages", ()) for one in _json(text, list, name)]
    template, said = _template(texts.get("template", [""])[0])
    entry = Entry(
        name,
        path=path,
        options=options,
        system="\n".join(texts.get("system", ())),
        template=template,
        messages=tuple({"role": str(one["role"]), "content": str(one["content"])} for one in messages),
        licence="\n\n".join(texts.get("license", ())),
        source=source,
    )
    return entry, notes + said


def _template(text: str) -> tuple[str, list[str]]:
    """What is kept for a template: nothing where the model file's own one stands in its place."""
    if not text or is_jinja(text):
        return text, []
    if re.fullmatch(r"\s*{{-?\s*\.Prompt\s*-?}}\s*", text):  # Ollama's word for none
        return "", []
    name = recognise_go(text)
    return (name, []) if name else ("", ["its template in Go's language is not used; the model file's own one is"])


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > TEXT_BYTES_MAX:
            raise FormatError(f"{name}: the text in {path.name} is longer than {TEXT_BYTES_MAX} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FormatError(f"{name}: {path} cannot be read: {error.strerror}", hint="pull the model again") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{name}: {path.name} is not UTF-8 text (byte {error.start})") from None


def _json(text: str, kind: type, name: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}: a layer is not JSON: {error!s:.100}") from None
    if not isinstance(value, kind):
        raise FormatError(f"{name}: a layer is {value!a:.60}, needed is a {kind.__name__}")
    return value
