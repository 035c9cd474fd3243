from __future__ import annotations

from models.case import Case

CASES = {
    "gptj": Case(
        {
            **{"architectures": ["GPTJForCausalLM"], "model_type": "gptj", "n_embd": 64, "n_head": 4, "n_layer": 2},
            **{"n_positions": 512, "vocab_size": 256, "rotary_dim": 8, "activation_function": "gelu_new"},
            **{"bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": False},
        },
        peer="has a name for it alone",
    )
}
