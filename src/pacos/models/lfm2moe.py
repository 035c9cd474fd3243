"""LFM2 with experts: LFM2 whose later layers have small experts, scored by sigmoid, for the unit of all tokens.

Source: Hugging Face modeling_lfm2_moe.py; tensor names as in GGUF arch "lfm2moe".
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hf_config import Config, Metadata
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.lfm2 import NAMES, lfm2, sizes_and_attention
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName


def _read(config: Config) -> Metadata:
    scale = config["routed_scaling_factor"]
    return {
        **sizes_and_attention(config) | experts({**config, "score_function": "sigmoid"}),
        "leading_dense_block_count": config["num_dense_layers"],
        "expert_weights_scale": None if scale == 1 else float(scale),
    }


LFM2_MOE = HuggingFace(
    classes=("Lfm2MoeForCausalLM",),
    names=(
        *(*NAMES, *expert_names("feed_forward", gate="w1", up="w3", down="w2")),
        TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.feed_forward.expert_bias"),
    ),
    metadata=_read,
    defaults={
        **{"norm_eps": 1e-5, "conv_L_cache": 3, "num_key_value_heads": 8, "tie_word_embeddings": True},
        **{"num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 1792},
        **{"routed_scaling_factor": 1.0, "norm_topk_prob": True, "rope_theta": 1e6, "intermediate_size": 7168},
    },
    reads=READS,
)


@architecture("lfm2moe", hf=LFM2_MOE, recurrent=True, defaults={"expert_gating_func": 2, "expert_weights_norm": True})
def lfm2moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return lfm2(inputs, weights, hp)
