"""Split GGUF models: any part opens all, and parts that do not belong together are refused."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from pacos.errors import FormatError, ModelNotFound
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_types import I32, U16
from pacos.formats.gguf_write import write_gguf


def _split(folder: Path, tensors: int = 3) -> list[Path]:
    paths = []
    for i in range(tensors):
        metadata: dict[str, Any] = {
            "split.no": U16(i),
            "split.count": U16(tensors),
            "split.tensors.count": I32(tensors),
        }
        if i == 0:
            metadata["general.architecture"] = "llama"
        paths.append(folder / f"m-{i + 1:05}-of-{tensors:05}.gguf")
        write_gguf(paths[-1], metadata, [(f"t{i}", (4,), "F32", bytes([i]) * 16)])
    return paths


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_opens_the_whole_model(tmp_path: Path, given: int) -> None:
    paths = _split(tmp_path)
    with read_gguf(paths[given]) as archive:
        assert archive.path == paths[0]
        assert archive.parts == tuple(paths)
        assert archive.metadata["general.architecture"] == "llama"
        assert {name: entry.part for name, entry in archive.tensors.items()} == {"t0": 0, "t1": 1, "t2": 2}
        assert [bytes(archive.data(f"t{i}")) for i in range(3)] == [bytes([i]) * 16 for i in range(3)]
        assert ctypes.string_at(archive.address("t2"), 16) == b"\2" * 16


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = _split(tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelNotFound, match=r"m-00002-of-00003.gguf: this part of the model is missing"):
        read_gguf(paths[0])


@pytest.mark.parametrize(
    "name", ["renamed.gguf", "m-00001-of-00004.gguf", "m-00002-of-00003.gguf", "-00001-of-00003.gguf"]
)
def test_a_part_whose_name_lies_is_refused(tmp_path: Path, name: str) -> None:
    path = _split(tmp_path)[0].rename(tmp_path / name)
    with pytest.raises(FormatError, match="part 1 of 3 by its header, but not by its name"):
        read_gguf(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split.no": 0}, "the header says part 1 of 3, needed is 2 of 3"),
        ({"split.count": 2}, "the header says part 2 of 2, needed is 2 of 3"),
        ({"general.architecture": "gpt2"}, "general.architecture is gpt2, in the first part llama"),
        ({"split.tensors.count": I32(4)}, "split.tensors.count is 4, in the first part 3"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    paths = _split(tmp_path)
    metadata = {"split.no": 1, "split.count": 3, "split.tensors.count": I32(3), **change}
    write_gguf(paths[1], metadata, [("t1", (4,), "F32", bytes(16))])
    with pytest.raises(FormatError, match=words):
        read_gguf(paths[0])


def test_parts_with_the_wrong_tensors_are_refused(tmp_path: Path) -> None:
    paths = _split(tmp_path)
    metadata = {"split.no": 1, "split.count": 3, "split.tensors.count": I32(3)}
    write_gguf(paths[1], metadata, [("t1", (4,), "F32", bytes(16)), ("more", (4,), "F32", bytes(16))])
    with pytest.raises(FormatError, match="the 3 parts hold 4 tensors, needed are 3"):
        read_gguf(paths[0])
    write_gguf(paths[1], metadata, [("t0", (4,), "F32", bytes(16))])
    with pytest.raises(FormatError, match=r"m-00002-of-00003.gguf: tensor t0 is also in .*m-00001-of-00003.gguf"):
        read_gguf(paths[0])


@pytest.mark.parametrize(
    ("number", "count"), [(0, 0), (0, 65_536), (3, 3), (-1, 2), (0, "3"), (0, True), ([0], 2), (0, 1.0)]
)
def test_split_keys_that_make_no_sense_are_refused(tmp_path: Path, number: Any, count: Any) -> None:
    path = tmp_path / "m-00001-of-00003.gguf"
    write_gguf(path, {"split.no": number, "split.count": count})
    with pytest.raises(FormatError, match=r"split\.(no|count)"):
        read_gguf(path)


def test_the_only_part_of_one_may_have_any_name(tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", {"split.no": 0, "split.count": 1})
    with read_gguf(tmp_path / "whole.gguf") as archive:
        assert archive.metadata["split.count"] == 1
