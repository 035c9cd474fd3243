"""Hunyuan 3: norms of heads before their rotation, experts that are scored by sigmoid, one of them for all tokens.

Source: Hugging Face modeling_hy_v3.py; tensor names as in GGUF arch "hy_v3".
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, Metadata, decoder
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS, TensorName


def _read(config: Config) -> Metadata:
    shared = config["moe_intermediate_size"] * config["num_shared_experts"]
    words = {"norm_topk_prob": True, "scoring_func": "sigmoid", "first_k_dense_replace": None}
    words |= {"routed_scaling_factor": float(config["router_scaling_factor"]), "num_shared_experts": None}
    return decoder(config) | experts({**config, **words}) | {"expert_shared_feed_forward_length": shared}


HY_V3 = HuggingFace(
    classes=("HYV3ForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED, *expert_names(), *expert_names(router="router.gate")[:1]),
        *(*shared_names("mlp.shared_experts"), *shared_names("mlp.shared_mlp")),
        TensorName("blk.{i}.exp_probs_b", "layers.{i}.mlp.expert_bias"),
        TensorName("blk.{i}.exp_probs_b", "layers.{i}.mlp.e_score_correction_bias"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "head_dim": 128, "num_key_value_heads": 8, "rope_theta": 11158840.0},
        **{"num_experts": 192, "num_experts_per_tok": 8, "num_shared_experts": 1, "moe_intermediate_size": 1536},
        **{"router_scaling_factor": 2.826, "intermediate_size": 13312},
    },
    reads=READS,
    refuses=(("route_norm", True), ("qk_norm", True)),
)
DEFAULTS = {"expert_gating_func": 2, "expert_weights_norm": True}


@architecture("hy_v3", hf=HY_V3, defaults=DEFAULTS)
def hy_v3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
