"""Nemotron-H: layers of one part each: Mamba 2, attention without positions, or a unit of
squared rectifiers, in Nemotron 3 many experts.

Source: Hugging Face modeling_nemotron_h.py; tensor names as in GGUF arch "nemotron_h".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import feed_forward, logits, project
from pacos.models.experts import Experts
from pacos.models.hf_config import positive, sizes
from pacos.models.hf_experts import experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import attend_anywhere, attention_layers, grouped_mixer, grouped_names, refuse_step_limits
from pacos.models.mixture import expert_project, routed
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName, in_layers, outside

_LETTERS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}
_OLD_WORDS = {"mamba": "linear_attention", "attention": "full_attention"}


def _kinds(config: Mapping[str, Any]) -> list[str]:
    """What each layer is, in the words of the newest configs."""
    kinds = config.get("layer_types") or config.get("layers_block_type") or config.get("hybrid_override_pattern")
    if not isinstance(kinds, list | str) or not kinds:
        raise FormatError(f"config.json: layers_block_type is {kinds!a}, needed: what each layer is")
    return [_LETTERS.get(kind, _OLD_WORDS.get(kind, kind)) for kind in kinds]


def _metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    refuse_step_limits(config)
    kinds = _kinds(config)
    config = {**config, "num_hidden_layers": len(kinds), "rms_norm_eps": config.get("layer_norm_epsilon")}
    hidden = config.get("intermediate_size")
    return sizes(config) | {
        "context_length": 1 << 20,
        "attention.layer_norm_epsilon": config.get("layer_norm_epsilon"),  # llama.cpp asks for both
        "feed_forward_length": [hidden if kind == "mlp" else 0 for kind in kinds],
        "attention.head_count_kv": attention_layers(config, [kind == "full_attention" for kind in kinds]),
        "ssm.conv_kernel": config.get("conv_kernel"),
        "ssm.inner_size": int(positive(config, "mamba_num_heads") * positive(config, "mamba_head_dim")),
        "ssm.state_size": config.get("ssm_state_size"),
        "ssm.time_step_rank": config.get("mamba_num_heads"),
        "ssm.group_count": config.get("n_groups"),
    }


def _mixed_metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds, hidden = _kinds(config), config.get("moe_intermediate_size")
    if "mlp" in kinds:
        raise UnsupportedModel("config.json: layers with experts and layers without in one Nemotron-H")
    return {**_metadata(config), **experts(config)} | {
        "feed_forward_length": [hidden if kind == "moe" else 0 for kind in kinds],
        "expert_shared_feed_forward_length": config.get("moe_shared_expert_intermediate_size"),
        "moe_latent_size": config.get("moe_latent_size"),
        "rope.dimension_count": config.get("head_dim"),  # which nobody turns
        "rope.scaling.finetuned": False,
    }


NEMOTRON_H = HuggingFace(
    classes=("NemotronHForCausalLM",),
    names=(
        *outside(token_embd="embeddings", output_norm="norm_f", output="lm_head"),
        *in_layers(attn_norm="norm"),
        *grouped_names("layers.{i}.mixer", lambda config: int(config["n_groups"])),
        *in_layers("layers.{i}.mixer", attn_q="q_proj", attn_k="k_proj", attn_v="v_proj", attn_output="o_proj"),
        *in_layers("layers.{i}.mixer", ffn_up="up_proj", ffn_down="down_proj"),
    ),
    metadata=_metadata,
    defaults={
        **{"head_dim": 128, "layer_norm_epsilon": 1e-5, "mamba_num_heads": 128, "mamba_head_dim": 64, "n_groups": 8},
        **{"ssm_state_size": 128, "conv_kernel": 4, "hidden_act": "relu2", "mlp_hidden_act": "relu2"},
        "num_key_value_heads": 8,
    },
    activations=("relu2",),
    prefixes=("backbone.", "model."),
    fits=lambda config: "moe" not in _kinds(config),
)
_MIXER = "layers.{i}.mixer"
NEMOTRON_H_MOE = replace(
    NEMOTRON_H,
    names=(
        *NEMOTRON_H.names,
        TensorName("blk.{i}.ffn_gate_inp.weight", f"{_MIXER}.gate.weight"),
        TensorName("blk.{i}.exp_probs_b.bias", f"{_MIXER}.gate.e_score_correction_bias"),
        TensorName("blk.{i}.ffn_up_exps.weight", f"{_MIXER}.experts.{{e}}.up_proj.weight"),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_MIXER}.experts.{{e}}.down_proj.weight"),
        TensorName("blk.{i}.ffn_up_exps.weight", f"{_MIXER}.experts.up_proj"),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_MIXER}.experts.down_proj"),
        *in_layers(_MIXER, ffn_up_shexp="shared_experts.up_proj", ffn_down_shexp="shared_experts.down_proj"),
        *in_layers(_MIXER, ffn_latent_down="fc1_latent_proj", ffn_latent_up="fc2_latent_proj"),
    ),
    metadata=_mixed_metadata,
    defaults={
        **{**NEMOTRON_H.defaults, "n_routed_experts": 8, "n_shared_experts": 1, "moe_intermediate_size": 7688},
        **{"moe_shared_expert_intermediate_size": 7688, "num_experts_per_tok": 2, "routed_scaling_factor": 1.0},
        **{"n_group": 1, "topk_group": 1, "norm_topk_prob": True},
    },
    needless=r"^mtp\.",
    fits=lambda config: True,
)


@architecture("nemotron_h_moe", hf=NEMOTRON_H_MOE, rope="", recurrent=True, defaults={"expert_gating_func": 2})
@architecture("nemotron_h", hf=NEMOTRON_H, rope="", recurrent=True)
def nemotron_h(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        if "ssm_in" in w:
            x = x + grouped_mixer(h, inputs, w, hp)
        elif "ffn_up" in w:
            x = x + feed_forward(h, w, ops.relu_squared)
        elif "ffn_gate_inp" in w:
            x = x + _experts(h, w, hp.needed_experts())
        else:
            x = x + attend_anywhere(h, w, inputs, hp, i)
    return logits(x, inputs, weights, hp)


def _experts(x: Tensor, w: WeightTable, form: Experts) -> Tensor:
    """Units without gates, of rows that may be narrower, and one that every token takes. Shapes: [T, D] -> [T, D]."""
    shares, chosen = routed(x, w, form)
    narrow = project(x, w, "ffn_latent_down") if "ffn_latent_down" in w else x
    h = ops.relu_squared(expert_project(narrow, chosen, w, "ffn_up_exps", form))
    y: Tensor = ops.weigh(expert_project(h, chosen, w, "ffn_down_exps", form), shares)
    y = project(y, w, "ffn_latent_up") if "ffn_latent_up" in w else y
    return y + project(ops.relu_squared(project(x, w, "ffn_up_shexp")), w, "ffn_down_shexp")
