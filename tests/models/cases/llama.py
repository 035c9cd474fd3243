from __future__ import annotations

from typing import Any

from models.case import Case, Config, decoder


def _rope(kind: str, **more: Any) -> Config:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


def _llama(**more: Any) -> Case:
    return Case(decoder("LlamaForCausalLM", "llama", hidden_act="silu", **more), rounded=True)


_LLAMA3 = _rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

CASES = {
    "llama": _llama(),
    "llama-tied": _llama(tie_word_embeddings=True),
    "llama-biases": _llama(attention_bias=True, mlp_bias=True),
    "llama-linear": _llama(**_rope("linear", factor=4.0)),
    "llama-yarn": _llama(**_rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "llama-factors": _llama(**_LLAMA3),
    "llama-base": _llama(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "mistral": Case(
        decoder("MistralForCausalLM", "mistral", hidden_act="silu", sliding_window=48),
        rounded=True,
        peer="ignores the window",
    ),
}
