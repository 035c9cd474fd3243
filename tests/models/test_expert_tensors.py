"""Files that hold gates and ups of experts in one tensor, as llama.cpp's converter makes them of some folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from models import tiny

import pacos
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.opening import open_model

CASE = "mistral4"


def test_gates_and_ups_in_one_tensor_are_the_same_experts(tmp_path: Path) -> None:
    archive = open_model(path := tiny.write_gguf(CASE, tmp_path))
    arrays = {
        name: np.frombuffer(archive.data(name), np.float32).reshape(entry.shape)
        for name, entry in archive.tensors.items()
    }
    for name in [name for name in arrays if "ffn_gate_exps" in name]:
        both = (arrays.pop(name), arrays.pop(name.replace("gate", "up")))
        arrays[name.replace("gate", "gate_up")] = np.concatenate(both, axis=1)
    tensors = [TensorData(name, one.shape, "F32", [one.tobytes()]) for name, one in arrays.items()]
    write_gguf(tmp_path / "fused.gguf", dict(archive.metadata), tensors)
    archive.close()
    with pacos.load(path, activations="f32") as apart, pacos.load(tmp_path / "fused.gguf", activations="f32") as fused:
        prompt = tiny.prompt(20)
        np.testing.assert_array_equal(fused.logits(prompt), apart.logits(prompt))
