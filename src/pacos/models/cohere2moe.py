"""Cohere 2 with experts: Command-R7B's attention beside experts, behind dense layers that always have positions.

Source: Hugging Face modeling_cohere2_moe.py; tensor names as in GGUF arch "cohere2moe".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, norm, queries_keys_values, rotated
from pacos.models.command_r import scaled_logits
from pacos.models.hf_config import Config, Metadata, decoder, first, needed, windows
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, in_layers


def _read(config: Config) -> Metadata:
    kinds, every = config.get("mlp_layer_types"), config["sliding_window_pattern"]
    dense = kinds.count("dense") if isinstance(kinds, list) else config.get("first_k_dense_replace") or 0
    behind = range(needed(config, "num_hidden_layers") - dense)
    pattern = [False] * dense + [(i + 1) % every != 0 for i in behind]
    score, shared = config["expert_selection_fn"], config["num_shared_experts"]
    words = {"moe_intermediate_size": config.get("intermediate_size"), "scoring_func": score}
    words |= {"norm_topk_prob": config["norm_topk_prob"] or score == "softmax", "first_k_dense_replace": dense}
    found = decoder(config) | windows(config, pattern) | experts({**config, **words})
    return {
        **found,
        "feed_forward_length": first(config, "prefix_dense_intermediate_size", "intermediate_size"),
        "expert_shared_count": shared or None,
        "expert_shared_feed_forward_length": shared * needed(config, "intermediate_size") or None,
        **{"logit_scale": float(config["logit_scale"]), "rope.scaling.type": "none"},
    }


COHERE2_MOE = HuggingFace(
    classes=("Cohere2MoeForCausalLM",),
    names=(
        *(*ENDS, *in_layers(attn_norm="input_layernorm"), *ATTENTION, *GATED),
        *(*expert_names(), *shared_names("mlp.shared_experts")),
    ),
    metadata=_read,
    defaults={
        **{"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "head_dim": 128, "tie_word_embeddings": True},
        **{"sliding_window": 4096, "sliding_window_pattern": 4, "num_experts": 8, "num_experts_per_tok": 2},
        **{"num_shared_experts": 0, "expert_selection_fn": "softmax", "norm_topk_prob": True},
    },
    reads=READS,
    refuses=(
        *(("shared_expert_combination_strategy", "average"), ("prefix_dense_sliding_window_pattern", 1)),
        *(("use_parallel_block", True), ("use_qk_norm", False)),
    ),
)
DEFAULTS = {
    **{"attention.sliding_window_pattern": 4, "attention.sliding_window_offset": 0},
    **{"expert_gating_func": 2},
}


@architecture("cohere2moe", hf=COHERE2_MOE, rope="pairs", defaults=DEFAULTS)
def cohere2moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    rms = "attention.layer_norm_rms_epsilon" in hp.keys
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps) if rms else norm(x, w, "attn_norm", hp)
        turns = hp.windows[i] or "ffn_gate_inp" not in w
        qkv = rotated(h, w, inputs, hp, i) if turns else queries_keys_values(h, w, hp, i)
        y = feed_forward(h, w, hp.experts)
        y = ops.scale(y, factor=0.5) if "ffn_up_shexp" in w else y  # half of each kind of experts
        x = x + attend(qkv, w, inputs, hp, i) + y
    if not rms:
        return scaled_logits(x, inputs, weights, hp)
    factor = hp.keys.number("logit_scale", 0, 1e6, 1.0, above=True)
    scaled: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=factor)
    return scaled
