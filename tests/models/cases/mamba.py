from __future__ import annotations

from typing import Any

from models.case import LAYERS, VOCAB, Case, Config, Weights

SLOW = {"dt_bias": -2.5, "dt_proj.bias": -2.5}  # short time steps: states remember far back


def _mamba(name: str, kind: str, **more: Any) -> Case:
    config = {
        **{"architectures": [name], "model_type": kind, "hidden_size": 64, "num_hidden_layers": LAYERS},
        **{"vocab_size": VOCAB, "layer_norm_epsilon": 1e-5, "hidden_act": "silu", "conv_kernel": 4, "expand": 2},
        **{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None},
        **more,
    }
    return Case(config, centres=SLOW)


_MIXERS = {
    1: {
        **{"A_log": (128, 16), "D": (128,), "conv1d.weight": (128, 1, 4), "conv1d.bias": (128,)},
        **{"dt_proj.weight": (128, 4), "dt_proj.bias": (128,), "in_proj.weight": (256, 64)},
        **{"out_proj.weight": (64, 128), "x_proj.weight": (36, 128)},
    },
    2: {
        **{"A_log": (8,), "D": (8,), "dt_bias": (8,), "conv1d.weight": (192, 1, 4), "conv1d.bias": (192,)},
        **{"in_proj.weight": (328, 64), "norm.weight": (128,), "out_proj.weight": (64, 128)},
    },
}


def _published(generation: int) -> Case:
    """A folder of state-spaces' own: other words and one other name, the same model."""
    own = {"layer": "Mamba2", "d_state": 32, "headdim": 16} if generation == 2 else {}
    config = {
        **{
            "architectures": ["MambaLMHeadModel"],
            "d_model": 64,
            "n_layer": LAYERS,
            "vocab_size": VOCAB,
            "ssm_cfg": own,
        },
        **{"rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8},
    }
    shapes = {"backbone.embedding.weight": (VOCAB, 64), "backbone.norm_f.weight": (64,)}
    for i in range(LAYERS):
        shapes[f"backbone.layers.{i}.norm.weight"] = (64,)
        shapes |= {f"backbone.layers.{i}.mixer.{name}": shape for name, shape in _MIXERS[generation].items()}
    theirs = CASES["mamba" if generation == 1 else "mamba2"].config
    more = {"n_groups": 1, "tie_word_embeddings": True} if generation == 2 else {}

    def renamed(weights: Weights) -> tuple[Config, Weights]:
        found = {name.replace("embedding.", "embeddings."): values for name, values in weights.items()}
        return {**theirs, **more}, found

    return Case(config, centres=SLOW, shapes=shapes, stand_in=renamed)


CASES = {
    "mamba": _mamba("MambaForCausalLM", "mamba", state_size=16, tie_word_embeddings=True),
    "falcon-mamba": _mamba(
        *("FalconMambaForCausalLM", "falcon_mamba"), state_size=16, intermediate_size=128, tie_word_embeddings=False
    ),
    "mamba2": _mamba(
        *("Mamba2ForCausalLM", "mamba2"), state_size=32, num_heads=8, head_dim=16, n_groups=2, tie_word_embeddings=False
    ),
}
CASES |= {"mamba-published": _published(1), "mamba2-published": _published(2)}
