"""Hugging Face folders: one file, or shards with their index, and nothing outside the folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors_builder import DATA, SOUND, build, entry
from shared_files import shared

from pacos.errors import FormatError, ModelNotFound
from pacos.formats import open_archive, safetensors
from pacos.formats.safetensors import read_safetensors


def _shards(folder: Path, weight_map: dict[str, Any] | None = None) -> Path:
    (folder / "model-00001-of-00002.safetensors").write_bytes(build({"a": entry("U8", [1], 0, 1)}, b"a"))
    (folder / "model-00002-of-00002.safetensors").write_bytes(build({"b": entry("U8", [2], 0, 2)}, b"bb"))
    default = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"metadata": {"total_size": 3}, "weight_map": default if weight_map is None else weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(build(SOUND, DATA))
    (tmp_path / "adapter.safetensors").write_bytes(build(b"{}"))
    for archive in (read_safetensors(tmp_path), open_archive(tmp_path)):
        assert set(archive.tensors) == {"a", "b"}
        assert archive.path == tmp_path
        archive.close()
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    (tmp_path / "adapter.safetensors").unlink()
    with read_safetensors(tmp_path) as alone:
        assert alone.parts == (tmp_path / "other.safetensors",)


def test_a_folder_with_shards(tmp_path: Path) -> None:
    with read_safetensors(_shards(tmp_path)) as archive:
        assert {name: (found.part, bytes(archive.data(name))) for name, found in archive.tensors.items()} == {
            "a": (0, b"a"),
            "b": (1, b"bb"),
        }
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"model-00002-of-00002.safetensors: this shard of the model is missing"):
        read_safetensors(tmp_path)


def test_a_tensor_outside_the_index_is_a_warning(tmp_path: Path) -> None:
    _shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(
        build({"b": entry("F32", [0], 0, 0), "c": entry("F32", [0], 0, 0), "d": entry("F32", [0], 0, 0)})
    )
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(build({"a": entry("F32", [0], 0, 0)}))
    with read_safetensors(tmp_path) as archive:
        assert any("2 tensors are in the shards but not in model.safetensors.index.json" in w for w in archive.warnings)


@pytest.mark.parametrize(
    "place",
    [
        *["../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "c:x.safetensors", "a\\x.safetensors"],
        *[".safetensors", "x.bin", "x\n.safetensors", "", None, 1],
    ],
)
def test_an_index_points_only_beside_itself(tmp_path: Path, place: Any) -> None:
    with pytest.raises(FormatError, match="tensor a is placed in"):
        read_safetensors(_shards(tmp_path, {"a": place}))


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({}, "no weight_map"),
        ([], "no weight_map"),
        ({"zz": "model-00001-of-00002.safetensors"}, "tensor zz is missing"),
        ({"b": "model-00001-of-00002.safetensors", "a": "model-00002-of-00002.safetensors"}, "tensor b is missing"),
    ],
)
def test_an_index_that_lies(tmp_path: Path, weight_map: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read_safetensors(_shards(tmp_path, weight_map))


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    _shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(build({"a": entry("U8", [1], 0, 1)}, b"a"))
    with pytest.raises(FormatError, match="tensor a is also in"):
        read_safetensors(tmp_path)


def test_limits_of_the_index_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (_shards(tmp_path) / "model.safetensors.index.json").stat().st_size
    for name, limit in (("MAX_INDEX_BYTES", size), ("MAX_SHARDS", 2)):
        monkeypatch.setattr(safetensors, name, limit)
        read_safetensors(tmp_path).close()
        monkeypatch.setattr(safetensors, name, limit - 1)
        with pytest.raises(FormatError, match=r"index.json"):
            read_safetensors(tmp_path)
        monkeypatch.undo()


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no model"):
        open_archive(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(build(SOUND, DATA))
    with pytest.raises(FormatError, match=r"2 safetensors files and no model.safetensors.index.json"):
        open_archive(tmp_path)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="No such file"):
        read_safetensors(tmp_path / "missing.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(FormatError, match="a pipe"):
        read_safetensors(tmp_path / "pipe.safetensors")
    (tmp_path / "model.safetensors").symlink_to("nothing")
    with pytest.raises(ModelNotFound, match="a link that leads nowhere"):
        read_safetensors(tmp_path)


@pytest.mark.parametrize("name", ["models/TinyStories-656K-hf", "models/storyteller-hf"])
def test_real_folders_read_as_the_reference_reads_them(name: str) -> None:
    folder = shared(name)
    with open_archive(folder) as archive, safe_open(folder / "model.safetensors", "np") as theirs:
        assert set(archive.tensors) == set(theirs.keys())
        for key in theirs.keys():  # noqa: SIM118
            weight = theirs.get_tensor(key)
            assert archive.tensors[key].shape == weight.shape
            assert bytes(archive.data(key)) == weight.tobytes()
