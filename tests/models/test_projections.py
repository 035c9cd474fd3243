"""Folders of sentence-transformers: what is pooled goes through the linear layers behind, as with sentence-t5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import tiny
from safetensors.numpy import save_file

import pacos
from pacos.errors import FormatError, UnsupportedModel
from pacos.hub.convert import convert

IDENTITY = "torch.nn.modules.linear.Identity"
INPUTS = [tiny.prompt(tokens) for tokens in (1, 7, 64, 300)]


def dense(inputs: int, outputs: int, bias: bool) -> dict[str, np.ndarray]:
    random = np.random.Generator(np.random.PCG64(inputs))
    shapes = {"linear.weight": (outputs, inputs), **({"linear.bias": (outputs,)} if bias else {})}
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def write(
    folder: Path, layers: list[dict[str, np.ndarray]], pooling: dict[str, Any], activation: str = IDENTITY
) -> Path:
    tiny.write_folder("t5encoder", folder)
    kinds = ["Transformer", "Pooling", *("Dense" for _ in layers), "Normalize"]
    places = ["" if kind == "Transformer" else f"{i}_{kind}" for i, kind in enumerate(kinds)]
    modules = [
        {"path": place, "type": f"sentence_transformers.models.{kind}"}
        for place, kind in zip(places, kinds, strict=True)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for place, layer in zip(places[2:-1], layers, strict=True):
        (folder / place).mkdir()
        (folder / place / "config.json").write_text(json.dumps({"activation_function": activation}))
        save_file(layer, folder / place / "model.safetensors")
    return folder


def vectors(path: Path, **more: Any) -> tuple[str, np.ndarray]:
    with pacos.load(path, threads=1) as llm:
        found = llm.embed(INPUTS, **more)
        return found.pooling, found.numpy()


def normed(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("pooling", [{"pooling_mode_mean_tokens": True}, {"pooling_mode": "mean"}], ids=["old", "new"])
@pytest.mark.parametrize("widths", [(48,), (96, 32)], ids=["one", "two"])
def test_a_vector_goes_through_the_layers_behind_the_pooling(
    tmp_path: Path, pooling: dict[str, Any], widths: tuple[int, ...]
) -> None:
    plain = tiny.write_folder("t5encoder", tmp_path / "plain")
    expected = vectors(plain, pooling="mean", normalize=-1)[1]
    layers = []
    for i, outputs in enumerate(widths):
        layers.append(dense(expected.shape[1], outputs, bias=i == 0))
        expected = expected @ layers[-1]["linear.weight"].T + layers[-1].get("linear.bias", np.float32(0))
    folder = write(tmp_path / "folder", layers, pooling)
    convert(folder, tmp_path / "model.gguf", "F32")
    for path in (folder, tmp_path / "model.gguf"):
        used, found = vectors(path)
        assert used == "mean"
        np.testing.assert_allclose(found, normed(expected), atol=1e-5)


def test_what_is_not_linear_or_too_much_is_refused(tmp_path: Path) -> None:
    pooling = {"pooling_mode": "cls"}
    with pytest.raises(UnsupportedModel, match=r"activation of this Dense module is 'torch.+Tanh'"):
        pacos.load(write(tmp_path / "bent", [dense(64, 8, bias=False)], pooling, "torch.nn.modules.activation.Tanh"))
    with pytest.raises(UnsupportedModel, match="3 Dense modules"):
        pacos.load(write(tmp_path / "three", [dense(64, 64, bias=False)] * 3, pooling))
    with pytest.raises(FormatError, match=r"the pooling is \['pooling_mode_max'\]"):
        pacos.load(write(tmp_path / "max", [], {"pooling_mode": "max"}))
