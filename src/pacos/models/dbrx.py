"""DBRX: layer norms without biases, clipped queries, keys and values, and sixteen experts of which four compute.

Source: Hugging Face modeling_dbrx.py; tensor names as in GGUF arch "dbrx".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, X experts.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, clipped, norm, queries_keys_values
from pacos.models.hf_config import Config
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import TRANSPOSE, TensorName, in_layers, outside, reshaped

_STACK = reshaped(
    "stack", lambda shape, config: (n := config["ffn_config"]["moe_num_experts"], shape[0] // n, shape[1])
)


def _read(config: Config) -> dict[str, Any]:
    attention, experts = config["attn_config"], config["ffn_config"]
    activation = experts.get("ffn_act_fn", {}).get("name", "silu")
    power = experts.get("moe_normalize_expert_weights", 1)
    if activation != "silu" or power not in (1, None):
        problem = f"config.json: experts' activation is {activation!a}, the power of their norm {power}"
        raise UnsupportedModel(problem, hint="supported: silu, and 1 or none")
    return {
        "block_count": config.get("n_layers"),
        "context_length": config.get("max_seq_len"),
        "embedding_length": config.get("d_model"),
        "feed_forward_length": experts.get("ffn_hidden_size"),
        "attention.head_count": config.get("n_heads"),
        "attention.head_count_kv": attention.get("kv_n_heads"),
        "attention.clamp_kqv": attention.get("clip_qkv"),
        "attention.layer_norm_epsilon": 1e-5,
        "rope.freq_base": attention.get("rope_theta"),
        "expert_count": experts.get("moe_num_experts"),
        "expert_used_count": experts.get("moe_top_k"),
        "expert_weights_norm": power == 1,
        "vocab_size": config.get("vocab_size"),
    }


DBRX = HuggingFace(
    classes=("DbrxForCausalLM",),
    names=(
        *outside(token_embd="wte", output_norm="norm_f", output="lm_head"),
        *in_layers(
            "blocks.{i}",
            attn_norm="norm_attn_norm.norm_1",
            attn_qkv="norm_attn_norm.attn.Wqkv",
            attn_output="norm_attn_norm.attn.out_proj",
            attn_output_norm="norm_attn_norm.norm_2",
            ffn_gate_inp="ffn.router.layer",
        ),
        TensorName("blk.{i}.ffn_gate_exps.weight", "blocks.{i}.ffn.experts.mlp.w1", (_STACK,)),
        TensorName("blk.{i}.ffn_up_exps.weight", "blocks.{i}.ffn.experts.mlp.v1", (_STACK,)),
        TensorName("blk.{i}.ffn_down_exps.weight", "blocks.{i}.ffn.experts.mlp.w2", (_STACK, TRANSPOSE)),
    ),
    metadata=_read,
    defaults={
        "attn_config": {"kv_n_heads": 1},
        "ffn_config": {"ffn_hidden_size": 3584, "moe_num_experts": 4, "moe_top_k": 1},
    },
)


@architecture("dbrx", hf=DBRX, defaults={"expert_weights_norm": True})
def dbrx(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = clipped(queries_keys_values(norm(x, w, "attn_norm", hp), w, hp, i), hp)
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + expert_feed_forward(norm(x, w, "attn_output_norm", hp), w, hp.needed_experts())
    y: Tensor = ops.linear(norm(ops.take(x, inputs.outputs), weights, "output_norm", hp), weights["output"], None)
    return y
