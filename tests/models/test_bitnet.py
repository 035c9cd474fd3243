"""BitNet's weights in all their forms: factors beside matrices, packed ternary codes, floats that are rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import packed_builder as packing
import pytest
from models import tiny
from safetensors.numpy import load_file, save_file

import pacos
from pacos.errors import UnsupportedModel
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.convert import convert
from pacos.hub.opening import open_model

PROMPT = tiny.prompt(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_folder("bitnet", tmp_path / "bitnet")


def logits(path: Path) -> np.ndarray:
    with pacos.load(path, activations="f32") as llm:
        return llm.logits(PROMPT)


def is_ternary(name: str) -> bool:
    return name.endswith("_proj.weight")


def rounded(values: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Codes and their step. Source: arXiv:2402.17764."""
    step = np.mean(np.abs(values), dtype=np.float64).astype(np.float32)
    return np.clip(np.round(values / step), -1, 1), step


def packed(codes: np.ndarray) -> np.ndarray:
    """Row r of every fourth in bits 2 r of a byte."""
    fourths = (codes + 1).astype(np.uint8).reshape(4, -1, codes.shape[1])
    return sum(part << np.uint8(2 * i) for i, part in enumerate(fourths)).astype(np.uint8)


def test_factors_beside_matrices_are_what_they_are_multiplied_by(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "plain.gguf", "F32")
    archive = open_model(tmp_path / "plain.gguf")
    tensors = []
    for name, entry in archive.tensors.items():
        factor = 4.0 if "blk.1." in name and len(entry.shape) == 2 else 1.0
        values = np.frombuffer(archive.data(name), np.float32) / np.float32(factor)
        tensors.append(TensorData(name, entry.shape, "F32", lambda values=values: [values.tobytes()]))
        if factor != 1:
            scale = np.array([factor], np.float32).tobytes()
            tensors.append(TensorData(name.replace(".weight", ".scale"), (1,), "F32", lambda scale=scale: [scale]))
    write_gguf(tmp_path / "factors.gguf", dict(archive.metadata), tensors)
    archive.close()
    np.testing.assert_array_equal(logits(tmp_path / "factors.gguf"), logits(tmp_path / "plain.gguf"))


@pytest.mark.parametrize("linear", ["autobitlinear", "bitlinear"])
def test_packed_codes_are_the_weights_that_they_stand_for(linear: str, folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    tensors, plain = (
        packing.plain(**{name: one for name, one in weights.items() if not is_ternary(name)}),
        dict(weights),
    )
    for name in filter(is_ternary, weights):
        codes, step = rounded(weights[name])
        step = np.float32(np.float16(step))
        scale = step if linear == "autobitlinear" else 1 / step
        tensors |= packing.plain(**{name: packed(codes), f"{name}_scale": np.array([scale], np.float32)})
        plain[name] = codes * (step if linear == "autobitlinear" else np.float32(1 / np.float64(scale)))
    save_file(plain, folder / "model.safetensors")
    expected = logits(folder)
    packing.save(folder, tensors)
    packing.say(folder, quant_method="bitnet", linear_class=linear, quantization_mode="offline")
    np.testing.assert_allclose(logits(folder), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    convert(folder, tmp_path / "model.gguf", "F32")
    np.testing.assert_array_equal(logits(tmp_path / "model.gguf"), logits(folder))


def test_wide_matrices_stay_ternary(tmp_path: Path) -> None:
    codes = np.random.default_rng(5).integers(-1, 2, (8, 256)).astype(np.float32)
    tensors = packing.plain(**{"a_proj.weight": packed(codes), "a_proj.weight_scale": np.array([0.75], np.float32)})
    from pacos.formats.safetensors import read_safetensors
    from pacos.hub.quantized_folder import unpacked

    packing.save(tmp_path, tensors)
    said = {"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"}}
    found = unpacked(read_safetensors(tmp_path / "model.safetensors"), tmp_path, said)
    assert found.tensors["a_proj.weight"].type == "TQ2_0"
    assert found.tensors["a_proj.weight"].shape == (8, 256)
    values = pacos.quants.dequantize("TQ2_0", found.data("a_proj.weight"), (8, 256))
    np.testing.assert_array_equal(values, codes * np.float32(0.75))


def test_weights_that_training_goes_on_from_are_rounded(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    plain = {name: np.multiply(*rounded(one)) if is_ternary(name) else one for name, one in weights.items()}
    packing.say(folder, quant_method="bitnet", linear_class="autobitlinear", quantization_mode="online")
    found = logits(folder)
    packing.say(folder)
    save_file(plain, folder / "model.safetensors")
    np.testing.assert_allclose(found, logits(folder), rtol=0, atol=1e-5 * np.abs(found).max())


def test_the_first_published_folders_are_rounded_too(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    plain = {name: np.multiply(*rounded(one)) if is_ternary(name) else one for name, one in weights.items()}
    save_file(plain, folder / "model.safetensors")
    expected = logits(folder)
    config = (folder / "config.json").read_text().replace("BitNetForCausalLM", "BitnetForCausalLM")
    (folder / "config.json").write_text(config)
    older = {"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"}
    names = {name: next((name.replace(a, b) for a, b in older.items() if a in name), name) for name in weights}
    save_file({names[name]: one for name, one in weights.items()}, folder / "model.safetensors")
    np.testing.assert_allclose(logits(folder), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_norms_within_matrices_are_refused(folder: Path) -> None:
    packing.say(folder, quant_method="bitnet", use_rms_norm=True)
    with pytest.raises(UnsupportedModel, match="use_rms_norm"):
        open_model(folder)
