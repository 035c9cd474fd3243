"""The facts of a model file as plain data: what `pacos show` prints and its --json gives."""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import ModelError, UnsupportedModel
from pacos.formats.safetensors import read_safetensors
from pacos.hub.file_types import FILE_TYPE_KEY, file_type_name
from pacos.hub.hf_files import read_json
from pacos.hub.opening import CONFIG_NAME, open_model
from pacos.ir.passes import optimise
from pacos.ir.plan import Plan
from pacos.models import HIDDEN, LOGITS, Hparams, build_plan, model_for
from pacos.text.templates import recognise_template
from pacos.text.tokenizer import Tokenizer
from pacos.types import Archive

_FOLDER = "Hugging Face folder"
_SHOWN_ELEMENTS = 8
_SHOWN_CHARACTERS = 200
_ABOUT = ("name", "basename", "organization", "author", "version", "finetune", "size_label", "license", "description")
_STATED = {  # what can be said of an architecture that is not known: our word, GGUF's key, config.json's key
    "context_tokens": ("context_length", "max_position_embeddings"),
    "layers": ("block_count", "num_hidden_layers"),
    "width": ("embedding_length", "hidden_size"),
    "heads": ("attention.head_count", "num_attention_heads"),
    "key_heads": ("attention.head_count_kv", "num_key_value_heads"),
    "head_width": ("attention.key_length", "head_dim"),
    "hidden": ("feed_forward_length", "intermediate_size"),
    "vocabulary": ("vocab_size", "vocab_size"),
    "experts": ("expert_count", "num_experts"),
    "experts_used": ("expert_used_count", "num_experts_per_tok"),
}


def open_any(path: Path) -> tuple[Archive, str | None]:
    """Open a model to look at, also a Hugging Face folder of a class that cannot run; and why it cannot.

    Errors: as `open_model`, save UnsupportedModel for a folder.
    """
    try:
        return open_model(path), None
    except UnsupportedModel as error:
        if not (path / CONFIG_NAME).is_file():
            raise
        archive = read_safetensors(path)
        archive.metadata = _config_metadata(path)
        return archive, str(error)


def _config_metadata(folder: Path) -> dict[str, Any]:
    config = read_json(folder / CONFIG_NAME)
    classes = config.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else config.get("model_type")
    stated = {f"{name}.{key}": config[there] for key, there in _STATED.values() if isinstance(config.get(there), int)}
    return {"general.architecture": str(name), "general.name": folder.resolve().name, **stated}


def optimised_plan(archive: Archive) -> Plan:
    """The plan that a backend would get.

    Errors: UnsupportedModel for architecture or weight types, FormatError for a missing or misshapen tensor.
    """
    hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    plan = optimise(build_plan(archive, hp, LOGITS if hp.causal else HIDDEN))
    for name in plan.weight_names():
        quants.block_format(archive.tensors[name].type)
    return plan


def optimised_plans(archive: Archive) -> list[Plan]:
    """The same, behind that of an encoder whose results the model looks at, if there is one."""
    hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    encoder = [optimise(build_plan(archive, hp, HIDDEN))] if hp.start_token >= 0 else []
    return [*encoder, optimised_plan(archive)]


def describe(archive: Archive, problem: str | None = None) -> dict[str, Any]:
    """Sections "file", "model", "weights", "tokenizer"; what the file does not say is left out.

    Units: parameters and tokens counted, sizes in bytes. What cannot be used has "problem" in its section; one that
    opening it told already can be given.
    """
    metadata = archive.metadata
    warnings = list(getattr(archive, "warnings", ()))
    about = {key: metadata[f"general.{key}"] for key in _ABOUT if isinstance(metadata.get(f"general.{key}"), str)}
    return {
        "file": {
            "path": str(archive.path),
            "format": str(getattr(archive, "format", _FOLDER)),
            **_sizes(archive),
            **_warnings(warnings),
        },
        "model": {"architecture": metadata.get("general.architecture"), **about, **_form(archive, problem)},
        "weights": weight_facts(archive),
        "tokenizer": _tokenizer(metadata),
    }


def metadata_rows(archive: Archive) -> list[tuple[str, str]]:
    """Every key with its value, long ones cut."""
    return [(key, shown(value)) for key, value in archive.metadata.items()]


def tensor_rows(archive: Archive) -> list[tuple[str, tuple[int, ...], str, int]]:
    """Name, shape (rows first), type and bytes of every tensor."""
    return [(entry.name, entry.shape, entry.type, entry.nbytes) for entry in archive.tensors.values()]


