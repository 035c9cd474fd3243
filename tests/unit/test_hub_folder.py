"""Hugging Face folders as archives: metadata from config.json, the tokenizer, tensor names, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import tiny
from safetensors.numpy import load_file, save_file
from shared_files import shared

from pacos import quants
from pacos.errors import FormatError, ModelNotFound, PacosError, UnsupportedModel
from pacos.formats.gguf import read_gguf
from pacos.hub.convert import convert, paired_rows
from pacos.hub.describe import describe, metadata_rows, shown, tensor_rows
from pacos.hub.opening import open_model
from pacos.models import HuggingFace, architectures
from pacos.models.gemma3 import GEMMA3
from pacos.models.hf_config import llama3_factors
from pacos.models.llama import LLAMA


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_folder("llama", tmp_path / "tiny-hf")


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_folder_speaks_gguf(folder: Path) -> None:
    archive = open_model(folder)
    assert archive.metadata["general.architecture"] == "llama"
    assert archive.metadata["general.name"] == "tiny"
    assert archive.metadata["pacos.rope.style"] == "halves"
    assert archive.metadata["tokenizer.ggml.pre"] == "gpt-2"
    assert archive.tensors["blk.1.ffn_down.weight"].shape == (tiny.WIDTH, tiny.HIDDEN)
    expected = tiny.weights("llama")["model.layers.1.mlp.down_proj.weight"]
    np.testing.assert_array_equal(
        quants.dequantize("F32", archive.data("blk.1.ffn_down.weight"), expected.shape), expected
    )
    with pytest.raises(FormatError, match="no tensor 'nothing'"):
        archive.data("nothing")
    archive.close()


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_vectors_are_widened_and_matrices_left(kind: str, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    path = folder / "model.safetensors"
    if kind == "F16":
        save_file({name: value.astype(np.float16) for name, value in tensors.items()}, path)
    else:
        _save_bf16(tensors, path)
    archive = open_model(folder)
    assert archive.tensors["output.weight"].type == kind
    norm = archive.tensors["output_norm.weight"]
    assert (norm.type, norm.nbytes) == ("F32", 4 * tiny.WIDTH)
    found = np.frombuffer(archive.data("output_norm.weight"), np.float32)
    np.testing.assert_allclose(found, tensors["model.norm.weight"], rtol=1e-2)
    archive.close()


def _save_bf16(tensors: dict[str, np.ndarray], path: Path) -> None:
    header: dict[str, Any] = {}
    blob = b""
    for name, value in tensors.items():
        raw = quants.quantize("BF16", value)
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.pop("architectures"), FormatError, "architectures"),
        (lambda c: c.update(architectures=[]), FormatError, "architectures"),
        (lambda c: c.update(architectures=["BartModel"]), UnsupportedModel, "BartModel"),
        (lambda c: c.update(hidden_act="relu"), UnsupportedModel, "activation is 'relu'"),
        (lambda c: c.update(rope_parameters={"rope_type": "magic"}), UnsupportedModel, "magic"),
        (lambda c: c.update(rope_parameters={"rope_type": "linear"}), FormatError, "factor"),
        (lambda c: c.update(rope_parameters=[1]), FormatError, "rope_parameters"),
        (lambda c: c.update(num_local_experts=8), UnsupportedModel, "num_local_experts"),
    ],
)
def test_configs_that_cannot_run_are_refused(
    change: Callable[[dict[str, Any]], Any], error: type[PacosError], message: str, folder: Path
) -> None:
    edit(folder / "config.json", change)
    with pytest.raises(error, match=message):
        open_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\xff", '{"a": 1' + "}" * 3])
def test_configs_that_are_no_json_object_are_refused(text: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"config\.json"):
        open_model(folder)


def test_missing_parts_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises((ModelNotFound, FormatError), match="safetensors"):
        open_model(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"tokenizer\.model: line 1 is 'x'"):
        open_model(folder)
    (folder / "tokenizer.model").rename(folder / "merges.txt")
    with pytest.raises(UnsupportedModel, match=r"only merges\.txt"):
        open_model(folder)


def test_a_folder_without_any_tokenizer_takes_token_ids(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    archive = open_model(folder)
    assert archive.metadata["tokenizer.ggml.model"] == "no_vocab"
    assert len(archive.metadata["tokenizer.ggml.tokens"]) == tiny.VOCAB
    archive.close()


def test_output_and_embedding_may_be_one(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, folder / "model.safetensors")
    edit(folder / "config.json", lambda c: c.update(tie_word_embeddings=True))
    archive = open_model(folder)  # only lm_head is stored
    assert "output.weight" not in archive.tensors
    assert archive.tensors["token_embd.weight"].shape == embedding.shape
    archive.close()
    del tensors["lm_head.weight"]
    save_file(tensors | {"model.embed_tokens.weight": embedding}, folder / "model.safetensors")
    open_model(folder).close()
    edit(folder / "config.json", lambda c: c.update(tie_word_embeddings=False))
    with pytest.raises(FormatError, match=r"lm_head\.weight"):
        open_model(folder)


def test_tensors_that_nobody_knows_are_a_warning_and_types_an_error(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"model.extra": np.zeros(3, np.float32)}, folder / "model.safetensors")
    archive: Any = open_model(folder)
    assert any("model.extra" in warning for warning in archive.warnings)
    archive.close()
    save_file(tensors | {"lm_head.weight": np.zeros((tiny.VOCAB, tiny.WIDTH), np.int8)}, folder / "model.safetensors")
    with pytest.raises(UnsupportedModel, match="I8"):
        open_model(folder)


def test_the_same_weight_twice_is_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"norm.weight": np.zeros(tiny.WIDTH, np.float32)}, folder / "model.safetensors")
    with pytest.raises(FormatError, match="are the same weight"):
        open_model(folder)


def test_converted_files_hold_pairs_and_no_private_key(folder: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    size = convert(folder, tmp_path / "m.gguf", "f16", progress=shares.append, about={"general.license": "mit"})
    assert size == (tmp_path / "m.gguf").stat().st_size
    assert shares[-1] == pytest.approx(1.0)
    with read_gguf(tmp_path / "m.gguf") as archive:
        assert "pacos.rope.style" not in archive.metadata
        assert archive.metadata["general.license"] == "mit"
        assert {entry.type for entry in archive.tensors.values()} == {"F16", "F32"}
        rows = tiny.weights("llama")["model.layers.0.self_attn.q_proj.weight"].astype(np.float16)
        entry = archive.tensors["blk.0.attn_q.weight"]
        found = np.frombuffer(archive.data(entry.name), np.float16).reshape(entry.shape)
        np.testing.assert_array_equal(found[0:4], rows[[0, 32, 1, 33]])
        np.testing.assert_array_equal(found[64:66], rows[[64, 96]])


def test_rows_outside_the_rotary_part_stay() -> None:
    rows = np.arange(16)
    assert paired_rows(rows, 2, 4).tolist() == [0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15]


def test_unknown_output_types_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PacosError, match="cannot convert to 'q9'"):
        convert(folder, tmp_path / "m.gguf", "q9")


@pytest.mark.parametrize("hf", [hf for entry in architectures() for hf in entry.hf], ids=lambda hf: hf.classes[0])
def test_every_name_leads_to_its_tensor_and_no_other(hf: HuggingFace) -> None:
    table = hf.table()
    for row in hf.names:
        name = row.hf.replace("{i}", "12").replace("{e}", "3")
        found = [one for one in table.find(hf.prefixes[0] + name) if one.name.gguf == row.gguf.replace("{i}", "12")]
        assert [(one.name.hf, one.expert) for one in found] == [(name, 3 if "{e}" in row.hf else row.place)]
        assert "{" not in found[0].name.gguf
    assert table.find("model.layers.12345.mlp.up_proj.weight") == []


def test_older_configs_mean_the_same() -> None:
    old = {
        "rope_theta": 5e5,
        "rope_scaling": {"type": "linear", "factor": 4.0},
        "hidden_size": 64,
        "num_attention_heads": 4,
    }
    new = {"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 500000}} | dict(list(old.items())[2:])
    assert LLAMA.metadata_of("llama", old) == LLAMA.metadata_of("llama", new)
    assert LLAMA.metadata_of("llama", old)["llama.rope.scaling.factor"] == 4.0
    gemma = {"rope_theta": 1e6, "rope_local_base_freq": 1e4}
    assert GEMMA3.metadata_of("gemma3", gemma)["gemma3.rope.freq_base_swa"] == 1e4


def test_yarn_takes_the_files_own_attention_factor() -> None:
    settings = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.0}
    factor = LLAMA.metadata_of("llama", {"rope_parameters": settings})["llama.rope.scaling.yarn_attn_factor"]
    assert factor == pytest.approx(1 / (0.1 * np.log(4.0) + 1))


def test_llama3_factors_are_one_at_the_fast_end_and_full_at_the_slow() -> None:
    rope = {**tiny.CASES["llama-factors"].config["rope_parameters"]}
    factors = llama3_factors(rope, 64)
    assert (factors[0], factors[-1], factors == sorted(factors)) == (1.0, 8.0, True)
    meeting = llama3_factors({**rope, "low_freq_factor": 4.0}, 64)  # as in Llama 4 Scout
    assert set(meeting) == {1.0, 8.0}
    assert meeting == sorted(meeting)
    with pytest.raises(FormatError, match=r"low_freq_factor 5 is above high_freq_factor 4"):
        llama3_factors({**rope, "low_freq_factor": 5.0}, 64)


def test_facts_are_plain_data(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "m.gguf", "q8_0")
    for path in (folder, tmp_path / "m.gguf"):
        archive = open_model(path)
        facts = json.loads(json.dumps(describe(archive)))
        assert facts["model"]["layers"] == tiny.LAYERS
        assert facts["weights"]["parameters"] == sum(value.size for value in tiny.weights("llama").values())
        assert facts["tokenizer"]["eos"] == {"id": 1, "text": "</s>"}
        assert len(metadata_rows(archive)) == len(archive.metadata)
        assert len(tensor_rows(archive)) == facts["weights"]["tensors"]
        archive.close()
    assert facts["weights"]["file_type"] == "Q8_0"
    assert shown("a\x1b[0m") == "a\\x1b[0m"
    assert shown([1.5] * 20) == "[" + "1.5, " * 8 + "...] (20 values)"


def test_real_folders_open() -> None:
    for name, model in (("storyteller-hf", "gpt2"), ("TinyStories-656K-hf", "llama")):
        archive = open_model(shared(f"models/{name}"))
        assert archive.metadata["tokenizer.ggml.model"] == model
        archive.close()
