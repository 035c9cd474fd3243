from __future__ import annotations

from models.case import Case, small

_LAYERS = {"num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0], "pad_token_id": 0}

CASES = {"smollm3": Case(small("SmolLM3ForCausalLM", "smollm3", **_LAYERS, head_dim=None, tie_word_embeddings=True))}
