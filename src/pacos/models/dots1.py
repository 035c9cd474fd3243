"""dots.llm1: Qwen 3's attention, and small experts that are scored by sigmoid, some of them for all tokens.

Source: Hugging Face modeling_dots1.py; tensor names as in GGUF arch "dots1".
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, Metadata, decoder, needed, windows
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS


def _read(config: Config) -> Metadata:
    late = [i >= config["max_window_layers"] for i in range(needed(config, "num_hidden_layers"))]
    return decoder(config) | windows(config, late) | experts(config)


DOTS1 = HuggingFace(
    classes=("Dots1ForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED),
        *(*expert_names(), *shared_names("mlp.shared_experts")),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 62},
        **{"moe_intermediate_size": 1408, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 0},
        **{
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
            "scoring_func": "sigmoid",
            "intermediate_size": 10944,
        },
    },
    reads=READS,
)


@architecture("dots1", hf=DOTS1, defaults={"expert_gating_func": 2})
def dots1(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
