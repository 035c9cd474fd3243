"""PEFT's folders with more than pairs for matrices: all experts in one pair, whole modules, rows of single tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapter_builder as building
import numpy as np
import pytest
from adapted import KL_MAX, PROMPT, check_peft_computes_the_same, logits, made
from models import running, tiny
from safetensors.numpy import load_file, save_file

import pacos
from pacos.errors import FormatError, PacosError, UnsupportedModel
from pacos.formats.gguf import read_gguf
from pacos.hub.adapter_rows import base_in
from pacos.hub.adapters import convert_adapter
from pacos.hub.convert import convert
from pacos.hub.export_lora import export_lora

TENSORS = "adapter_model.safetensors"


def changed(adapter: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Path:
    """The adapter with other tensors."""
    save_file(change(load_file(adapter / TENSORS)), adapter / TENSORS)
    return adapter


@pytest.mark.parametrize("name", building.STORED_OTHERS)
def test_peft_computes_the_same(name: str, tmp_path: Path) -> None:
    case, said = building.STORED_OTHERS[name]
    folder, adapter = made(case, tmp_path, **said)
    check_peft_computes_the_same(name, folder, adapter, 1e-3)


@pytest.mark.parametrize("name", ["experts-in-turn", "whole", "tokens-tied"])
def test_scales_and_backends(name: str, tmp_path: Path) -> None:
    case, said = building.STORED_OTHERS[name]
    folder, adapter = made(case, tmp_path, **said)
    export_lora(tmp_path / "base.gguf", tmp_path / "half.gguf", lora_scaled=(f"{adapter}:0.5",))
    expected = logits(tmp_path / "half.gguf")
    for backend in ("cpu", "reference"):
        found = logits(folder, backend=backend, lora_scaled=(f"{adapter}:0.5",))
        assert running.divergence(expected, found) < KL_MAX
    np.testing.assert_array_equal(logits(folder, lora_scaled=(f"{adapter}:0",)), logits(folder))


def test_rows_of_fused_experts_in_files_and_out_of_them(tmp_path: Path) -> None:
    case, said = building.STORED_OTHERS["experts-in-turn"]
    folder, adapter = made(case, tmp_path, **said)
    convert_adapter(adapter, base_in(folder), tmp_path / "adapter.gguf")
    expected = logits(folder, lora=(str(adapter),))
    assert running.divergence(expected, logits(folder, lora=(str(tmp_path / "adapter.gguf"),))) < KL_MAX
    a, b = building.stack_factors(case, 1, "gate_up_proj")
    with read_gguf(tmp_path / "adapter.gguf") as archive:
        found = np.frombuffer(archive.data("blk.1.ffn_up_exps.weight.lora_a"), np.float32).reshape(a.shape)
        np.testing.assert_array_equal(found, a)
        rows = np.frombuffer(archive.data("blk.1.ffn_up_exps.weight.lora_b"), np.float32).reshape(6, -1, building.RANK)
    np.testing.assert_allclose(rows, b[:, 1::2] / 2, rtol=1e-6)  # 12 in place of 24, which is the file's alpha


def test_inputs_and_outputs_in_each_others_place(tmp_path: Path) -> None:
    folder, adapter = made("mixtral", tmp_path, **building.STORED["experts"][1])
    expected = logits(folder, lora=(str(adapter),))
    experts = 6

    def swapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = dict(tensors)
        for name in [one for one in tensors if "experts" in one and "lora_A" in one]:
            a, b = tensors[name], tensors[name.replace("lora_A", "lora_B")]
            a = a.reshape(experts, building.RANK, -1)
            b = b.reshape(len(b), building.RANK, experts)
            found[name] = np.ascontiguousarray(b.transpose(2, 1, 0).reshape(-1, len(b)))
            turned = np.ascontiguousarray(a.transpose(2, 1, 0).reshape(a.shape[2], -1))
            found[name.replace("lora_A", "lora_B")] = turned
        return found

    changed(adapter, swapped)
    assert running.divergence(expected, logits(folder, lora=(str(adapter),))) < KL_MAX


def test_a_copy_of_the_base_beside_a_pair_counts_where_it_is_another(tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path, embedding=True, targets=())
    convert(folder, tmp_path / "small.gguf", "Q8_0")
    with pacos.load(tmp_path / "small.gguf", lora=(str(adapter),)) as llm:
        assert not llm.adapters[0].wholes, "it is the same in another type"
    expected = logits(folder, lora=(str(adapter),))
    name = "base_model.model.model.embed_tokens.base_layer.weight"
    other = load_file(adapter / TENSORS)[name].copy()
    other[PROMPT[0]] *= -1
    changed(adapter, lambda tensors: tensors | {name: other})
    assert running.divergence(expected, logits(folder, lora=(str(adapter),))) > 1e-5
    changed(adapter, lambda tensors: tensors | {name: np.zeros((300, 256), np.float32)})
    with pytest.raises(FormatError, match=r"whose 'token_embd.weight' is \(300, 256\), here it is \(256, 256\)"):
        logits(folder, lora=(str(adapter),))


FUSED = {"targets": (), "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}
PREFIX = "base_model.model."
REFUSED: dict[str, tuple[str, dict[str, Any], Callable[[dict[str, Any]], Any], type[PacosError], str]] = {
    "parameter": ("mixtral", {"target_parameters": ["experts.bias"]}, dict, UnsupportedModel, "has experts.bias, comp"),
    "pairs": (
        *("mixtral", FUSED, lambda t: {n: one for n, one in t.items() if "base_layer" not in n}, FormatError),
        "has 1 pairs for gate_up_proj, down_proj",
    ),
    "ranks": ("mixtral", FUSED | {"rank_pattern": {"down_proj": 4}}, dict, FormatError, "needed: rank 4 for each of 6"),
    "longer": (
        *("llama", {"modules_to_save": ["lm_head"]}),
        lambda t: t | {f"{PREFIX}lm_head.weight": np.zeros((300, 256), np.float32)},
        *(FormatError, r"'output.weight' is \(300, 256\), the model's is \(256, 256\)"),
    ),
    "norm": (
        *("llama", {"modules_to_save": ["lm_head"]}),
        lambda t: t | {f"{PREFIX}model.layers.0.lm_head.input_layernorm.weight": np.zeros(256, np.float32)},
        *(UnsupportedModel, "replaces 'model.layers.0.lm_head.input_layernorm', which llama does not have"),
    ),
    "tokens": (
        *("llama", {"trainable_token_indices": [1, 2]}),
        lambda t: t | {f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": np.zeros((3, 256), "f")},
        *(FormatError, r"rows \(3, 256\) for 2 token numbers"),
    ),
    "no tokens": (
        *("llama", {}),
        lambda t: t | {f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": np.zeros((3, 256), "f")},
        *(FormatError, "trainable_token_indices of 'model.embed_tokens' are None"),
    ),
    "twice": (
        *("llama", {"embedding": True, "trainable_token_indices": [1, 2]}, dict, FormatError),
        "has a pair for 'token_embd.weight' and rows of single tokens",
    ),
    "copy alone": (
        *("llama", {}),
        lambda t: t | {f"{PREFIX}lm_head.base_layer.weight": np.zeros((256, 256), np.float32)},
        *(FormatError, "'output.weight' has a base_layer and no pair"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    case, said, change, kind, words = REFUSED[name]
    folder = tiny.write_folder(case, tmp_path / "base")
    adapter = changed(building.write(case, tmp_path / "adapter", **said), change)
    with pytest.raises(kind, match=words):
        pacos.load(folder, lora=(str(adapter),))


def test_tokens_beyond_the_table(tmp_path: Path) -> None:
    folder, adapter = made("llama", tmp_path, trainable_token_indices=[1, 2])
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trainable_token_indices": [1, 256]}))
    with pytest.raises(FormatError, match=r"tokens up to 256, 'token_embd.weight' is \(256, 256\)"):
        pacos.load(folder, lora=(str(adapter),))


@pytest.mark.parametrize(("name", "words"), [("whole", "whole tensors"), ("tokens", "single tokens")])
def test_files_hold_pairs_alone(name: str, words: str, tmp_path: Path) -> None:
    case, said = building.STORED_OTHERS[name]
    adapter = building.write(case, tmp_path / "adapter", **said)
    with pytest.raises(UnsupportedModel, match=f"it has {words}.*which GGUF's adapters do not hold"):
        convert_adapter(adapter, base_in(tiny.write_folder(case, tmp_path / "base")), tmp_path / "adapter.gguf")
