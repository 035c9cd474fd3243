"""Quantizing files: the mixes of types, streaming, what is kept, what is refused."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import numpy as np
import pytest
from commands import here

from pacos import native, quants
from pacos.errors import FormatError, UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import write_gguf
from pacos.formats.imatrix import Entry, ImportanceMatrix, write_imatrix
from pacos.hub.file_types import FILE_TYPES, file_type_name
from pacos.hub.guide import Guide
from pacos.hub.mixes import Wishes
from pacos.hub.parts import split_file
from pacos.hub.quantize import quantize_file
from pacos.hub.random_model import write_random_model


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantize") / "source.gguf"
    write_random_model(path, preset="tiny", type="F32", seed=3)
    return path


@pytest.mark.parametrize("file_type", ["F16", "Q8_0", "Q4_K_M", "Q2_K", "IQ3_S", "IQ4_XS", "NVFP4"])
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


@pytest.mark.parametrize("file_type", ["Q4_0", "IQ3_S"])
def test_weights_that_are_no_numbers_are_refused(file_type: str, tmp_path: Path) -> None:
    values = np.ones((8, 256), np.float32)
    values[5, 7] = np.nan
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    write_gguf(source, {"general.architecture": "llama"}, [("blk.0.attn_q.weight", (8, 256), "F32", values)])
    with pytest.raises(FormatError, match=r"attn_q\.weight: weights are NaN or infinite"):
        quantize_file(source, target, file_type)
    assert not target.exists()


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
    for wrong, words in (
        *(("ffn_down", "PATTERN=TYPE"), ("ffn_(=Q4_0", "ffn_(")),
        *(("ffn=Q9_9", "Q9_9"), ("foo=Q4_0", "no tensor")),
    ):
        done = here("quantize", str(source), str(target), "Q4_0", "--tensor-type", wrong, "--force")
        assert done.code == 2
        assert words in done.err
    assert types_of(target) == found


@pytest.fixture(scope="module")
def matrix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An importance matrix of the source's second layer and what is in no layer."""
    rng = np.random.default_rng(5)
    made = ImportanceMatrix({}, ["text.txt"], 3, 512)
    with read_gguf(source) as archive:
        for name, entry in archive.tensors.items():
            if len(entry.shape) == 2 and name != "token_embd.weight":
                sums = np.square(rng.standard_normal(entry.shape[-1])).astype(np.float32)
                made.entries[name] = Entry(sums, [1536])
    path = tmp_path_factory.mktemp("matrix") / "matrix.gguf"
    write_imatrix(path, made)
    return path


