from __future__ import annotations

from models.case import Case, small

_BIGCODE = {
    **{
        "architectures": ["GPTBigCodeForCausalLM"],
        "model_type": "gpt_bigcode",
        "n_embd": 64,
        "n_head": 4,
        "n_layer": 2,
    },
    **{"n_positions": 512, "vocab_size": 256, "multi_query": True, "bos_token_id": 0, "eos_token_id": 1},
    "activation_function": "gelu_pytorch_tanh",
}
_STARCODER2 = {"hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-5, "rms_norm_eps": None, "head_dim": None}

CASES = {
    "starcoder": Case(_BIGCODE),
    "starcoder-heads": Case({**_BIGCODE, "multi_query": False}),
    "starcoder-exact": Case({**_BIGCODE, "activation_function": "gelu"}, peer="has the tanh form of GELU"),
    "starcoder2": Case(
        small("Starcoder2ForCausalLM", "starcoder2", **_STARCODER2, sliding_window=40, tie_word_embeddings=True),
        peer="ignores the window",
    ),
}
