"""Finding a model by path or name, and saying what is wrong when there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacos.errors import FormatError, ModelNotFound
from pacos.hub.names import resolve
from pacos.hub.store import BUNDLED


def test_bundled_models_are_there() -> None:
    for name in BUNDLED:
        assert resolve(name).is_file()
        assert resolve(name).stat().st_size < 5_000_000
        assert resolve(name).with_suffix(".md").is_file()


def test_paths_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert resolve(tmp_path / "a.gguf") == tmp_path / "a.gguf"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    assert resolve(str(tmp_path / "folder")) == tmp_path / "folder"


def test_a_file_of_a_bundled_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("storyteller").write_bytes(b"GGUF")
    assert resolve("storyteller") == Path("storyteller")


def test_the_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert resolve("~/m.gguf") == tmp_path / "m.gguf"


def test_near_names_are_offered(tmp_path: Path) -> None:
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound, match=r"did you mean .*model-q4\.gguf"):
        resolve(tmp_path / "model-q5.gguf")
    with pytest.raises(ModelNotFound, match="did you mean storyteller"):
        resolve("storytelle")


@pytest.mark.parametrize("text", ["", "a\0b", "no/such/folder/m.gguf", "unknown", "x" * 5000, "m\n\x1b[31m.gguf"])
def test_names_of_nothing_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(text)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_folders_without_a_model_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="a folder without a model"):
        resolve(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(FormatError, match="safetensors without config"):
        resolve(tmp_path)
    (tmp_path / "one.gguf").write_bytes(b"GGUF")
    with pytest.raises(FormatError, match=r"give .*one\.gguf"):
        resolve(tmp_path)


def test_a_dangling_link_is_left_to_the_reader(tmp_path: Path) -> None:
    os.symlink(tmp_path / "nowhere", tmp_path / "link.gguf")
    assert resolve(tmp_path / "link.gguf") == tmp_path / "link.gguf"