def test_an_importance_matrix_guides(source: Path, matrix: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    guide = Guide.read(matrix, exclude=["blk.0.attn_q"])
    with pytest.raises(UsageError, match="garbage as IQ2_XXS without an importance matrix"):
        quantize_file(source, target, "IQ2_XXS", guide=guide)
    assert not target.exists()
    quantize_file(source, target, "Q4_K_M", guide=guide)
    with read_gguf(source) as old, read_gguf(target) as new:
        for name, entry in new.tensors.items():
            values = quants.dequantize("F32", old.data(name), old.tensors[name].shape)
            importance = guide.weights_of(entry)
            assert bytes(new.data(name)) == quants.quantize(
                entry.type, values, None if importance is None else importance[0]
            )
        said = {key: value for key, value in new.metadata.items() if key.startswith("quantize.")}
    assert said == {
        "quantize.imatrix.file": str(matrix)[:127],
        "quantize.imatrix.dataset": "text.txt",
        "quantize.imatrix.entries_count": 13,
        "quantize.imatrix.chunks_count": 3,
    }


def test_experts_have_an_importance_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((3, 40, 256), np.float32)
    name = "blk.0.ffn_up_exps.weight"
    metadata = {"general.architecture": "llama", "llama.block_count": 1, "llama.expert_count": 3}
    write_gguf(tmp_path / "source.gguf", metadata, [(name, weights.shape, "F32", weights)])
    sums = np.square(rng.standard_normal((3, 256))).astype(np.float32)
    write_imatrix(tmp_path / "m.gguf", ImportanceMatrix({name: Entry(sums.reshape(-1), [4, 0, 8])}, [], 1, 512))
    quantize_file(tmp_path / "source.gguf", tmp_path / "target.gguf", "IQ2_XS", guide=Guide.read(tmp_path / "m.gguf"))
    with read_gguf(tmp_path / "target.gguf") as archive:
        kind, data = archive.tensors[name].type, bytes(archive.data(name))
    given = (sums[0] / np.float32(4), np.ones(256, np.float32), sums[2] / np.float32(8))
    assert data == b"".join(quants.quantize(kind, weights[i], given[i]) for i in range(3))


def test_a_matrix_of_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    other = ImportanceMatrix({"blk.0.attn_q.weight": Entry(np.ones(64, np.float32), [1])}, [], 1, 512)
    write_imatrix(tmp_path / "m.gguf", other)
    done = here("quantize", source, tmp_path / "x.gguf", "Q4_K_M", "--imatrix", tmp_path / "m.gguf")
    assert done.code == 2
    assert "it has 64 columns of blk.0.attn_q.weight, the model has 256" in done.err
    given = ("quantize", source, tmp_path / "x.gguf", "Q4_0", "--imatrix", tmp_path / "m.gguf")
    none = here(*given, "--include-weights", "y")
    assert "no tensor is left of 1" in none.err
    assert here(*given, "--include-weights", "a", "--exclude-weights", "b").code == 2
    assert here(*given[:4], "--exclude-weights", "b").code == 2


def test_a_dry_run_tells_sizes(source: Path, matrix: Path, tmp_path: Path) -> None:
    told = here("quantize", source, "IQ2_M", "--dry-run", "--json")
    assert told.code == 0, told.err
    assert "blk.0.attn_q.weight" in told.data["needs_imatrix"]
    guided = here("quantize", source, tmp_path / "x.gguf", "IQ2_M", "--dry-run", "--json", "--imatrix", matrix).data
    assert guided["needs_imatrix"] == []
    assert not (tmp_path / "x.gguf").exists()
    quantize_file(source, tmp_path / "x.gguf", "IQ2_M", guide=Guide.read(matrix))
    with read_gguf(tmp_path / "x.gguf") as archive:
        assert {one["name"]: one["type"] for one in guided["tensors"]} == types_of(tmp_path / "x.gguf")
        assert guided["bytes"] == sum(entry.nbytes for entry in archive.tensors.values())
    printed = here("quantize", source, "IQ2_M", "--dry-run")
    assert "IQ2_M needs an importance matrix" in printed.err
    assert "bits per weight" in printed.out
    assert here("quantize", source, tmp_path / "y.gguf").code == 2


def test_layers_are_left_out_and_keys_set(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    done = here(
        *("quantize", source, target, "Q4_0", "--prune-layers", "0"),
        *("--override-kv", "general.name=str:half", "--override-kv", "llama.rope.freq_base=float:1e4"),
    )
    assert done.code == 0, done.err
    with read_gguf(source) as old, read_gguf(target) as new:
        assert new.metadata["llama.block_count"] == 1
        assert new.metadata["general.name"] == "half"
        assert new.metadata["llama.rope.freq_base"] == 10000
        assert {name for name in new.tensors if name.startswith("blk.1.")} == set()
        kept = quants.dequantize("F32", old.data("blk.1.attn_q.weight"), (256, 256))
        assert bytes(new.data("blk.0.attn_q.weight")) == quants.quantize("Q4_0", kept)
    for wrong in (
        ("--prune-layers", "2"),
        ("--prune-layers", "0,1"),
        ("--prune-layers", "x"),
        ("--override-kv", "a=b"),
    ):
        assert here("quantize", source, tmp_path / "x.gguf", "Q4_0", *wrong).code == 2


def test_parts_stay_parts(source: Path, tmp_path: Path) -> None:
    parts = split_file(source, tmp_path / "parts", max_tensors=8)
    done = here("quantize", parts[0], tmp_path / "small.gguf", "Q8_0", "--keep-split")
    assert done.code == 0, done.err
    assert f"small-*.gguf, {len(parts)} parts: " in done.err
    quantize_file(source, tmp_path / "whole.gguf", "Q8_0")
    made = sorted(tmp_path.glob("small-*.gguf"))
    assert [path.name for path in made] == [f"small-{i + 1:05}-of-{len(parts):05}.gguf" for i in range(len(parts))]
    with read_gguf(made[0]) as found, read_gguf(tmp_path / "whole.gguf") as wanted:
        assert {name: bytes(found.data(name)) for name in found.tensors} == {
            name: bytes(wanted.data(name)) for name in wanted.tensors
        }
    assert here("quantize", parts[0], tmp_path / "small.gguf", "Q8_0", "--keep-split").code == 2
    many = split_file(source, tmp_path / "many", max_tensors=3)
    pruned = here("quantize", many[0], tmp_path / "fewer.gguf", "Q8_0", "--keep-split", "--prune-layers", "0")
    left = len(list(tmp_path.glob("fewer-*.gguf")))
    assert 1 < left < len(many)
    assert f"fewer-*.gguf, {left} parts: " in pruned.err
    assert here("quantize", source, tmp_path / "one.gguf", "Q8_0", "--keep-split").code == 0
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_types_of_tensors_from_a_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "types.txt").write_text("attn_v=Q8_0\nffn_down=Q6_K attn_q=Q5_0\n")
    done = here("quantize", source, tmp_path / "x.gguf", "Q4_0", "--tensor-type-file", tmp_path / "types.txt")
    assert done.code == 0, done.err
    found = types_of(tmp_path / "x.gguf")
    assert [found[f"blk.1.{name}.weight"] for name in ("attn_v", "ffn_down", "attn_q")] == ["Q8_0", "Q6_K", "Q5_0"]
