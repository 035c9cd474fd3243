"""Snowflake Arctic: a narrow unit for all tokens behind attention, and beside both experts that see the layer's input.

Source: modeling_arctic.py beside the published weights; tensor names as in GGUF arch "arctic".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, rotated, silu_feed_forward
from pacos.models.hf_config import decoder
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, PAIRED_ATTENTION, in_layers

ARCTIC = HuggingFace(
    classes=("ArcticForCausalLM",),
    names=(
        *(*ENDS, *PAIRED_ATTENTION),
        *in_layers(
            attn_norm="input_layernorm", ffn_norm="residual_layernorm", ffn_norm_exps="post_attention_layernorm"
        ),
        *in_layers(ffn_gate="residual_mlp.w1", ffn_up="residual_mlp.w3", ffn_down="residual_mlp.w2"),
        *expert_names("block_sparse_moe", gate="w1", up="w3", down="w2"),
    ),
    metadata=lambda config: decoder(config) | experts(config),
    defaults={"rms_norm_eps": 1e-5, "num_local_experts": 8, "num_experts_per_tok": 1, "norm_topk_prob": True},
    reads=READS,
    refuses=(("moe_layer_frequency", 1), ("parallel_attn_mlp_res", True), ("use_residual", True)),
)


@architecture("arctic", hf=ARCTIC, rope="pairs", defaults={"expert_weights_norm": True})
def arctic(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        y = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        y = y + silu_feed_forward(ops.rms_norm(y, w["ffn_norm"], eps=hp.norm_eps), w)
        chosen = expert_feed_forward(ops.rms_norm(x, w["ffn_norm_exps"], eps=hp.norm_eps), w, hp.needed_experts())
        x = y + chosen
    return logits(x, inputs, weights, hp)
