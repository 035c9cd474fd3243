"""MiniMax M2: sigmoid routers whose choice has a bias, norms over whole rows of queries and keys.

Source: Hugging Face modeling_minimax_m2.py; tensor names as in GGUF arch "minimax-m2".
"""

from __future__ import annotations

from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, decoder
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, HEAD_NORMS, TWO_NORMS, TensorName


def _read(config: Config) -> dict[str, Any]:
    found = decoder(config) | experts(config) | {"expert_feed_forward_length": config.get("intermediate_size")}
    return found | ({"rope.dimension_count": config["rotary_dim"]} if config.get("rotary_dim") else {})


_BIAS = TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.block_sparse_moe.e_score_correction_bias")
MINIMAX_M2 = HuggingFace(
    classes=("MiniMaxM2ForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, _BIAS),
        *expert_names("block_sparse_moe", gate="w1", up="w3", down="w2"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 128, "rope_theta": 5000000.0, "scoring_func": "sigmoid"},
        "num_key_value_heads": 8,
        **{"num_local_experts": 256, "num_experts_per_tok": 8},
    },
    reads=READS,
)


@architecture("minimax-m2", hf=MINIMAX_M2, defaults={"expert_gating_func": 2, "expert_weights_norm": True})
def minimax_m2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
