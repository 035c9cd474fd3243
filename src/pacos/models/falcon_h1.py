"""Falcon-H1: attention and Mamba 2 side by side in every layer; folders have factors, which files hold in the weights.

Source: Hugging Face modeling_falcon_h1.py; tensor names as in GGUF arch "falcon-h1".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.blocks import logits, silu_feed_forward
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import attend_anywhere, grouped_mixer, grouped_names, refuse_step_limits
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, Names, TensorName, changed, in_layers, mapped, outside

Config = Mapping[str, Any]


def _inner(config: Config) -> int:
    return int(config.get("mamba_d_ssm") or config["mamba_expand"] * config["hidden_size"])


def _parts(config: Config) -> Any:
    """The factor of each row of a mixer's first matrix: of gate, values, inputs, outputs and time steps."""
    counts = [*[_inner(config)] * 2, *[config["mamba_n_groups"] * config["mamba_d_state"]] * 2, config["mamba_n_heads"]]
    factors = np.array(config.get("ssm_multipliers") or [1.0] * 5, np.float32)
    return np.repeat(factors, counts)[:, None] * np.float32(config["ssm_in_multiplier"])


def _mlp(index: int) -> Callable[[Config], float]:
    return lambda config: (config.get("mlp_multipliers") or (1.0, 1.0))[index]


# By endings of names: what a matrix is multiplied by.
_FACTORS: Mapping[str, Callable[[Config], Any]] = {
    "embed_tokens.weight": lambda config: config["embedding_multiplier"],
    "lm_head.weight": lambda config: config["lm_head_multiplier"],
    "q_proj.weight": lambda config: config["attention_in_multiplier"],
    "k_proj.weight": lambda config: config["attention_in_multiplier"] * config["key_multiplier"],
    "v_proj.weight": lambda config: config["attention_in_multiplier"],
    "o_proj.weight": lambda config: config["attention_out_multiplier"],
    "mamba.in_proj.weight": _parts,
    "mamba.out_proj.weight": lambda config: config["ssm_out_multiplier"],
    "gate_proj.weight": _mlp(0),
    "down_proj.weight": _mlp(1),
}


def _scaled(names: Names) -> Names:
    for ending, factor in _FACTORS.items():

        def scale(x: Any, config: Config, factor: Callable[[Config], Any] = factor) -> Any:
            return x * np.asarray(factor(config), np.float32)

        names = changed(names, mapped("times a factor", scale), ending)
    return names


def _metadata(config: Config) -> Mapping[str, Any]:
    refuse_step_limits(config)
    ones = ("embedding_multiplier", "lm_head_multiplier")
    if config.get("tie_word_embeddings") and any(config[key] != 1 for key in ones):
        raise UnsupportedModel(f"config.json: tied embeddings with {' or '.join(ones)} are not supported")
    if config.get("mamba_rms_norm") and config.get("mamba_norm_before_gate"):
        raise UnsupportedModel("config.json: mamba_norm_before_gate is True, supported is False alone")
    if any(config.get(key) for key in ("attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias")):
        raise UnsupportedModel(
            "config.json: biases of projections, which this family has factors for, are not supported"
        )
    return decoder(config) | {
        "ssm.conv_kernel": config.get("mamba_d_conv"),
        "ssm.inner_size": _inner(config),
        "ssm.state_size": config.get("mamba_d_state"),
        "ssm.time_step_rank": config.get("mamba_n_heads"),
        "ssm.group_count": config.get("mamba_n_groups"),
    }


_FACTOR_KEYS = ("embedding", "lm_head", "key", "attention_in", "attention_out", "ssm_in", "ssm_out")
FALCON_H1 = HuggingFace(
    classes=("FalconH1ForCausalLM",),
    names=_scaled(
        (
            *outside(token_embd="embed_tokens", output_norm="final_layernorm", output="lm_head"),
            *in_layers(attn_norm="input_layernorm"),
            TensorName("blk.{i}.ffn_norm", "layers.{i}.pre_ff_layernorm.weight"),  # what llama.cpp looks for
            *ATTENTION,
            *grouped_names("layers.{i}.mamba", lambda config: int(config["mamba_n_groups"])),
            *in_layers("layers.{i}.feed_forward", ffn_gate="gate_proj", ffn_up="up_proj", ffn_down="down_proj"),
        )
    ),
    metadata=_metadata,
    defaults={
        **{f"{name}_multiplier": 1.0 for name in _FACTOR_KEYS},
        **{"rms_norm_eps": 1e-5, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_n_heads": 128},
        **{"mamba_expand": 2, "mamba_d_ssm": 1024, "mamba_norm_before_gate": True, "mamba_rms_norm": False},
        "num_key_value_heads": 8,
    },
)


@architecture("falcon-h1", hf=FALCON_H1, recurrent=True)
def falcon_h1(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + (attend_anywhere(h, w, inputs, hp, i, hp.rope) + grouped_mixer(h, inputs, w, hp))
        norm = w.get("ffn_norm") or w.bare("ffn_norm")
        x = x + silu_feed_forward(ops.rms_norm(x, norm, eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
