"""EuroBERT, and Llama as an encoder (llama-embed-nemotron): Llama's layers, whose tokens all see each other.

Source: Hugging Face modeling_eurobert.py, NVIDIA's llama_bidirectional_model.py; tensor names as in GGUF arch
"eurobert" and "llama-embed".
Shapes: T tokens in the step, R rows wanted, D model width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.bert import ENCODER
from pacos.models.blocks import both_ways, project, queries_keys_values, rope_factors, silu_feed_forward
from pacos.models.hf_config import decoder, factor_vectors
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, GATED, PAIRED_ATTENTION, TWO_NORMS, outside

_ENDS = outside(token_embd="embed_tokens", output_norm="norm")

EUROBERT = HuggingFace(
    classes=("EuroBertModel", "EuroBertForMaskedLM"),
    names=(*_ENDS, *TWO_NORMS, *ATTENTION, *GATED),
    metadata=lambda config: {**decoder(config), "attention.causal": False, "rope.scaling.type": "none"},
    defaults={
        **{"vocab_size": 128256, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
        **{"num_attention_heads": 12, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu"},
    },
    needless=r"^lm_head\.",
)
LLAMA_EMBED = HuggingFace(
    classes=("LlamaBidirectionalModel",),
    names=(*_ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *GATED),
    metadata=lambda config: {**decoder(config), "attention.causal": False},
    defaults={"rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    vectors=factor_vectors,
)


@architecture("eurobert", hf=EUROBERT, defaults=ENCODER)
@architecture("llama-embed", hf=LLAMA_EMBED, rope="pairs", defaults=ENCODER)
def eurobert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        x = x + project(both_ways((q, k, v), inputs, hp, i), w, "attn_output")
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    y: Tensor = ops.rms_norm(ops.take(x, inputs.outputs), weights["output_norm"], eps=hp.norm_eps)
    return y
