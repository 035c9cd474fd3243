"""Sound GGUF files: read, memory-mapped, split, and fast."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from array import array
from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf_builder import Parts, array_pair, pair, tensor, text, two_tensors, u32
from linear_time import quickest
from shared_files import shared

from pacos.errors import FormatError, UsageError
from pacos.formats import containers, mapped, open_archive
from pacos.formats.gguf import GgufArchive, read_gguf
from pacos.formats.gguf_types import STRING, TENSOR_TYPES
from pacos.formats.gguf_write import write_gguf
from pacos.formats.string_array import StringArray
from pacos.types import TensorEntry


@pytest.mark.parametrize("version", [2, 3])
def test_a_small_file_is_read_as_it_is(tmp_path: Path, version: int) -> None:
    parts = two_tensors()
    parts.version = version
    with read_gguf(parts.save(tmp_path)) as archive:
        assert archive.version == version
        assert dict(archive.metadata) == {
            "general.architecture": "llama",
            "general.alignment": 32,
            "a.bool": True,
            "a.float": 1.5,
            "a.double": 0.1,
            "a.byte": -1,
            "a.big": 2**64 - 1,
            "a.words": ["one", "", "drei"],
            "a.numbers": array("i", [-1, 0, 7]),
            "a.flags": [False, True],
        }
        assert archive.value_types["a.byte"] == "I8"
        assert archive.value_types["a.words"] == "STRING"
        start = len(bytes(parts)) - len(parts.data)
        assert archive.tensors["token_embd.weight"] == TensorEntry("token_embd.weight", (2, 4), "F32", 0, start, 32)
        assert archive.tensors["output.weight"] == TensorEntry("output.weight", (1, 32), "Q8_0", 0, start + 32, 34)
        assert bytes(archive.data("output.weight")) == bytes(range(34))
        assert ctypes.string_at(archive.address("output.weight"), 34) == bytes(range(34))
        assert archive.nbytes == 66
        assert archive.warnings == []


def test_every_alignment_that_is_allowed(tmp_path: Path) -> None:
    for alignment in (1, 2, 64, 4096, 1 << 20):
        parts = Parts([pair("general.alignment", "U32", u32(alignment))], alignment=alignment)
        parts.tensors = [tensor("a", (3,), 0, 0), tensor("b", (1,), 0, 12 + -12 % alignment)]
        parts.data = b"a" * 12 + bytes(-12 % alignment) + b"bbbb"
        with read_gguf(parts.save(tmp_path)) as archive:
            assert bytes(archive.data("b")) == b"bbbb"
            assert archive.tensors["a"].offset % alignment == 0


def test_unaligned_arrays_are_copied_out(tmp_path: Path) -> None:
    for shift in range(8):
        parts = Parts([pair("k" * (shift + 1), "BOOL", b"\1"), array_pair("n", "F64", 2, struct.pack("<2d", 1.5, -2))])
        with read_gguf(parts.save(tmp_path)) as archive:
            assert archive.metadata["n"] == array("d", [1.5, -2.0])


def test_tokens_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    parts = Parts([array_pair("t", "STRING", 2, text(b"\xff\xfe") + text("ä")), pair("s", "STRING", text(b"\x80x"))])
    with read_gguf(parts.save(tmp_path)) as archive:
        assert [token.encode("utf-8", "surrogateescape") for token in archive.metadata["t"]] == [
            b"\xff\xfe",
            "ä".encode(),
        ]
        assert archive.metadata["t"].encoded(0) == b"\xff\xfe"
        assert archive.metadata["s"].encode("utf-8", "surrogateescape") == b"\x80x"


def test_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    values = [float("inf"), -0.0, 1e-45]
    parts = Parts(
        [array_pair("k", "F32", 3, struct.pack("<3f", *values)), pair("n", "F32", struct.pack("<f", float("nan")))]
    )
    with read_gguf(parts.save(tmp_path)) as archive:
        assert archive.metadata["k"].tolist()[0] == float("inf")
        assert archive.metadata["n"] != archive.metadata["n"]


def test_a_vocabulary_alone_is_a_model_without_tensors(tmp_path: Path) -> None:
    with read_gguf(Parts().save(tmp_path)) as archive:
        assert archive.tensors == {}
        assert archive.warnings == []


def test_odd_but_usable_files_give_warnings(tmp_path: Path) -> None:
    parts = two_tensors()
    parts.data += b"PK\3\4 an appended archive"
    with read_gguf(parts.save(tmp_path)) as archive:
        assert len(archive.warnings) == 1
        assert "24 bytes behind the last tensor" in archive.warnings[0]
    parts = Parts(tensors=[tensor("empty", (4, 0), 0, 0), tensor("full", (1,), 0, 0)], data=b"1234")
    with read_gguf(parts.save(tmp_path)) as archive:
        assert "tensor empty is empty" in archive.warnings[0]
        assert bytes(archive.data("empty")) == b""
        assert bytes(archive.data("full")) == b"1234"


def test_the_padding_behind_the_last_tensor_may_be_missing(tmp_path: Path) -> None:
    parts = Parts(tensors=[tensor("a", (1,), 0, 0)], data=b"1234")
    with read_gguf(parts.save(tmp_path)) as archive:
        assert bytes(archive.data("a")) == b"1234"


def test_after_closing_views_live_and_tensors_are_refused(tmp_path: Path) -> None:
    archive = read_gguf(two_tensors().save(tmp_path))
    words, view = archive.metadata["a.words"], archive.data("token_embd.weight")
    archive.close()
    archive.close()
    assert list(words) == ["one", "", "drei"]
    assert bytes(view) == bytes(range(32))
    with pytest.raises(UsageError, match="closed"):
        archive.data("token_embd.weight")


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        read_gguf(two_tensors().save(tmp_path)) as archive,
        pytest.raises(FormatError, match=r"no tensor blk.0.nothing"),
    ):
        archive.address("blk.0.nothing")


def test_a_file_system_that_cannot_map_is_read_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = two_tensors().save(tmp_path)
    real = os.pread

    def no_mapping(*_: Any, **__: Any) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(mapped.mmap, "mmap", no_mapping)
    monkeypatch.setattr(mapped.os, "pread", lambda fd, count, at: real(fd, min(count, 7), at))  # short reads
    archive = read_gguf(path)
    assert bytes(archive.data("output.weight")) == bytes(range(34))
    assert ctypes.string_at(archive.address("output.weight"), 34) == bytes(range(34))
    archive.close()


def test_types_and_sizes_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): gguf.GGML_QUANT_SIZES[kind] for kind in gguf.GGMLQuantizationType}
    theirs[9] = (32, 36)  # Q8_1 has had two halves, not two floats, since 2024; ggml says 36
    assert {
        number: (kind.block, kind.block_bytes) for number, kind in TENSOR_TYPES.items() if number in theirs
    } == theirs
    assert all(gguf.GGMLQuantizationType(number).name == TENSOR_TYPES[number].name for number in theirs)


# ---- the registry


def test_the_formats_are_found_by_their_modules() -> None:
    assert {"GGUF", "safetensors"} <= {container.name for container in containers()}


def test_open_archive_looks_at_the_first_bytes_not_at_the_name(tmp_path: Path) -> None:
    archive = open_archive(two_tensors().save(tmp_path, "model.safetensors"))
    assert isinstance(archive, GgufArchive)
    assert set(archive.tensors) == {"token_embd.weight", "output.weight"}
    archive.close()


def test_a_folder_of_gguf_files_gets_a_hint(tmp_path: Path) -> None:
    two_tensors().save(tmp_path)
    with pytest.raises(FormatError, match=r"holds no model .*give the file itself, for example .*built\.gguf"):
        open_archive(tmp_path)


def test_a_folder_of_checkpoints_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\3\4")
    with pytest.raises(FormatError, match="give the file itself"):
        open_archive(tmp_path)


# ---- speed and real files


def test_a_large_vocabulary_opens_at_once(tmp_path: Path) -> None:
    tokens = [f"tok{i}" if i % 3 else f"Ġhello{i}" for i in range(150_000)]
    merges = [f"t{i} ok{i}" for i in range(150_000)]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": STRING(tokens),
        "tokenizer.ggml.scores": array("f", range(150_000)),
        "tokenizer.ggml.token_type": array("i", [1] * 150_000),
        "tokenizer.ggml.merges": STRING(merges),
    }
    path = tmp_path / "large.gguf"
    write_gguf(path, metadata)
    with read_gguf(path) as archive:
        read = archive.metadata["tokenizer.ggml.tokens"]
        assert read[149_999] == "tok149999"
        assert quickest(lambda: read_gguf(path).close()) < quickest(lambda: list(read)), "no string is made yet"


def test_a_hundred_thousand_tensors_are_read_in_time(tmp_path: Path) -> None:
    """In linear time: ten times as many take less than 30 times as long, and not 100 times."""

    def file(count: int) -> Path:
        (tmp_path / f"{count}").mkdir()
        entries = [tensor(f"blk.{i:05}." + "x" * 50, (1,), 0, 32 * i) for i in range(count)]
        return Parts(tensors=entries, data=bytes(32 * count)).save(tmp_path / f"{count}")

    many, few = file(100_000), file(10_000)
    start = time.process_time()
    with read_gguf(many) as archive:
        seconds = time.process_time() - start
        assert len(archive.tensors) == 100_000
    assert seconds < 30 * quickest(lambda: read_gguf(few).close())


@pytest.mark.parametrize("name", ["vocab/ggml-vocab-bert-bge.gguf", "models/stories260K.gguf"])
def test_real_files_read_as_the_gguf_package_reads_them(name: str) -> None:
    path = shared(name)
    reader = gguf.GGUFReader(path)
    with read_gguf(path) as archive:
        fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
        assert list(archive.metadata) == list(fields)
        for key, field in fields.items():
            ours = archive.metadata[key]
            assert (list(ours) if isinstance(ours, StringArray | array) else ours) == field.contents()
        assert list(archive.tensors) == [found.name for found in reader.tensors]
        for found in reader.tensors:
            entry = archive.tensors[found.name]
            assert (entry.type, entry.offset, entry.nbytes) == (
                found.tensor_type.name,
                found.data_offset,
                found.n_bytes,
            )
            assert entry.shape == tuple(reversed(found.shape.tolist()))
            assert bytes(archive.data(found.name)) == found.data.tobytes()


@pytest.mark.parametrize("name", ["deepseek-llm", "falcon", "gpt-2", "llama-bpe", "llama-spm", "qwen2"])
def test_real_vocabularies_open(name: str) -> None:
    with read_gguf(shared(f"vocab/ggml-vocab-{name}.gguf")) as archive:
        tokens = archive.metadata["tokenizer.ggml.tokens"]
        assert len(tokens) == len(archive.metadata["tokenizer.ggml.token_type"]) > 20_000
        assert tokens[len(tokens) - 1] == list(tokens)[-1]
