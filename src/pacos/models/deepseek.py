"""DeepSeek MoE, the first: Llama with small experts, some of them for all tokens, behind a dense layer.

Source: modeling_deepseek.py beside the published weights; tensor names as in GGUF arch "deepseek".
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import decoder
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, PAIRED_ATTENTION, TWO_NORMS

DEEPSEEK = HuggingFace(
    classes=("DeepseekForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *GATED, *expert_names(), *shared_names("mlp.shared_experts")),
    metadata=lambda config: {"rope.scaling.type": "none", **decoder(config), **experts(config)},
    defaults={"rms_norm_eps": 1e-6, "norm_topk_prob": False, "routed_scaling_factor": 1.0},
    reads=READS,
)


@architecture("deepseek", hf=DEEPSEEK, rope="pairs")
def deepseek(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
