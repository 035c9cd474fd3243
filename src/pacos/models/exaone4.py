"""EXAONE 4: norms behind attention and feed-forward unit, on heads of queries and keys; where layers have windows, they
alone have rotary positions.

Source: Hugging Face modeling_exaone4.py; tensor names as in GGUF arch "exaone4".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, rope_factors, silu_feed_forward
from pacos.models.hf_config import decoder, factor_vectors, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, in_layers

EXAONE4 = HuggingFace(
    classes=("Exaone4ForCausalLM",),
    names=(
        *ENDS,
        *in_layers(post_attention_norm="post_attention_layernorm", post_ffw_norm="post_feedforward_layernorm"),
        *ATTENTION,
        *HEAD_NORMS,
        *GATED,
    ),
    metadata=lambda config: decoder(config) | windows(config, 4),
    defaults={
        **{"rms_norm_eps": 1e-5, "num_key_value_heads": 32},
        **{"sliding_window": 4096, "sliding_window_pattern": 4},
    },
    vectors=factor_vectors,
)


@architecture("exaone4", hf=EXAONE4, defaults={"attention.sliding_window_pattern": 4})
def exaone4(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(x, w, hp, i)
        q = ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps)
        k = ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps)
        if hp.windows[i] or not any(hp.windows):
            q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        x = x + ops.rms_norm(attend((q, k, v), w, inputs, hp, i), w["post_attention_norm"], eps=hp.norm_eps)
        x = x + ops.rms_norm(silu_feed_forward(x, w), w["post_ffw_norm"], eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)
