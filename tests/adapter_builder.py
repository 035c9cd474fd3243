"""Tiny random adapters in PEFT's form, the same on every machine, and models with them merged by hand."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from models import tiny
from safetensors.numpy import save_file

RANK, ALPHA = 8, 24.0
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc")
LINEARS += ("qkv_proj", "gate_up_proj", "query_key_value", "W_pack", "wqkv", "wo", "w1", "w2", "w3")
LINEARS += ("q", "k", "v", "o", "wi", "wi_0", "wi_1")


def modules(case: str, targets: tuple[str, ...] = LINEARS) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the modules of a case that adapters change; GPT-2 keeps matrices the other way round."""
    found = {}
    for name, values in tiny.weights(case).items():
        module = name.removesuffix(".weight")
        if values.ndim == 2 and module.rpartition(".")[2] in targets and name.endswith(".weight"):
            found[module] = values.shape[::-1] if ".c_" in name else values.shape
    return found


def factors(module: str, shape: tuple[int, int], rank: int = RANK, seed: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Random A [r, D] and B [N, r]."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}{module}".encode())))
    a = random.standard_normal((rank, shape[1]), np.float32) / np.float32(shape[1] ** 0.5)
    return a, random.standard_normal((shape[0], rank), np.float32) * np.float32(0.1)


def write(
    case: str, folder: Path, *, seed: str = "", targets: tuple[str, ...] = LINEARS, embedding: bool = False, **said: Any
) -> Path:
    """A folder as PEFT saves it; beside the embedding's pair is a copy of the base's."""
    folder.mkdir()
    names = sorted({module.rpartition(".")[2] for module in modules(case, targets)})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
    config["target_modules"] = [*names, *(["embed_tokens"] if embedding else [])]
    config |= {"base_model_name_or_path": "", "task_type": "CAUSAL_LM", "fan_in_fan_out": case == "gpt2", **said}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for module, shape in modules(case, targets).items():
        name = f"base_model.model.{module}"
        rank = said.get("rank_pattern", {}).get(module.rpartition(".")[2], RANK)
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = factors(module, shape, rank, seed)
        if said.get("use_dora"):
            tensors[f"{name}.lora_magnitude_vector"] = magnitudes(case, module, seed)
    if embedding:
        name = "base_model.model.model.embed_tokens"
        a, b = factors("embed_tokens", (tiny.WIDTH, tiny.VOCAB), RANK, seed)
        tensors[f"{name}.lora_embedding_A"], tensors[f"{name}.lora_embedding_B"] = a * np.float32(16), b
        tensors[f"{name}.base_layer.weight"] = tiny.weights(case)["model.embed_tokens.weight"]
    tensors |= {f"base_model.model.{name}": one for name, one in _others(case, seed, said).items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def _others(case: str, seed: str, said: dict[str, Any]) -> dict[str, np.ndarray]:
    """Pairs of parameters that hold all experts, inmost first; whole modules; rows of single tokens."""
    found: dict[str, np.ndarray] = {}
    targets = said.get("target_parameters", ())
    for layer in range(tiny.case_of(case).config["num_hidden_layers"] if targets else 0):
        parts = [one for one in stacks(case) if f"experts.{one}" in targets]
        for depth, part in enumerate(parts):
            name = f"model.layers.{layer}.mlp.experts"
            a, b = stack_factors(case, layer, part, seed)
            name += ".base_layer" * (len(parts) - 1 - depth)
            found[f"{name}.lora_A.weight"] = a.reshape(-1, a.shape[-1])
            found[f"{name}.lora_B.weight"] = np.ascontiguousarray(b.transpose(1, 2, 0)).reshape(b.shape[1], -1)
    modules = {"embed_tokens": "model.embed_tokens", "lm_head": "lm_head"}
    for one in said.get("modules_to_save", ()):
        found[f"{modules[one]}.weight"] = table(case, one, seed)
    tokens = said.get("trainable_token_indices", {})
    for one, numbers in (tokens if isinstance(tokens, dict) else {"embed_tokens": tokens}).items():
        found[f"{modules[one]}.token_adapter.trainable_tokens_delta"] = table(case, one, seed)[numbers]
    return found


def table(case: str, module: str, seed: str = "") -> np.ndarray:
    """Random rows in place of a table's, of which a tied model has one."""
    like = tiny.weights(case)["model.embed_tokens.weight"]
    random = np.random.Generator(np.random.PCG64(zlib.crc32(f"t{seed}{module}".encode())))
    return (random.standard_normal(like.shape) * 1.5 * like.std()).astype(np.float32)


def stacks(case: str) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the parameters that hold all experts, in the order of their module."""
    said = tiny.case_of(case).config
    width, inner = said["hidden_size"], said.get("moe_intermediate_size", said["intermediate_size"])
    return {"gate_up_proj": (2 * inner, width), "down_proj": (width, inner)}


def stack_factors(case: str, layer: int, part: str, seed: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Random A [X, r, D] and B [X, N, r]."""
    said = tiny.case_of(case).config
    experts = range(said.get("num_local_experts", said.get("num_experts", 0)))
    pairs = [factors(f"{layer}.{part}.{one}", stacks(case)[part], RANK, seed) for one in experts]
    return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])


