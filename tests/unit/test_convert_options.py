"""What `pacos convert` can be told: types, vocabulary alone, parts, metadata, and to write nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import here
from models import tiny

import pacos
from pacos.errors import UsageError
from pacos.formats.gguf import read_gguf
from pacos.hub.convert import convert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_folder("llama", tmp_path / "tiny")


def test_types(folder: Path, tmp_path: Path) -> None:
    wanted = {"auto": "BF16", "tq1_0": "TQ1_0", "tq2_0": "TQ2_0", "q8_0": "Q8_0"}
    for outtype, kind in wanted.items():
        convert(folder, tmp_path / "m.gguf", outtype)
        tensors = read_gguf(tmp_path / "m.gguf").tensors
        assert tensors["blk.0.attn_q.weight"].type == kind
        assert tensors["output.weight"].type == ("F16" if kind.startswith("TQ") else kind)
    with pytest.raises(UsageError, match="types: auto, F32"):
        convert(folder, tmp_path / "m.gguf", "q9")


def test_vocabulary_alone_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    whole, vocabulary = tmp_path / "whole.gguf", tmp_path / "vocabulary.gguf"
    convert(folder, whole)
    (folder / "model.safetensors").unlink()
    done = here("convert", str(folder), str(vocabulary), "--vocab-only")
    assert done.code == 0, done.err
    found, expected = (read_gguf(path) for path in (vocabulary, whole))
    assert not found.tensors
    differing = {key for key in expected.metadata if found.metadata.get(key) != expected.metadata[key]}
    assert differing == {"general.file_type", "general.size_label"}
    with pacos.load(vocabulary, vocab_only=True) as llm:
        assert llm.detokenize(llm.tokenize("abc")) == "abc"


def test_parts(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    convert(folder, whole, "F16")
    for number, option in enumerate((("--split-max-tensors", "8"), ("--split-max-size", "500K"))):
        place = tmp_path / str(number)
        place.mkdir()
        assert here("convert", str(folder), str(place / "m.gguf"), "--outtype", "f16", *option).code == 0
        parts = sorted(place.iterdir())
        assert len(parts) > 2
        assert parts[0].name == f"m-00001-of-{len(parts):05}.gguf"
        joined, expected = read_gguf(parts[-1]), read_gguf(whole)
        assert {key: value for key, value in joined.metadata.items() if not key.startswith("split.")} == dict(
            expected.metadata
        )
        assert all(bytes(joined.data(name)) == bytes(expected.data(name)) for name in expected.tensors)
        again = here("convert", str(folder), str(place / "m.gguf"), "--outtype", "f16", *option)
        assert again.code == 2
        assert "exists" in again.err
    both = ("--split-max-tensors", "8", "--split-max-size", "1M")
    assert here("convert", str(folder), str(tmp_path / "x.gguf"), *both).code == 2


def test_metadata(folder: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "m.gguf", tmp_path / "metadata.json"
    file.write_text(json.dumps({"general.license": "mit", "general.name": "file", "general.tags": ["a", "b"]}))
    given = ("--metadata", str(file), "--override", "llama.context_length=int:99", "--override", "own.x=f32:0.5")
    more = ("--override", "own.flag=bool:true", "--override", "own.text=str:a=b:c", "--model-name", "Mine")
    done = here("convert", str(folder), str(out), *given, *more)
    assert done.code == 0, done.err
    found = read_gguf(out)
    assert found.metadata["general.license"] == "mit"
    assert found.metadata["general.name"] == "Mine"
    assert list(found.metadata["general.tags"]) == ["a", "b"]
    assert found.metadata["llama.context_length"] == 99
    assert (found.metadata["own.x"], found.metadata["own.flag"], found.metadata["own.text"]) == (0.5, True, "a=b:c")
    assert (found.value_types["llama.context_length"], found.value_types["own.x"]) == ("U32", "F32")
    for wrong in ("own.x", "own.x=1", "own.x=u8:word", "own.x=what:1", "general.architecture=str:qwen2"):
        refused = here("convert", str(folder), str(tmp_path / "n.gguf"), "--override", wrong)
        assert refused.code == 2, wrong
    assert not (tmp_path / "n.gguf").exists()


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    done = here("convert", str(folder), str(tmp_path / "m.gguf"), "--dry-run", "--outtype", "q8_0")
    assert done.code == 0, done.err
    assert "Q8_0: 16 tensors" in done.out
    assert "F32: 5 tensors" in done.out
    assert "nothing is written" in done.out
    assert not (tmp_path / "m.gguf").exists()


def test_options_of_models_are_refused_for_adapters(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    done = here("convert", str(tmp_path / "a"), str(tmp_path / "m.gguf"), "--vocab-only")
    assert done.code == 2
    assert "--vocab-only has no effect for an adapter" in done.err
