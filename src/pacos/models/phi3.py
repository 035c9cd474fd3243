"""Phi 3, 3.5 and 4: Llama with fused matrices and LongRoPE.

Source: Hugging Face modeling_phi3.py; tensor names as in GGUF arch "phi3".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, fused_silu_feed_forward, logits, queries_keys_values, rope_factors
from pacos.models.hf_config import Config, Metadata, decoder, factor_vectors, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, TWO_NORMS, in_layers


def _read_config(config: Config) -> Metadata:
    found = decoder(config) | windows(config)
    original = found.get("rope.scaling.original_context_length", config["original_max_position_embeddings"])
    return {
        **{**found, "rope.scaling.original_context_length": original},
        "attention.sliding_window": found.get("attention.sliding_window", 0),  # 0 is what Phi 4 says
    }


PHI3 = HuggingFace(
    classes=("Phi3ForCausalLM",),
    names=(
        *ENDS,
        *TWO_NORMS,
        *in_layers(attn_qkv="self_attn.qkv_proj", attn_output="self_attn.o_proj"),
        *in_layers(ffn_up="mlp.gate_up_proj", ffn_down="mlp.down_proj"),
    ),
    metadata=_read_config,
    defaults={"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
    vectors=factor_vectors,
)


@architecture("phi3", hf=PHI3)
def phi3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
