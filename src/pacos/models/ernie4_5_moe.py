"""ERNIE 4.5 with experts: softmax routers whose choice has a bias, rotary pairs, experts that every token takes.

Source: Hugging Face modeling_ernie4_5_moe.py; tensor names as in GGUF arch "ernie4_5-moe".
"""

from __future__ import annotations

from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, decoder
from pacos.models.hf_experts import FLAT, READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TWO_NORMS, TensorName


def _read(config: Config) -> dict[str, Any]:
    return decoder(config) | {
        **experts(config),
        "expert_shared_feed_forward_length": config["moe_intermediate_size"] * config["moe_num_shared_experts"],
        "interleave_moe_layer_step": config.get("moe_layer_interval"),
        "leading_dense_block_count": config.get("moe_layer_start_index"),
    }


_BIAS = TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.mlp.moe_statics.e_score_correction_bias", (FLAT,))
ERNIE_MOE = HuggingFace(
    classes=("Ernie4_5_MoeForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *GATED, *expert_names(), _BIAS, *shared_names("mlp.shared_experts")),
    metadata=_read,
    defaults={
        **{
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "rope_theta": 500000.0,
            "moe_num_experts": 64,
            "moe_k": 6,
        },
        **{"moe_intermediate_size": 1536, "moe_num_shared_experts": 2, "moe_layer_interval": 1},
        "moe_layer_start_index": 1,
        "num_key_value_heads": 4,
        "intermediate_size": 12288,
    },
    reads=READS,
)


@architecture("ernie4_5-moe", hf=ERNIE_MOE, rope="pairs", defaults={"expert_weights_norm": True})
def ernie4_5_moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
