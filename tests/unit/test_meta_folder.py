"""Folders that Meta and Mistral publish: parts of matrices joined, params.json read, the same logits as from others."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_builder
from models import running, tiny
from safetensors.numpy import save_file
from vocabularies import trained_sentencepiece

from pacos import backends, quants
from pacos.errors import FormatError, ModelNotFound, PacosError, UnsupportedModel
from pacos.hub.convert import convert, paired_rows
from pacos.hub.names import resolve
from pacos.hub.opening import open_model
from pacos.types import Archive

NAMES = {
    **{"model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output", "model.layers": "layers"},
    **{"self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv"},
    **{"self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2"},
    **{"mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"},
}
PARAMS = {
    **{"dim": tiny.WIDTH, "n_layers": tiny.LAYERS, "n_heads": tiny.HEADS, "n_kv_heads": 2, "vocab_size": -1},
    **{"norm_eps": 1e-5, "multiple_of": 256, "ffn_dim_multiplier": 1.3, "rope_theta": 10000.0},
}


def weights() -> dict[str, np.ndarray]:
    """The tiny Llama in Meta's names; rows of queries and keys as rotary pairs."""
    found = {}
    for name, values in tiny.weights("llama").items():
        heads = tiny.HEADS if "q_proj" in name else 2 if "k_proj" in name else 0
        turned = paired_rows(values, heads, values.shape[0] // heads) if heads else values
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        found[name] = turned
    return found


def write(folder: Path, parts: int, kind: str = "F32", *, columns: bool = False, **more: Any) -> Path:
    """The folder; `columns`: the embedding is parted as in Llama 2."""
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps({**PARAMS, **more}))
    for number in range(parts):
        tensors = {"rope.freqs": ("F32", (32,), bytes(128))}
        for name, values in weights().items():
            axis = int(any(one in name for one in (".wo.", ".w2.")) or (columns and "tok_embeddings" in name))
            piece = np.ascontiguousarray(np.split(values, parts, axis)[number] if values.ndim == 2 else values)
            tensors[name] = (kind, piece.shape, quants.quantize(kind, piece))
        torch_builder.whole(folder / f"consolidated.{number:02}.pth", tensors)
    return folder


def logits(path: Path) -> np.ndarray:
    with closing(backends.backend("cpu")) as cpu, closing(open_model(path)) as archive:
        return running.logits(archive, cpu, [tiny.prompt(64)], 4)[0]


@pytest.mark.parametrize(("parts", "columns"), [(1, False), (2, False), (2, True)])
def test_parts_are_joined_along_the_right_axes(parts: int, columns: bool, tmp_path: Path) -> None:
    expected = logits(tiny.write_folder("llama", tmp_path / "hf"))
    folder = write(tmp_path / "meta", parts, columns=columns)
    assert resolve(folder) == folder
    assert running.divergence(expected, logits(folder)) < 1e-6
    convert(folder, tmp_path / "meta.gguf", "F32")
    assert running.divergence(expected, logits(tmp_path / "meta.gguf")) < 1e-6


@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_matrices_keep_their_types_and_bits(kind: str, tmp_path: Path) -> None:
    with closing(open_model(write(tmp_path / "meta", 2, kind))) as archive:
        for gguf, name in (("blk.1.ffn_down", "layers.1.feed_forward.w2"), ("blk.0.attn_q", "layers.0.attention.wq")):
            assert archive.tensors[f"{gguf}.weight"].type == kind
            assert bytes(archive.data(f"{gguf}.weight")) == quants.quantize(kind, weights()[f"{name}.weight"])
        assert archive.tensors["output_norm.weight"].type == "F32"


