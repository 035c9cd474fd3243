"""DoRA's adapters: what they compute beside a model and merged into it, against PEFT and numpy, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import adapted
import adapter_builder as building
import numpy as np
import pytest
from adapted import KL_MAX, check_peft_computes_the_same, logits
from models import running
from safetensors.numpy import load_file, save_file

from pacos.errors import FormatError, PacosError, UnsupportedModel
from pacos.hub.adapter_rows import base_in
from pacos.hub.adapters import convert_adapter
from pacos.hub.export_lora import export_lora


def made(case: str, place: Path, **said: Any) -> tuple[Path, Path]:
    """As `adapted.made`, of DoRA."""
    return adapted.made(case, place, **{"use_dora": True, **said})


@pytest.mark.parametrize("name", building.STORED_OF_PEFT)
def test_peft_computes_the_same(name: str, tmp_path: Path) -> None:
    case, said = building.STORED_OF_PEFT[name]
    folder, adapter = made(case, tmp_path, **said)
    check_peft_computes_the_same(name, folder, adapter, 1e-2)


@pytest.mark.parametrize("case", ["llama", "phi3"])
def test_scales_lie_between_the_model_and_the_adapter(case: str, tmp_path: Path) -> None:
    folder, adapter = made(case, tmp_path)
    given = {"lora_scaled": (f"{adapter}:0.25",)}
    expected = logits(building.merged(case, tmp_path / "merged", {"": 0.25}, dora=True))
    for backend in ("cpu", "reference"):
        assert running.divergence(expected, logits(folder, backend=backend, **given)) < KL_MAX
    export_lora(tmp_path / "base.gguf", tmp_path / "out.gguf", **given)
    assert running.divergence(expected, logits(tmp_path / "out.gguf")) < KL_MAX
    np.testing.assert_array_equal(logits(folder, lora_scaled=(f"{adapter}:0",)), logits(folder))


def test_beside_an_adapter_of_the_plain_kind(tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path)
    other = building.write("llama", tmp_path / "other", seed="x")
    export_lora(tmp_path / "base.gguf", tmp_path / "merged.gguf", (str(adapter), str(other)))
    found = logits(folder, lora=(str(adapter), str(other)))
    assert running.divergence(logits(tmp_path / "merged.gguf"), found) < KL_MAX
    assert running.divergence(logits(folder, lora=(str(adapter),)), found) > 1e-3


def test_magnitudes_of_older_names_are_read(tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path)
    expected = logits(folder, lora=(str(adapter),))
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    ends = {name: name.replace("magnitude_vector", "magnitude_vector.default.weight") for name in tensors}
    save_file({ends[name]: one for name, one in tensors.items()}, path)
    np.testing.assert_array_equal(logits(folder, lora=(str(adapter),)), expected)


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"


@pytest.mark.parametrize(
    ("size", "kind", "words"),
    [
        (None, FormatError, r"q_proj' has no magnitudes, use_dora is True"),
        (3, FormatError, r"q_proj' has magnitudes of shape \(3,\), B is"),
    ],
)
def test_magnitudes_that_do_not_fit(size: int | None, kind: type[PacosError], words: str, tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path)
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors[FIRST]
    save_file(tensors | ({} if size is None else {FIRST: np.ones(size, np.float32)}), path)
    with pytest.raises(kind, match=words):
        logits(folder, lora=(str(adapter),))


def test_what_is_not_computed_is_refused(tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path)
    with pytest.raises(UnsupportedModel, match="GGUF's adapters hold no magnitudes"):
        convert_adapter(adapter, base_in(folder), tmp_path / "adapter.gguf")
    plain = building.write("llama", tmp_path / "plain")
    (plain / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(FormatError, match="has magnitudes, use_dora is False"):
        logits(folder, lora=(str(plain),))
    experts, adapter = made("mixtral", tmp_path / "experts")
    with pytest.raises(UnsupportedModel, match="for plain matrices alone"):
        logits(experts, lora=(str(adapter),))


def test_an_adapter_of_a_convolution_is_refused_as_one(tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path, use_dora=False)
    path = adapter / "adapter_model.safetensors"
    halves = {f"base_model.model.model.conv.lora_{half}.weight": np.zeros((8, 8, 1, 1), np.float32) for half in "AB"}
    save_file(load_file(path) | halves, path)
    with pytest.raises(UnsupportedModel, match=r"'model\.conv' is a convolution"):
        logits(folder, lora=(str(adapter),))
