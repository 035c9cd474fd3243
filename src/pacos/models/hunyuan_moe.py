"""Hunyuan with experts: norms of queries and keys behind their rotation, and an expert that every token takes.

Source: Hugging Face modeling_hunyuan_v1_moe.py; tensor names as in GGUF arch "hunyuan-moe".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, project_heads
from pacos.models.hf_config import Config
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.hunyuan_dense import read_config as read_dense
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS, in_layers


def _read(config: Config) -> dict[str, Any]:
    """The metadata; what the config says for each layer must be the same for all."""
    flat = dict(config)
    for key in ("num_experts", "moe_topk", "moe_intermediate_size", "num_shared_expert"):
        value = config.get(key)
        if isinstance(value, list) and value:
            if any(one != value[0] for one in value):
                raise UnsupportedModel(f"config.json: {key} differs from layer to layer")
            flat[key] = value[0]
    found = read_dense(flat) | experts(flat) | {"expert_feed_forward_length": config.get("intermediate_size")}
    return found | {"expert_shared_feed_forward_length": config.get("intermediate_size")}


HUNYUAN_MOE = HuggingFace(
    classes=("HunYuanMoEV1ForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION),
        *in_layers(attn_q_norm="self_attn.query_layernorm", attn_k_norm="self_attn.key_layernorm"),
        *(*expert_names(router="gate.wg"), *shared_names("mlp.shared_mlp")),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-5, "num_experts": 1, "moe_topk": 1, "num_shared_expert": 1},
    reads=READS,
)


@architecture("hunyuan-moe", hf=HUNYUAN_MOE, defaults={"expert_weights_norm": True})
def hunyuan_moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = ops.rope(project_heads(h, w, "attn_q", hp.head_width), inputs.positions, hp.rope)  # [T, H, E]
        k = ops.rope(project_heads(h, w, "attn_k", hp.head_width), inputs.positions, hp.rope)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        q, k = (ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps), ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps))
        x = x + project(ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale), w, "attn_output")
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)
