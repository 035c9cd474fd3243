"""Folders in other forms than the cases' own hold the same models."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from models import running, tiny
from safetensors.numpy import load_file, save_file

from pacos import backends
from pacos.hub.adopt import adopt_folder, open_model

SEEING = {
    "gemma3": ("Gemma3ForConditionalGeneration", "vision_tower"),
    "gemma4-small": ("Gemma4ForConditionalGeneration", "vision_tower"),
    "mistral3": ("Mistral3ForConditionalGeneration", "vision_tower"),
    "llama4": ("Llama4ForConditionalGeneration", "vision_model"),
    "qwen35": ("Qwen3_5ForConditionalGeneration", "visual"),
    "qwen35moe": ("Qwen3_5MoeForConditionalGeneration", "visual"),
}
# How older and newer folders name what is model.* and lm_head.* of a model for text.
LAYOUTS = {
    "older": lambda name: f"language_model.{name}",
    "newer": lambda name: name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name,
}


def the_logits(folder: Path) -> np.ndarray:
    with closing(open_model(folder)) as archive, closing(backends.backend("cpu")) as backend:
        return running.logits(archive, backend, [tiny.prompt(64)], tiny.KEPT)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", SEEING)
def test_the_text_part_of_a_model_that_sees_computes_alone(case: str, layout: str, tmp_path: Path) -> None:
    name, vision = SEEING[case]
    plain, seeing = tiny.write_folder(case, tmp_path / "plain"), tiny.write_folder(case, tmp_path / "seeing")
    text = {key: value for key, value in tiny.CASES[case].config.items() if key != "architectures"}
    config = {"architectures": [name], "model_type": "seeing", "text_config": text, "vision_config": {"hidden_size": 8}}
    (seeing / "config.json").write_text(json.dumps(config))
    tensors = {LAYOUTS[layout](one): values for one, values in load_file(plain / "model.safetensors").items()}
    tensors |= {
        f"model.{vision}.layers.0.weight": np.ones(8, np.float32),
        f"{vision}.patch.weight": np.ones(8, np.float32),
    }
    save_file(tensors, seeing / "model.safetensors")
    np.testing.assert_array_equal(the_logits(seeing), the_logits(plain))
    with closing(adopt_folder(seeing)) as archive:
        assert [one.partition(": ")[2] for one in archive.warnings] == [
            f"2 tensors that see or hear are left out: {tiny.architecture_of(case).name} reads text"
        ]


@pytest.mark.parametrize("case", ["mamba-published", "mamba2-published"])
def test_a_config_of_state_spaces_needs_no_class(case: str, tmp_path: Path) -> None:
    named, unnamed = (tiny.write_folder(case, tmp_path / name) for name in ("named", "unnamed"))
    config = {key: value for key, value in tiny.CASES[case].config.items() if key != "architectures"}
    (unnamed / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(the_logits(unnamed), the_logits(named))
