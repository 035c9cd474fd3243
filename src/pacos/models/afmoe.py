"""Arcee Trinity (AFMoE): gated attention whose windowed layers alone have rotary positions, norms before and behind
each part, experts that are scored by sigmoid.

Source: Hugging Face modeling_afmoe.py; tensor names as in GGUF arch "afmoe".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project
from pacos.models.expert_decoder import normed_heads
from pacos.models.hf_config import Config, Metadata, decoder, windows
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TensorName, in_layers


def _read(config: Config) -> Metadata:
    words = {"norm_topk_prob": True, "routed_scaling_factor": config["route_scale"], "score_function": "sigmoid"}
    found = decoder(config) | windows(config, config["global_attn_every_n_layers"]) | experts({**config, **words})
    plain = None if config["mup_enabled"] else 1.0
    return {**found, "leading_dense_block_count": config["num_dense_layers"], "embedding_scale": plain}


AFMOE = HuggingFace(
    classes=("AfmoeForCausalLM",),
    names=(
        *(*ENDS, *ATTENTION, *HEAD_NORMS, *GATED, *in_layers(attn_gate="self_attn.gate_proj")),
        *in_layers(attn_norm="input_layernorm", post_attention_norm="post_attention_layernorm"),
        *in_layers(ffn_norm="pre_mlp_layernorm", post_ffw_norm="post_mlp_layernorm"),
        *(*expert_names(router="router.gate"), *shared_names("mlp.shared_experts")),
        TensorName("blk.{i}.exp_probs_b.bias", "layers.{i}.mlp.expert_bias"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "head_dim": 128, "sliding_window": 1024, "global_attn_every_n_layers": 4},
        **{"num_dense_layers": 1, "num_experts": 64, "num_experts_per_tok": 6, "num_shared_experts": 2},
        **{"moe_intermediate_size": 1408, "route_scale": 1.0, "mup_enabled": False, "intermediate_size": 6144},
    },
    reads=READS,
    refuses=(("route_norm", True), ("score_func", "sigmoid"), ("n_group", 1)),
)
DEFAULTS = {"attention.sliding_window_pattern": 4, "expert_gating_func": 2}


@architecture("afmoe", hf=AFMOE, defaults=DEFAULTS)
def afmoe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factor = hp.keys.number("embedding_scale", 0, 1e6, float(hp.width**0.5), above=True)
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=factor)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        y = _attend(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        x = x + ops.rms_norm(y, w["post_attention_norm"], eps=hp.norm_eps)
        y = feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
        x = x + ops.rms_norm(y, w["post_ffw_norm"], eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)


def _attend(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int) -> Tensor:
    q, k, v = normed_heads(h, w, hp, layer)
    if hp.windows[layer]:
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
    y = ops.attention(q, k, v, cache=inputs.cache[layer], scale=hp.scale, window=hp.windows[layer])  # [T, H E]
    return project(y * ops.sigmoid(project(h, w, "attn_gate")), w, "attn_output")
