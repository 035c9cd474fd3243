"""StableLM 1 and 2: Llama with layer norms, rotary positions in part; 12B has norms of heads and one norm a layer.

Source: Hugging Face modeling_stablelm.py; tensor names as in GGUF arch "stablelm".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, layer_norm_logits, norm, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TWO_NORMS, TensorName

_HEAD_NORMS = tuple(
    TensorName(f"blk.{{i}}.attn_{part}_norm.weight", f"layers.{{i}}.self_attn.{part}_layernorm.norms.{{e}}.weight")
    for part in ("q", "k")
)
STABLELM = HuggingFace(
    classes=("StableLmForCausalLM", "StableLMEpochForCausalLM"),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *_HEAD_NORMS, *GATED),
    metadata=lambda config: {
        **decoder(config),
        "use_parallel_residual": bool(config["use_parallel_residual"]),
    },
    defaults={
        **{"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_parallel_residual": False},
        "num_key_value_heads": 32,
    },
)


@architecture("stablelm", hf=STABLELM)
def stablelm(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp)
        q, k, v = queries_keys_values(h, w, hp, i)
        if "attn_q_norm" in w:
            q, k = norm(q, w, "attn_q_norm", hp), norm(k, w, "attn_k_norm", hp)
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        a = attend((q, k, v), w, inputs, hp, i)
        if "ffn_norm" in w:
            x = x + a
            x = x + silu_feed_forward(norm(x, w, "ffn_norm", hp), w)
        else:
            x = x + a + silu_feed_forward(h, w)
    return layer_norm_logits(x, inputs, weights, hp)
