from __future__ import annotations

from typing import Any

from models.case import LAYERS, VOCAB, Case

SLOW = {"dt_bias": -2.5, "dt_proj.bias": -2.5}  # short time steps: states remember far back


def _mamba(name: str, kind: str, **more: Any) -> Case:
    config = {
        **{"architectures": [name], "model_type": kind, "hidden_size": 64, "num_hidden_layers": LAYERS},
        **{"vocab_size": VOCAB, "layer_norm_epsilon": 1e-5, "hidden_act": "silu", "conv_kernel": 4, "expand": 2},
        **{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None},
        **more,
    }
    return Case(config, centres=SLOW)


CASES = {
    "mamba": _mamba("MambaForCausalLM", "mamba", state_size=16, tie_word_embeddings=True),
    "falcon-mamba": _mamba(
        *("FalconMambaForCausalLM", "falcon_mamba"), state_size=16, intermediate_size=128, tie_word_embeddings=False
    ),
    "mamba2": _mamba(
        *("Mamba2ForCausalLM", "mamba2"), state_size=32, num_heads=8, head_dim=16, n_groups=2, tie_word_embeddings=False
    ),
}
