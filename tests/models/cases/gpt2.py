from __future__ import annotations

from models.case import CONTEXT, HEADS, HIDDEN, LAYERS, VOCAB, WIDTH, Case

_SIZES = {"n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS, "n_positions": CONTEXT, "vocab_size": VOCAB}

CASES = {
    "gpt2": Case(
        {
            **{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new"},
            **{**_SIZES, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1},
            "n_inner": HIDDEN,
        },
        rounded=True,
    )
}
