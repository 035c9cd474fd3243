"""Mellum 2: Qwen 3 with experts, and windows on three of four layers, whose rotary positions are not stretched.

Source: Hugging Face modeling_mellum.py; tensor names as in GGUF arch "mellum".
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, Metadata, decoder, windows
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS


def _read(config: Config) -> Metadata:
    return decoder(config) | windows(config, []) | experts(config)


MELLUM = HuggingFace(
    classes=("MellumForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED, *expert_names()),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 128, "num_key_value_heads": 4, "sliding_window": 1024},
        **{"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 896, "norm_topk_prob": True},
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "intermediate_size": 7168,
    },
    reads=READS,
    needless=r"^mtp\.",
)
DEFAULTS = {"attention.sliding_window_pattern": 4, "expert_weights_norm": True}


@architecture("mellum", hf=MELLUM, defaults=DEFAULTS)
def mellum(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
