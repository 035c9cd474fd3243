"""Laguna: heads of another number in each layer, behind which stands a gate, windows on three of four layers, and
experts that are scored by sigmoid.

Source: Hugging Face modeling_laguna.py; tensor names as in GGUF arch "laguna".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project
from pacos.models.expert_decoder import normed_heads
from pacos.models.hf_config import Config, Metadata, decoder, needed, windows
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS, TensorName, in_layers


def _read(config: Config) -> Metadata:
    heads = [needed(config, "num_attention_heads")] * needed(config, "num_hidden_layers")
    kinds = config.get("mlp_layer_types")
    words = {"norm_topk_prob": True, "scoring_func": "sigmoid", "num_shared_experts": None}
    words |= {"routed_scaling_factor": float(config["moe_routed_scaling_factor"])}
    dense = kinds.count("dense") if isinstance(kinds, list) else 1
    rope = config.get("rope_parameters") or {}
    windowed = (rope.get("sliding_attention") or {}).get("partial_rotary_factor", 1.0)
    return {
        **decoder(config) | windows(config, []) | experts({**config, **words}),
        "attention.head_count": config.get("num_attention_heads_per_layer") or heads,
        "leading_dense_block_count": dense,
        "rope.dimension_count_swa": int(config["head_dim"] * windowed) if "sliding_attention" in rope else None,
    }


LAGUNA = HuggingFace(
    classes=("LagunaForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED, *in_layers(attn_gate="self_attn.g_proj")),
        *(*expert_names(), *shared_names("mlp.shared_experts"), *shared_names("mlp.shared_expert")),
        TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.mlp.experts.e_score_correction_bias"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 128, "num_key_value_heads": 8, "sliding_window": 512},
        **{"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512},
        **{"shared_expert_intermediate_size": 512, "moe_routed_scaling_factor": 1.0, "intermediate_size": 8192},
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        },
    },
    reads=READS,
    refuses=(("moe_apply_router_weight_on_input", False), ("moe_router_logit_softcapping", 0.0)),
)
DEFAULTS = {
    **{"attention.sliding_window_pattern": 4, "attention.sliding_window_offset": 0},
    **{"expert_gating_func": 2, "expert_weights_norm": True},
}


@architecture("laguna", hf=LAGUNA, defaults=DEFAULTS)
def laguna(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + _attend(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)


def _attend(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int) -> Tensor:
    q, k, v = normed_heads(h, w, hp, layer)
    rope = hp.rope_of(layer)
    q, k = (ops.rope(part, inputs.positions, rope) for part in (q, k))
    y = ops.attention(q, k, v, cache=inputs.cache[layer], scale=hp.scale, window=hp.windows[layer])  # [T, H E]
    gate = ops.softplus(project(h, w, "attn_gate"))  # [T, H] or [T, H E]
    if gate.shape == y.shape:
        return project(y * gate, w, "attn_output")
    return project(ops.flat(ops.scale_heads(ops.heads(y, width=hp.value_width), gate)), w, "attn_output")
