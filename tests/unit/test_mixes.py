"""The mixes of types: llama.cpp's, tensor by tensor, for models of many kinds."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from pacos.hub.file_types import FILE_TYPES
from pacos.hub.mixes import Mix
from pacos.hub.random_model import Form, _entries, _hyper_parameters, _tokenizer
from pacos.types import TensorEntry

DATA = Path(__file__).parents[1] / "data" / "mixes.json"
Model = tuple[dict[str, Any], dict[str, TensorEntry]]


def of_form(form: Form) -> Model:
    return {**_hyper_parameters(form, "test"), **_tokenizer(form)}, {one.name: one for one in _entries(form)}


def renamed(model: Model, architecture: str, names: dict[str, str]) -> Model:
    """The model under another architecture, its tensors under other names; those named "" are gone."""
    metadata = {key.replace("llama.", f"{architecture}.", 1): value for key, value in model[0].items()}
    metadata |= {"general.architecture": architecture, f"{architecture}.attention.layer_norm_epsilon": 1e-5}
    entries = {}
    for entry in model[1].values():
        head, _, part = entry.name.rpartition(".weight")[0].rpartition(".")
        if names.get(part) == "":
            continue
        name = ".".join(filter(None, (head, names.get(part, part)))) + ".weight"
        entries[name] = TensorEntry(
            name, *[getattr(entry, one) for one in ("shape", "type", "part", "offset", "nbytes")]
        )
    return metadata, entries


def encoder_decoder(encoders: int, decoders: int) -> Model:
    """A gated T5 of so many layers on both sides."""
    attention = dict.fromkeys("qkvo", (256, 256))
    unit = {"ffn_down": (256, 512), "ffn_gate": (512, 256), "ffn_up": (512, 256)}
    layer = {**{f"attn_{part}": shape for part, shape in attention.items()}, **unit}
    both = {**layer, **{f"cross_attn_{part}": shape for part, shape in attention.items()}}
    sides = (("dec", decoders, both), ("enc", encoders, layer))
    shapes = {f"{side}.blk.{i}.{part}": one[part] for side, count, one in sides for i in range(count) for part in one}
    shapes |= {"output": (1024, 256), "token_embd": (1024, 256)}
    entries = {f"{name}.weight": TensorEntry(f"{name}.weight", shape, "F32", 0, 0, 0) for name, shape in shapes.items()}
    metadata = {"general.architecture": "t5", "t5.block_count": encoders, "t5.attention.head_count": 8}
    return metadata, entries


TALL = of_form(Form(20, 256, 8, 2, 32, 512, 1024, 2048))
MODELS: dict[str, Model] = {
    "tall": TALL,
    "flat": of_form(Form(17, 256, 4, 4, 64, 288, 1024, 2048)),  # rows of 288 are no whole blocks of 256
    "eight experts": of_form(Form(18, 256, 8, 2, 32, 256, 1024, 2048, experts=8, experts_used=2)),
    "many experts": of_form(Form(9, 256, 4, 4, 64, 256, 1024, 2048, experts=16, experts_used=2)),
    "falcon": renamed(TALL, "falcon", {"attn_q": "attn_qkv", "attn_k": "", "attn_v": "", "ffn_gate": ""}),
    "fused": renamed(TALL, "phi2", {"attn_q": "attn_qkv", "attn_k": "", "attn_v": "", "ffn_gate": ""}),
    "encoder-decoder": encoder_decoder(16, 18),
    "70b": of_form(Form(80, 32, 2, 1, 16, 32, 512, 2048)),
}


def choices(model: Model, file_type: str, *, importance: bool) -> dict[str, str]:
    """For each kind of tensor the types of its layers, as runs: "Q6_K x2 Q4_K x6"."""
    metadata, entries = model
    mix = Mix.of(file_type, metadata, entries, importance=importance)
    kinds: dict[str, list[str]] = {}
    for entry in entries.values():
        if entry.name.endswith("norm.weight"):
            continue
        kind = re.sub(r"blk\.\d+\.", "", entry.name)
        kinds.setdefault(kind, []).append(mix.type_of(entry))
    return {
        kind: " ".join(f"{name} x{len(list(run))}" for name, run in groupby(types)) for kind, types in kinds.items()
    }


@pytest.mark.parametrize("importance", [False, True], ids=["plain", "importance"])
@pytest.mark.parametrize("name", MODELS)
def test_mixes_are_those_of_llama_cpp(name: str, importance: bool) -> None:
    """The stored table is what llama-quantize --dry-run says of these models (llama.cpp of llama-cpp-python 0.3.36).

    It makes no NVFP4 files, and no Q1_0 files of rows that are no whole blocks.
    """
    stored = json.loads(DATA.read_text())[name + " importance" * importance]
    assert set(FILE_TYPES) - set(stored) <= {"NVFP4", "Q1_0"}
    for file_type, wanted in stored.items():
        assert choices(MODELS[name], file_type, importance=importance) == wanted, file_type
