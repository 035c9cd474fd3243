"""Llama 1 to 3, Mistral, Mixtral and their exact copies: RMS norms, rotary positions, grouped queries, gated SiLU.

Source: Hugging Face modeling_llama.py and modeling_mistral.py; tensor names as in GGUF arch "llama".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, project_heads, rope_factors
from pacos.models.hf_config import decoder, factor_vectors, windows
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, PAIRED_ATTENTION, TWO_NORMS

NAMES = (*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *GATED)
LLAMA = HuggingFace(
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "InternLM3ForCausalLM"),
    names=NAMES,
    metadata=lambda config: decoder(config) | windows(config),
    defaults={"rms_norm_eps": 1e-6},
    vectors=factor_vectors,
)
MISTRAL = replace(
    LLAMA,
    classes=("MistralForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "sliding_window": 4096, "num_key_value_heads": 8},
)
MIXTRAL = HuggingFace(
    classes=("MixtralForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *expert_names("block_sparse_moe", gate="w1", up="w3", down="w2")),
    metadata=lambda config: decoder(config) | windows(config) | experts(config),
    defaults={
        **{"rms_norm_eps": 1e-5, "num_local_experts": 8, "num_experts_per_tok": 2, "rope_theta": 1e6},
        "num_key_value_heads": 8,
    },
    reads=READS,
    vectors=factor_vectors,
)


@architecture("llama", hf=(LLAMA, MISTRAL, MIXTRAL), rope="pairs", defaults={"expert_weights_norm": True})
def llama(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = project_heads(h, w, "attn_q", hp.head_width)  # [T, H, E]
        k = project_heads(h, w, "attn_k", hp.head_width)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        q = ops.rope(q, inputs.positions, hp.rope, factors)
        k = ops.rope(k, inputs.positions, hp.rope, factors)
        a = ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale, window=hp.windows[i])
        x = x + project(a, w, "attn_output")
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)