def test_mistral_publishes_safetensors(tmp_path: Path) -> None:
    expected = logits(tiny.write_folder("llama", tmp_path / "hf"))
    folder = tmp_path / "mistral"
    folder.mkdir()
    params = {key: PARAMS[key] for key in ("dim", "n_layers", "n_heads", "n_kv_heads", "norm_eps", "rope_theta")}
    (folder / "params.json").write_text(json.dumps({**params, "hidden_dim": tiny.HIDDEN, "head_dim": 64}))
    save_file({name: np.ascontiguousarray(one) for name, one in weights().items()}, folder / "consolidated.safetensors")
    assert running.divergence(expected, logits(folder)) < 1e-6
    assert opened(folder)["llama.context_length"] == 32768


def opened(folder: Path) -> dict[str, Any]:
    with closing(open_model(folder)) as archive:
        return dict(archive.metadata)


def test_generations_are_told_apart(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({"norm_eps": 1e-6}, 2048),
        ({}, 4096),
        ({"rope_theta": 500000.0}, 8192),
        ({"rope_theta": 500000.0, "use_scaled_rope": True}, 131072),
        ({"max_seq_len": 1000}, 1000),
    ]
    for number, (more, context) in enumerate(cases):
        folder = write(tmp_path / str(number), 1, **more)
        with closing(open_model(folder)) as archive:
            assert archive.metadata["llama.context_length"] == context
            assert ("rope_freqs.weight" in archive.tensors) == ("use_scaled_rope" in more)
            if "use_scaled_rope" in more:
                assert max(_floats(archive, "rope_freqs.weight")) == 32.0, "as narrow as Llama 3.2's"


def _floats(archive: Archive, name: str) -> list[float]:
    return np.frombuffer(archive.data(name), np.float32).tolist()


def test_the_tokenizers_of_llama_2_and_3(tmp_path: Path) -> None:
    folder = write(tmp_path / "two", 1)
    _, model = trained_sentencepiece(model_type="bpe")
    (folder / "tokenizer.model").write_bytes(model)
    found = opened(folder)
    assert found["tokenizer.ggml.model"] == "llama"
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (1, 2)
    (folder / "tokenizer.model").rename(folder / "tokenizer.model.v3")
    assert opened(folder) == found
    folder = tmp_path / "three"
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(PARAMS))
    tensors = weights()
    for name in ("tok_embeddings.weight", "output.weight"):
        tensors[name] = np.concatenate([tensors[name]] * 2)
    save_file({name: np.ascontiguousarray(one) for name, one in tensors.items()}, folder / "consolidated.safetensors")
    lines = (f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    (folder / "tokenizer.model").write_text("".join(lines))
    found = opened(folder)
    tokens = list(found["tokenizer.ggml.tokens"])
    marks = ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>")
    assert [tokens[256 + i] for i in (0, 1, 2, 6)] == list(marks)
    assert (tokens[256 + 9], tokens[256 + 11]) == ("<|eot_id|>", "<|reserved_special_token_3|>")
    ids = {role: found[f"tokenizer.ggml.{role}_token_id"] for role in ("bos", "eos", "eot")}
    assert ids == {"bos": 256, "eos": 257, "eot": 265}
    assert found["tokenizer.ggml.pre"] == "llama-bpe"


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _params(**more: Any) -> Callable[[Path], Any]:
    return lambda folder: (folder / "params.json").write_text(json.dumps({**PARAMS, **more}))


REFUSED: dict[str, tuple[Callable[[Path], Any], type[PacosError], str]] = {
    "no part": (_without("consolidated.00.pth"), ModelNotFound, "consolidated.00.pth: this part is missing"),
    "unknown key": (_params(yarn={"factor": 4}), UnsupportedModel, "yarn is .*not computed"),
    "no object": (lambda folder: (folder / "params.json").write_text("[]"), FormatError, "params.json"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_cannot_be_opened(name: str, tmp_path: Path) -> None:
    change, kind, words = REFUSED[name]
    folder = write(tmp_path / "meta", 2)
    change(folder)
    with pytest.raises(kind, match=words):
        open_model(folder)


def test_parts_of_other_models_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "meta", 2)
    other = write(tmp_path / "other", 1)
    (other / "consolidated.00.pth").rename(folder / "consolidated.01.pth")
    with pytest.raises(FormatError, match="differ in form"):
        open_model(folder)
