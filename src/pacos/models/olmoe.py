"""OLMoE: a mixture of experts with norms over whole rows of queries and keys.

Source: Hugging Face modeling_olmoe.py; tensor names as in GGUF arch "olmoe".
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import decoder
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, HEAD_NORMS, TWO_NORMS

OLMOE = HuggingFace(
    classes=("OlmoeForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *expert_names()),
    metadata=lambda config: decoder(config) | experts(config),
    defaults={
        **{"rms_norm_eps": 1e-5, "norm_topk_prob": False, "num_experts": 64, "num_experts_per_tok": 8},
    },
    reads=READS,
)


@architecture("olmoe", hf=OLMOE)
def olmoe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