def magnitudes(case: str, module: str, seed: str = "") -> np.ndarray:
    """Lengths of rows near those of the model's own."""
    weight = tiny.weights(case)[f"{module}.weight"]
    random = np.random.Generator(np.random.PCG64(zlib.crc32(f"m{seed}{module}".encode())))
    lengths = np.linalg.norm(weight.T if ".c_" in module else weight, axis=1)
    return (lengths * random.uniform(0.5, 2, lengths.shape)).astype(np.float32)


def merged(case: str, folder: Path, scales: dict[str, float], *, dora: bool = False) -> Path:
    """The model with adapters of these seeds added to its weights, each this strongly."""
    tiny.write_folder(case, folder)
    tensors = tiny.weights(case)
    for seed, scale in scales.items():
        for module, shape in modules(case).items():
            a, b = factors(module, shape, RANK, seed)
            delta = (b.astype(np.float64) @ a) * (ALPHA / RANK)
            weight = tensors[f"{module}.weight"]
            delta = delta.T if ".c_" in module else delta
            if dora:
                axis = 0 if ".c_" in module else 1
                size = np.expand_dims(magnitudes(case, module, seed), axis)
                whole = tiny.weights(case)[f"{module}.weight"] + delta
                delta = (
                    whole * size / np.linalg.norm(whole, axis=axis, keepdims=True)
                    - tiny.weights(case)[f"{module}.weight"]
                )
            tensors[f"{module}.weight"] = (weight + scale * delta).astype(np.float32)
    save_file({name: np.ascontiguousarray(one) for name, one in tensors.items()}, folder / "model.safetensors")
    return folder


_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_EXPERTS: dict[str, Any] = {
    "targets": _ATTENTION,
    "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
}
_TOKENS = sorted(set(tiny.prompt(64)))[:5]
# What PEFT and llama.cpp computed, stored by scripts/adapter-vectors: the model, and how its adapter is written.
STORED: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {}),
    "transposed": ("gpt2", {}),
    "rank-stabilised": ("qwen3", {"use_rslora": True}),
    "patterns": ("llama", {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 8}}),
    "embedding": ("llama", {"embedding": True}),
    "experts": ("mixtral", _EXPERTS),
    "experts-alone": ("qwen3moe", {"targets": (), "target_parameters": ["experts.down_proj"], "use_rslora": True}),
}
# What PEFT alone computes: llama.cpp's adapters have no magnitudes. `dora-biases`: a model whose matrices have biases.
STORED_OF_PEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("llama", {"use_dora": True}),
    "dora-transposed": ("gpt2", {"use_dora": True}),
    "dora-biases": ("qwen2", {"use_dora": True, "use_rslora": True}),
}
# What PEFT alone computes and stands beside pairs, or instead: `experts-in-turn` have rows of gates and ups in turn.
STORED_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "experts-in-turn": ("gpt-oss", _EXPERTS | {"alpha_pattern": {"gate_up_proj": 12}}),
    "whole": ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "whole-tied": ("llama-tied", {"modules_to_save": ["embed_tokens"]}),
    "tokens": ("llama", {"trainable_token_indices": {"embed_tokens": _TOKENS[::-1], "lm_head": [3, 9]}}),
    "tokens-tied": ("llama-tied", {"trainable_token_indices": _TOKENS}),
}
STORED_ROWS, STORED_SCALE = 4, 0.75  # last positions; how strongly llama.cpp applied the adapter
