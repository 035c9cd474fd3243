"""Qwen 3 with experts, and Qwen 2 with experts, of which one is shared by all tokens and has a gate.

Source: Hugging Face modeling_qwen3_moe.py and modeling_qwen2_moe.py; GGUF arch "qwen3moe" and "qwen2moe".
"""

from __future__ import annotations

from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.qwen2 import read_config
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS


def _read(config: Config) -> dict[str, Any]:
    return read_config(config) | experts(config)


QWEN2_MOE = HuggingFace(
    classes=("Qwen2MoeForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *GATED, *expert_names(), *shared_names("mlp.shared_expert")),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "max_window_layers": 28, "norm_topk_prob": False, "num_key_value_heads": 16},
        **{"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408},
        "shared_expert_intermediate_size": 5632,
        "intermediate_size": 5632,
    },
    reads=READS,
)
QWEN3_MOE = HuggingFace(
    classes=("Qwen3MoeForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED, *expert_names()),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 128, "max_window_layers": 28, "norm_topk_prob": False},
        "num_key_value_heads": 4,
        **{"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
        "intermediate_size": 6144,
    },
    reads=READS,
)


@architecture("qwen2moe", hf=QWEN2_MOE)
def qwen2moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)


@architecture("qwen3moe", hf=QWEN3_MOE, defaults={"expert_weights_norm": True})
def qwen3moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
