"""K-EXAONE: EXAONE 4's windows and positions, norms in Llama's places, and experts that are scored by sigmoid.

Source: Hugging Face modeling_exaone_moe.py; tensor names as in GGUF arch "exaone-moe".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits
from pacos.models.expert_decoder import normed_heads
from pacos.models.hf_config import Config, Metadata, decoder, first, windows
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS, TensorName


def _read(config: Config) -> Metadata:
    every = config["sliding_window_pattern"] if isinstance(config["sliding_window_pattern"], int) else 4
    kinds = config.get("mlp_layer_types")
    dense = first(config, "first_k_dense_replace", "first_last_k_dense_replace")
    return {
        **decoder(config) | windows(config, every) | experts(config),
        "expert_shared_feed_forward_length": config["moe_intermediate_size"] * config["num_shared_experts"],
        "leading_dense_block_count": kinds.count("dense") if isinstance(kinds, list) else dense,
        "rope.scaling.type": "none",
        "nextn_predict_layers": 0,  # those that folders have are left out
    }


EXAONE_MOE = HuggingFace(
    classes=("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM"),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED, *expert_names(), *shared_names("mlp.shared_experts")),
        TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.mlp.e_score_correction_bias"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "num_key_value_heads": 32, "sliding_window": 4096, "sliding_window_pattern": 4},
        **{"num_experts": 64, "num_experts_per_tok": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024},
        **{"norm_topk_prob": True, "routed_scaling_factor": 2.5, "n_group": 1, "topk_group": 1},
        **{"scoring_func": "sigmoid", "first_k_dense_replace": 1, "intermediate_size": 16384},
    },
    reads=READS,
    needless=r"^mtp\.",
)


DEFAULTS = {"attention.sliding_window_pattern": 4, "expert_gating_func": 2}


@architecture("exaone-moe", hf=EXAONE_MOE, defaults=DEFAULTS)
def exaone_moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = normed_heads(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        if hp.windows[i] or not any(hp.windows):
            q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)
