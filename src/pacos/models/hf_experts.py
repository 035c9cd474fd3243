"""Experts of Hugging Face folders: rows of their tensors' names, and config.json in GGUF's words.

Source: transformers 5.24 configuration classes and its conversion_mapping.py (folders of the hub keep one tensor an
expert, newer ones all experts in one); llama.cpp's conversion scripts for the keys.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir.ops.moe import SCORES
from pacos.models.hf_words import EXPERT_WORDS
from pacos.models.tensor_names import Config, Names, TensorName, in_layers, part, reshaped

READS = ("num_experts", "num_local_experts")
_FUNCTIONS = {"softmax": "softmax", "sigmoid": "sigmoid"}


def experts(config: Config) -> dict[str, Any]:
    """Numbers, groups and scores of experts. Errors: UnsupportedModel for a way to score that is not known."""
    found: dict[str, Any] = {}
    for key, words in EXPERT_WORDS.items():
        found[key] = next((config[word] for word in words if config.get(word) is not None), None)
    groups = config.get("n_group")
    if isinstance(groups, int) and (groups == 1 or config.get("topk_method") != "greedy"):
        found |= {"expert_group_count": groups, "expert_group_used_count": config.get("topk_group")}
    score = config.get("scoring_func", config.get("score_function"))
    if score is not None:
        if score not in _FUNCTIONS:
            raise UnsupportedModel(f"config.json: experts are scored by {score!a}, supported: {', '.join(_FUNCTIONS)}")
        found["expert_gating_func"] = SCORES.index(score) + 1
    return found


FLAT = reshaped("flat", lambda shape, _: (shape[-1],))


def expert_names(
    at: str = "mlp", router: str = "gate", gate: str = "gate_proj", up: str = "up_proj", down: str = "down_proj"
) -> Names:
    """A router and its experts, one tensor each or all in one."""
    layer, stacks = f"layers.{{i}}.{at}", (("gate", gate), ("up", up), ("down", down))
    fused = f"{layer}.experts.gate_up_proj"
    return (
        TensorName("blk.{i}.ffn_gate_inp.weight", f"{layer}.{router}.weight"),
        TensorName("blk.{i}.exp_probs_b.bias", f"{layer}.{router}.e_score_correction_bias"),
        *(TensorName(f"blk.{{i}}.ffn_{name}_exps.weight", f"{layer}.experts.{{e}}.{hf}.weight") for name, hf in stacks),
        TensorName("blk.{i}.ffn_gate_exps.weight", fused, (part(0, 2, axis=1),)),
        TensorName("blk.{i}.ffn_up_exps.weight", fused, (part(1, 2, axis=1),)),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{layer}.experts.down_proj"),
    )


def shared_names(at: str) -> Names:
    """The expert that every token takes, and its gate."""
    parts = {f"ffn_{one}_shexp": f"{at}.{one}_proj" for one in ("gate", "up", "down")}
    gate = TensorName("blk.{i}.ffn_gate_inp_shexp.weight", f"layers.{{i}}.{at}_gate.weight", (FLAT,))
    return (*in_layers(**parts), gate)
