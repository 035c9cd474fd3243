"""GLM 4.5 and 4.6, GLM-4.5V, text: sigmoid routers whose choice has a bias, partly turned heads, a dense layer first.

Source: Hugging Face modeling_glm4_moe.py and modeling_glm4v_moe.py; tensor names as in GGUF arch "glm4moe". Of text,
all places that rotary sections of models that see tell apart are the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, decoder, position_sections
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, in_layers


def _read(config: Config) -> dict[str, Any]:
    return decoder(config) | experts(config)


GLM4_MOE = HuggingFace(
    classes=("Glm4MoeForCausalLM",),
    names=(
        *ENDS,
        *in_layers(attn_norm="input_layernorm", post_attention_norm="post_attention_layernorm"),
        *(*ATTENTION, *HEAD_NORMS, *GATED, *expert_names(), *shared_names("mlp.shared_experts")),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "norm_topk_prob": True, "scoring_func": "sigmoid", "routed_scaling_factor": 1.0},
        "partial_rotary_factor": 0.5,
        "num_key_value_heads": 8,
        **{"n_routed_experts": 128, "n_shared_experts": 1, "moe_intermediate_size": 1408, "num_experts_per_tok": 8},
        **{"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
        "intermediate_size": 10944,
    },
    reads=READS,
)
_SECTIONS = (8, 12, 12)  # of every published one that sees
GLM4V_MOE = replace(
    GLM4_MOE,
    classes=("Glm4vMoeForConditionalGeneration",),
    metadata=lambda config: {**_read(config), **position_sections(config, _SECTIONS)},
)


@architecture("glm4moe", hf=(GLM4_MOE, GLM4V_MOE), defaults={"expert_gating_func": 2})
def glm4moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
