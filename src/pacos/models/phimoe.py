"""Phi 3.5 MoE: Phi 3 with layer norms, biases and experts, of which two that a sparse mixer finds compute.

Source: Hugging Face modeling_phimoe.py, arXiv:2409.12136; tensor names as in GGUF arch "phimoe".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, layer_norm_logits, norm, queries_keys_values, rope_factors
from pacos.models.hf_config import Config, Metadata, decoder, long_rope_vectors, positive, rope_settings
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS


def _read(config: Config) -> Metadata:
    found = decoder(config) | experts(config)
    settings, _ = rope_settings(config)
    if settings["rope_type"] != "default":
        magnitude, short = (positive(settings, f"{name}_mscale") for name in ("long", "short"))
        if magnitude != short:
            raise UnsupportedModel(
                f"config.json: long_mscale is {magnitude:g}, short_mscale {short:g}, needed: the same"
            )
        found["rope.scaling.attn_factor"] = magnitude
    original = found.get("rope.scaling.original_context_length", config.get("original_max_position_embeddings"))
    return {**found, "rope.scaling.original_context_length": original, "attention.sliding_window": 0}


PHIMOE = HuggingFace(
    classes=("PhimoeForCausalLM", "PhiMoEForCausalLM"),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *expert_names("mlp", router="router")),
        *expert_names("block_sparse_moe", gate="w1", down="w2", up="w3"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "rope_theta": 1e6, "num_key_value_heads": 8, "num_attention_heads": 32},
        **{"num_local_experts": 16, "num_experts_per_tok": 2, "router_jitter_noise": 0.01},
    },
    reads=READS,
    refuses=(("router_jitter_noise", 0.01), ("num_experts_per_tok", 2)),
    vectors=long_rope_vectors,
)


@architecture("phimoe", hf=PHIMOE)
def phimoe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors, form = rope_factors(weights, hp), replace(hp.needed_experts(), score="sparse mixer", normalise=False)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(norm(x, w, "attn_norm", hp), w, hp, i)
        q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + expert_feed_forward(norm(x, w, "ffn_norm", hp), w, form)
    return layer_norm_logits(x, inputs, weights, hp)
