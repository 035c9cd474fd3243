"""Open the folders that Meta and Mistral publish: params.json, and consolidated.00.pth and on or .safetensors.

Several files are the parts of a tensor-parallel model: each holds some rows, or some columns, of every matrix. Rows of
queries and keys lie as in GGUF files. What params.json does not say is taken as llama.cpp and Meta's own code take it.
Source: meta-llama/llama3 (model.py, tokenizer.py), meta-llama/llama-models, mistral-inference (args.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, ModelNotFound, UnsupportedModel
from pacos.formats.mapped import MappedArchive
from pacos.formats.packed import Joined, Packed
from pacos.formats.safetensors import read_safetensors
from pacos.formats.torch_zip import read_torch
from pacos.hub.adopt import AdoptedArchive, Source, origins_of
from pacos.hub.hf_files import read_json, well_formed
from pacos.hub.hf_sentencepiece import FILES as SENTENCEPIECE_FILES
from pacos.hub.hf_tokenizer import is_ranks, tokenizer_metadata
from pacos.hub.opening import PARAMS_NAME
from pacos.hub.parallel_folder import JoinedParts
from pacos.lazy import need_numpy
from pacos.models import HuggingFace
from pacos.models.llama import LLAMA, MIXTRAL
from pacos.models.tensor_names import TensorName, in_layers, outside

_SAFETENSORS = "consolidated.safetensors"
_PART = re.compile(r"consolidated\.(\d{2})\.pth")
_NAMES = (
    *outside(token_embd="tok_embeddings", output_norm="norm", output="output"),  # noqa: S106
    *in_layers(attn_norm="attention_norm", ffn_norm="ffn_norm", attn_q="attention.wq", attn_k="attention.wk"),
    *in_layers(attn_v="attention.wv", attn_output="attention.wo"),
    *in_layers(ffn_gate="feed_forward.w1", ffn_down="feed_forward.w2", ffn_up="feed_forward.w3"),
    TensorName("blk.{i}.ffn_gate_inp.weight", "layers.{i}.feed_forward.gate.weight"),
    *(
        TensorName(f"blk.{{i}}.ffn_{name}_exps.weight", f"layers.{{i}}.feed_forward.experts.{{e}}.{part}.weight")
        for name, part in (("gate", "w1"), ("down", "w2"), ("up", "w3"))
    ),
)
_DENSE, _MIXED = (
    replace(form, classes=(), names=_NAMES, prefixes=(), needless=r"^rope\.freqs$") for form in (LLAMA, MIXTRAL)
)
# Whose columns, not rows, are parted; the embedding's in Llama 1 and 2.
_BY_COLUMNS = re.compile(r"\.(attention\.wo|feed_forward\.w2|feed_forward\.experts\.\d+\.w2)\.weight$")
_WORDS = {
    **{"dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads"},
    **{"n_kv_heads": "num_key_value_heads", "head_dim": "head_dim", "norm_eps": "rms_norm_eps"},
    **{"rope_theta": "rope_theta", "sliding_window": "sliding_window", "tied_embeddings": "tie_word_embeddings"},
}
_READ_OTHERWISE = ("vocab_size", "hidden_dim", "use_scaled_rope", "moe", "max_seq_len", "max_position_embeddings")
_WITHOUT_EFFECT = ("multiple_of", "ffn_dim_multiplier", "max_batch_size", "model_parallel_size", "use_biases", "causal")
_LARGEST_OF_3_2 = 3072  # its width; Llama 3.2 stretches its context by 32, Llama 3.1 by 8


def adopt_meta(folder: Path) -> AdoptedArchive:
    """Present such a folder as an archive.

    Errors: ModelNotFound when a part is missing; FormatError; UnsupportedModel for a key of params.json that changes
    the model in a way that is not computed.
    """
    params = read_json(folder / PARAMS_NAME)
    source = _weights(folder)
    try:
        with well_formed(str(folder / PARAMS_NAME)):
            config, form = _config(folder, params, source)
            metadata = {"general.architecture": "llama", "general.name": folder.resolve().name}
            metadata |= form.metadata_of("llama", config)
            vectors = form.vectors(config)
        with well_formed(str(folder / "tokenizer.model")):
            metadata |= tokenizer_metadata(folder, config)
        return AdoptedArchive(source, config, metadata, origins_of(source, "llama", form, config), vectors)
    except BaseException:
        source.close()
        raise


def _config(folder: Path, params: Mapping[str, Any], source: Source) -> tuple[dict[str, Any], HuggingFace]:
    """What params.json says, in the words of config.json."""
    known = {*_WORDS, *_READ_OTHERWISE, *_WITHOUT_EFFECT}
    for key, value in params.items():
        if key not in known and value not in (None, False):
            hint = f"read are {', '.join(sorted(known))}"
            raise UnsupportedModel(f"{folder / PARAMS_NAME}: {key} is {value!a:.80}, which is not computed", hint=hint)
    embedding = source.tensors.get("tok_embeddings.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise FormatError(f"{folder}: tensor 'tok_embeddings.weight' is missing", hint="download the folder again")
    config = {word: params[key] for key, word in _WORDS.items() if params.get(key) is not None}
    hidden = next((one.shape[0] for name, one in source.tensors.items() if name.endswith(".w1.weight")), None)
    config |= {"vocab_size": embedding.shape[0], "intermediate_size": params.get("hidden_dim") or hidden}
    config["max_position_embeddings"] = _context(params)
    if any((folder / name).is_file() and not is_ranks(folder / name) for name in SENTENCEPIECE_FILES):
        config |= {"bos_token_id": 1, "eos_token_id": 2}
    config.setdefault("tie_word_embeddings", "output.weight" not in source.tensors)
    if params.get("use_scaled_rope"):
        factor = 32.0 if config["hidden_size"] <= _LARGEST_OF_3_2 else 8.0
        scaling = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        config["rope_scaling"] = {"rope_type": "llama3", "factor": factor, **scaling}
    if mixture := params.get("moe"):
        config |= {"num_local_experts": mixture["num_experts"], "num_experts_per_tok": mixture["num_experts_per_tok"]}
    form = _MIXED if mixture else _DENSE
    return form.filled(config), form


def _context(params: Mapping[str, Any]) -> int:
    """The trained context: given, or by what else tells the generations apart."""
    given = params.get("max_position_embeddings") or params.get("max_seq_len")
    if isinstance(given, int):
        return given
    if params.get("hidden_dim"):  # Mistral's
        return 32768
    if params.get("use_scaled_rope"):
        return 131072
    by_base = {500000.0: 8192, 1000000.0: 16384}  # Llama 3, Code Llama
    return by_base.get(params.get("rope_theta") or 0.0) or (4096 if params.get("norm_eps") == 1e-5 else 2048)


def _weights(folder: Path) -> Source:
    """The weights of all parts. Errors: ModelNotFound, FormatError."""
    if (folder / _SAFETENSORS).is_file():
        return read_safetensors(folder / _SAFETENSORS)
    paths = sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))
    if not paths:
        raise ModelNotFound(f"{folder}: there are no weights, neither consolidated.00.pth nor {_SAFETENSORS}")
    for number, path in enumerate(paths):
        if path.name != f"consolidated.{number:02}.pth":
            raise ModelNotFound(f"{folder / f'consolidated.{number:02}.pth'}: this part is missing", hint="download it")
    parts: list[MappedArchive] = []
    try:
        for path in paths:  # one by one: the part that fails leaves the others to be closed
            parts.append(read_torch(path))  # noqa: PERF401
        return _joined(folder, parts) if len(parts) > 1 else parts[0]
    except BaseException:
        for part in parts:
            part.close()
        raise


def _joined(folder: Path, parts: Sequence[MappedArchive]) -> JoinedParts:
    need_numpy("a model in several parts")
    first = parts[0]
    for part in parts[1:]:
        if set(part.tensors) != set(first.tensors):
            raise FormatError(f"{part.path}: its tensors are not those of {first.path.name}", hint="of another model?")
    made: dict[str, Packed] = {}
    for name, entry in first.tensors.items():
        if len(entry.shape) != 2:
            continue  # each part has the whole
        found = [part.tensors[name] for part in parts]
        if any((one.shape, one.type) != (entry.shape, entry.type) for one in found):
            raise FormatError(f"{folder}: the parts of tensor '{name}' differ in form", hint="download them again")
        if name.endswith("feed_forward.gate.weight"):
            continue
        axis = int(_BY_COLUMNS.search(name) is not None or _embeds_by_columns(name, first))
        shape = tuple(size * len(parts) if i == axis else size for i, size in enumerate(entry.shape))
        made[name] = Joined(shape, entry.type, tuple(part.data(name) for part in parts), axis)
    return JoinedParts(folder, parts, made)


def _embeds_by_columns(name: str, part: MappedArchive) -> bool:
    """Whether parts of the embedding are narrower than the model, as norms tell it is."""
    norm = part.tensors.get("norm.weight")
    return name == "tok_embeddings.weight" and norm is not None and part.tensors[name].shape[1] != norm.shape[0]