def shown(value: Any) -> str:
    """A metadata value on one line."""
    if isinstance(value, str):
        text = ascii(value)[1:-1] if not value.isprintable() else value
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(value)} characters)"
    if isinstance(value, Sequence | array):
        first = ", ".join(shown(value[i]) for i in range(min(len(value), _SHOWN_ELEMENTS)))
        return f"[{first}]" if len(value) <= _SHOWN_ELEMENTS else f"[{first}, ...] ({len(value)} values)"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _sizes(archive: Archive) -> dict[str, int]:
    parts = getattr(archive, "parts", ())
    if not parts:
        return {"bytes": sum(entry.nbytes for entry in archive.tensors.values())}
    return {"bytes": sum(os.stat(part).st_size for part in parts), **({"parts": len(parts)} if len(parts) > 1 else {})}


def _stated(metadata: Mapping[str, Any]) -> dict[str, Any]:
    prefix = metadata.get("general.architecture")
    found = {name: metadata.get(f"{prefix}.{key}") for name, (key, _) in _STATED.items()}
    lists = {name: _one_or_all(list(value)) for name, value in found.items() if isinstance(value, array) and value}
    return {name: value for name, value in found.items() if isinstance(value, int)} | lists


def _form(archive: Archive, problem: str | None) -> dict[str, Any]:
    if not archive.tensors:
        return {**_stated(archive.metadata), "problem": "the file holds a vocabulary alone"}
    if problem is not None:
        return {**_stated(archive.metadata), "problem": problem}
    try:
        hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    except ModelError as error:
        return {**_stated(archive.metadata), "problem": str(error)}
    try:
        optimised_plan(archive)
    except ModelError as error:
        return {**_hyper_parameters(hp), "problem": str(error)}
    return _hyper_parameters(hp)


def _hyper_parameters(hp: Hparams) -> dict[str, Any]:
    windows = sorted({window for window in hp.windows if window})
    turned = model_for(hp.architecture).rope
    return {
        "context_tokens": hp.context_length,
        "layers": hp.layers,
        **({"encoder_layers": hp.keys.get("block_count")} if hp.start_token >= 0 else {}),
        "width": hp.width,
        "heads": _one_or_all(hp.heads),
        "key_heads": _one_or_all(hp.key_heads),
        "head_width": hp.head_width,
        "hidden": _one_or_all(hp.hidden),
        "vocabulary": hp.vocab_size,
        "positions": "learned" if hp.positions else f"rotary {str(hp.rope).strip('<>')}" if turned else "not rotary",
        **({"window_tokens": windows[0], "layers_with_window": sum(map(bool, hp.windows))} if windows else {}),
    }


def _one_or_all(values: Sequence[int]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else list(values)


def weight_facts(archive: Archive) -> dict[str, Any]:
    """How many tensors, parameters and bytes there are, and how many of each type, those with the most bytes first."""
    tensors: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    for entry in archive.tensors.values():
        tensors[entry.type] += 1
        counts[entry.type] += math.prod(entry.shape)
        nbytes[entry.type] += entry.nbytes
    total = sum(counts.values())
    kind = archive.metadata.get(FILE_TYPE_KEY)
    return {
        **({"file_type": file_type_name(kind)} if kind is not None else {}),
        "tensors": len(archive.tensors),
        "parameters": total,
        "bits_per_weight": round(8 * sum(nbytes.values()) / total, 2) if total else 0.0,
        "types": {
            name: {"tensors": tensors[name], "parameters": counts[name], "bytes": nbytes[name]}
            for name, _ in nbytes.most_common()
        },
    }


def _tokenizer(metadata: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "tokenizer.ggml."
    tokens = metadata.get(prefix + "tokens")
    size = len(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str) else 0
    found: dict[str, Any] = {"model": metadata.get(prefix + "model"), "tokens": size}
    if prefix + "pre" in metadata:
        found["splitter"] = metadata[prefix + "pre"]
    for key, number in metadata.items():
        if key.startswith(prefix) and key.endswith("_token_id") and isinstance(number, int) and 0 <= number < size:
            name = key.removeprefix(prefix).removesuffix("_token_id")
            found[name] = {"id": number, "text": shown(tokens[number]) if tokens is not None else ""}
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        found["chat_template"] = recognise_template(template) or "of its own"
    try:
        made = Tokenizer.from_metadata(metadata)
    except ModelError as error:
        return {**found, "problem": str(error)}
    return {**found, "add_bos": made.add_bos, "ends": sorted(made.eog), **_warnings(made.warnings)}


def _warnings(texts: Sequence[str]) -> dict[str, Any]:
    return {"warnings": list(texts)} if texts else {}
