"""`pacos split`, `pacos merge` and `pacos gguf`: the same model in parts and joined, and other metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import here

from pacos import quants
from pacos.errors import UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.edit import edit_metadata
from pacos.hub.parts import merge_file, split_file

METADATA = {"general.architecture": "llama", "general.name": "parts", "a.list": [1, 2, 3], "a.flag": True}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)

    def tensor(i: int) -> TensorData:
        kind = ("F32", "Q8_0", "F16")[i % 3]
        return TensorData(f"t{i}", (4, 64), kind, bytes(quants.quantize(kind, rng.random((4, 64), np.float32))))

    write_gguf(tmp_path / "whole.gguf", METADATA, [tensor(i) for i in range(7)])
    return tmp_path / "whole.gguf"


@pytest.mark.parametrize(
    ("limits", "count"), [({"max_tensors": 3}, 3), ({"max_bytes": 1600}, 4), ({"max_bytes": 1}, 7)]
)
def test_parts_hold_the_model_and_join_to_its_bytes(
    whole: Path, tmp_path: Path, limits: dict[str, int], count: int
) -> None:
    paths = split_file(whole, tmp_path / "part", **limits)
    assert [path.name for path in paths] == [f"part-{i + 1:05}-of-{count:05}.gguf" for i in range(count)]
    with read_gguf(paths[-1]) as parts, read_gguf(whole) as one:
        assert list(parts.tensors) == list(one.tensors)
        for name in one.tensors:
            assert bytes(parts.data(name)) == bytes(one.data(name))
        assert {"split.no", "split.count", "split.tensors.count"} == set(parts.metadata) - set(one.metadata)
        assert {key: parts.value_types[key] for key in parts.metadata if key.startswith("split.")} == {
            "split.no": "U16",
            "split.count": "U16",
            "split.tensors.count": "I32",
        }
    merge_file(paths[0], tmp_path / "joined.gguf")
    assert (tmp_path / "joined.gguf").read_bytes() == whole.read_bytes()


def test_what_cannot_be_split_or_joined(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not split"):
        merge_file(whole, tmp_path / "joined.gguf")
    with pytest.raises(UsageError, match="give the size of the parts"):
        split_file(whole, tmp_path / "part")
    split_file(whole, tmp_path / "part", max_tensors=4)
    with pytest.raises(UsageError, match=r"part-00001-of-00002\.gguf exists"):
        split_file(whole, tmp_path / "part", max_tensors=4)
    split_file(whole, tmp_path / "part", max_tensors=4, replace=True)


def test_commands_split_and_merge(whole: Path, tmp_path: Path) -> None:
    done = here("split", str(whole), str(tmp_path / "p"), "--max-size", "2K")
    assert done.code == 0, done.err
    assert done.out.count(".gguf: ") == 3
    assert here("merge", str(tmp_path / "p-00002-of-00003.gguf"), str(tmp_path / "m.gguf")).code == 0
    assert (tmp_path / "m.gguf").read_bytes() == whole.read_bytes()
    refused = here("split", str(whole), str(tmp_path / "p"), "--max-size", "much")
    assert refused.code == 2
    assert "2G" in refused.err


@pytest.mark.parametrize(
    ("key", "kind", "text", "value", "found"),
    [
        ("general.name", "", "other", "other", "STRING"),
        ("a.list", "", "[4, 5]", [4, 5], "I32"),
        ("a.flag", "", "false", False, "BOOL"),
        ("a.new", "", "7", 7, "U32"),
        ("a.new", "", "-7", -7, "I32"),
        ("a.new", "f32", "1", 1.0, "F32"),
        ("a.new", "string", "12", "12", "STRING"),
        ("a.new", "", '["x", "y"]', ["x", "y"], "STRING"),
    ],
)
def test_keys_are_set(whole: Path, key: str, kind: str, text: str, value: object, found: str) -> None:
    before = whole.read_bytes()
    edit_metadata(whole, {key: (kind, text)})
    with read_gguf(whole) as archive:
        there = archive.metadata[key]
        assert (list(there) if isinstance(value, list) else there) == value
        assert archive.value_types[key] == found
        assert bytes(archive.data("t6")) in before
        assert len(archive.tensors) == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", "a.flag", "maybe"), "of type BOOL"),
        (("set", "a.new", "1", "--type", "U7"), "no value type"),
        (("set", "a.list", "3"), "a list"),
        (("set", "a.new", "300", "--type", "U8"), "U8"),
        (("rm", "a.nothing"), "is not there"),
        (("rm", "general.architecture"), "is needed"),
        (("get", "a.nothing"), "has no key"),
    ],
)
def test_what_cannot_be_set_is_said_and_nothing_changes(whole: Path, arguments: tuple[str, ...], words: str) -> None:
    before = whole.read_bytes()
    action, *rest = arguments
    done = here("gguf", action, str(whole), *rest)
    assert done.code == 2
    assert words in done.err
    assert whole.read_bytes() == before


def test_gguf_commands(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    assert here("gguf", "set", str(whole), "general.name", "mine", "--output", str(other)).code == 0
    assert here("gguf", "get", str(other), "general.name").out == "mine\n"
    assert here("gguf", "get", str(whole), "a.list").out.split() == ["[1,", "2,", "3]"]
    assert here("gguf", "rm", str(other), "a.list").code == 0
    dumped = here("gguf", "dump", str(other))
    assert "general.name" in dumped.out
    assert "a.list" not in dumped.out
    assert '"type": "BOOL"' in here("gguf", "dump", str(other), "--json").out
    assert here("gguf", "set", str(whole), "general.name", "x", "--output", str(other)).code == 2
