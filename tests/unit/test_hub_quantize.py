"""Quantizing files: the mixes of types, streaming, what is kept, what is refused."""

from __future__ import annotations

import ctypes
import json
from itertools import groupby
from pathlib import Path

import gguf
import numpy as np
import pytest
from commands import here

from pacos import native, quants
from pacos.errors import UsageError
from pacos.formats.gguf import read_gguf
from pacos.hub.file_types import FILE_TYPES, file_type_name
from pacos.hub.mixes import Mix, Wishes
from pacos.hub.quantize import quantize_file
from pacos.hub.random_model import Form, _entries, _hyper_parameters, write_random_model

DATA = Path(__file__).parents[1] / "data"
TALL = Form(20, 256, 8, 2, 32, 512, 1024, 2048)
FLAT = Form(17, 256, 4, 4, 64, 288, 1024, 2048)  # rows of 288 weights are no whole blocks of 256


def choices(form: Form, file_type: str) -> dict[str, str]:
    """For each kind of tensor the types of its layers, as runs: "Q6_K x2 Q4_K x6"."""
    entries = {entry.name: entry for entry in _entries(form)}
    mix = Mix.of(file_type, _hyper_parameters(form, "test"), entries)
    kinds: dict[str, list[str]] = {}
    for entry in entries.values():
        kind = entry.name.split(".", 2)[2] if entry.name.startswith("blk.") else entry.name
        kinds.setdefault(kind, []).append(mix.type_of(entry))
    return {
        kind: " ".join(f"{name} x{len(list(run))}" for name, run in groupby(types)) for kind, types in kinds.items()
    }


@pytest.mark.parametrize("file_type", FILE_TYPES)
@pytest.mark.parametrize(("name", "form"), [("tall", TALL), ("flat", FLAT)])
def test_mixes_are_those_of_llama_cpp(name: str, form: Form, file_type: str) -> None:
    """The stored table was compared, tensor by tensor, with files that llama.cpp quantized (python binding 0.3.36).

    It refuses what needs an importance matrix without one, so these were made with one (and IQ3_XXS then differs as its
    source says); it makes no NVFP4 files.
    """
    assert choices(form, file_type) == json.loads((DATA / "mixes.json").read_text())[name][file_type]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantize") / "source.gguf"
    write_random_model(path, preset="tiny", type="F32", seed=3)
    return path


@pytest.mark.parametrize("file_type", ["F16", "Q8_0", "Q4_K_M", "Q2_K", "IQ2_M", "IQ4_XS", "NVFP4"])
def test_the_new_file_holds_the_same_model(file_type: str, source: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    target = tmp_path / "target.gguf"
    size = quantize_file(source, target, file_type.lower(), progress=shares.append, threads=2)
    assert size == target.stat().st_size
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    with read_gguf(source) as old, read_gguf(target) as new:
        assert list(old.tensors) == list(new.tensors)
        assert new.metadata["general.file_type"] == FILE_TYPES[file_type]
        assert list(new.metadata["tokenizer.ggml.tokens"]) == list(old.metadata["tokenizer.ggml.tokens"])
        changed = {"general.file_type"}
        assert {k for k, v in old.value_types.items() if new.value_types[k] != v} <= changed
        for name, entry in new.tensors.items():
            values = quants.dequantize("F32", old.data(name), old.tensors[name].shape)
            assert bytes(new.data(name)) == quants.quantize(entry.type, values)


def test_another_reader_reads_the_file(source: Path, tmp_path: Path) -> None:
    quantize_file(source, tmp_path / "target.gguf", "Q5_K_S")
    reader = gguf.GGUFReader(tmp_path / "target.gguf")
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["blk.0.attn_q.weight"] == "Q5_K"
    assert types["token_embd.weight"] == "Q6_K"


def test_the_number_of_threads_changes_nothing(source: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        quantize_file(source, tmp_path / f"{threads}.gguf", "Q3_K_M", threads=threads)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_freed_memory_is_given_back_at_the_end() -> None:
    with native.freed_memory_kept():
        inside = native.function("pacos_keep_freed_memory", ctypes.c_int32, [ctypes.c_int32])(1)
    assert inside in (0, -1)
    with pytest.raises(RuntimeError), native.freed_memory_kept():
        raise RuntimeError


def test_a_quantized_source_is_taken_as_it_is(source: Path, tmp_path: Path) -> None:
    quantize_file(source, tmp_path / "8.gguf", "Q8_0")
    quantize_file(tmp_path / "8.gguf", tmp_path / "back.gguf", "F32")
    with read_gguf(tmp_path / "8.gguf") as middle, read_gguf(tmp_path / "back.gguf") as back:
        entry = middle.tensors["blk.1.ffn_up.weight"]
        expected = quants.dequantize("Q8_0", middle.data(entry.name), entry.shape)
        np.testing.assert_array_equal(quants.dequantize("F32", back.data(entry.name), entry.shape), expected)


def test_wrong_requests_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file type 'Q9'"):
        quantize_file(source, tmp_path / "x.gguf", "Q9")
    with pytest.raises(UsageError, match="is the source itself"):
        quantize_file(source, source, "Q8_0")
    assert not (tmp_path / "x.gguf").exists()


def test_file_types_have_names() -> None:
    assert file_type_name(15) == "Q4_K_M"
    assert file_type_name(999) == "type 999"
    assert file_type_name("Q4") == "unknown"


def types_of(path: Path) -> dict[str, str]:
    with read_gguf(path) as archive:
        return {name: entry.type for name, entry in archive.tensors.items()}


def test_wishes_change_the_mix(source: Path, tmp_path: Path) -> None:
    pure, wished = tmp_path / "pure.gguf", tmp_path / "wished.gguf"
    quantize_file(source, pure, "Q4_K_M", wishes=Wishes(pure=True))
    mixed = types_of(pure)
    assert {kind for name, kind in mixed.items() if name.endswith(".weight") and "norm" not in name} == {"Q4_K"}
    patterns = (("blk.0.*attn_v", "Q8_0"), ("attn_v", "q5_k"), ("token_embd", "F16"))
    quantize_file(source, wished, "Q4_K_M", wishes=Wishes(patterns=patterns))
    found = types_of(wished)
    assert (found["blk.0.attn_v.weight"], found["blk.1.attn_v.weight"]) == ("Q8_0", "Q5_K")
    assert found["token_embd.weight"] == "F16"
    assert found["blk.1.attn_q.weight"] == "Q4_K"


def test_wishes_on_the_command_line(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    done = here(
        *("quantize", str(source), str(target), "Q4_0", "--pure", "--token-embedding-type", "Q8_0"),
        *("--tensor-type", "ffn_down=Q6_K", "-t", "1"),
    )
    assert done.code == 0, done.err
    found = types_of(target)
    assert (found["token_embd.weight"], found["blk.0.ffn_down.weight"]) == ("Q8_0", "Q6_K")
    for wrong, words in (("ffn_down", "PATTERN=TYPE"), ("ffn_(=Q4_0", "ffn_("), ("ffn=Q9_9", "Q9_9")):
        done = here("quantize", str(source), str(target), "Q4_0", "--tensor-type", wrong, "--force")
        assert done.code == 2
        assert words in done.err
    assert types_of(target) == found
