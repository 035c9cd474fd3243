from __future__ import annotations

from models.case import Case, decoder

_QWEN2, _SILU = ("Qwen2ForCausalLM", "qwen2"), {"hidden_act": "silu"}
_WINDOW = {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}
_KINDS = {"layer_types": ["full_attention", "sliding_attention"]}

CASES = {
    "qwen2": Case(decoder(*_QWEN2, **_SILU, use_sliding_window=False), rounded=True),
    "qwen2-window": Case(decoder(*_QWEN2, **_SILU, **_WINDOW, **_KINDS), rounded=True, peer="ignores the window"),
    "qwen3": Case(decoder("Qwen3ForCausalLM", "qwen3", **_SILU, tie_word_embeddings=True), rounded=True),
}
