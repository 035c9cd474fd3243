"""Command-R and R+: attention and feed-forward unit side by side behind one norm without a bias, scaled logits.

Source: Hugging Face modeling_cohere.py; tensor names as in GGUF arch "command-r".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, layer_norm_logits, norm, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import decoder, first
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, in_layers

COHERE = HuggingFace(
    classes=("CohereForCausalLM",),
    names=(*ENDS, *in_layers(attn_norm="input_layernorm"), *ATTENTION, *HEAD_NORMS, *GATED),
    metadata=lambda config: {
        **{**decoder(config), "logit_scale": float(config["logit_scale"])},
        "context_length": first(config, "model_max_length", "max_position_embeddings"),  # the second is too small
        "rope.scaling.type": "none",
    },
    defaults={
        **{"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "tie_word_embeddings": True, "rope_theta": 500000.0},
    },
)


@architecture("command-r", hf=COHERE, rope="pairs")
def command_r(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp)
        q, k, v = queries_keys_values(h, w, hp, i)
        if "attn_q_norm" in w:
            q, k = norm(q, w, "attn_q_norm", hp), norm(k, w, "attn_k_norm", hp)
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i) + silu_feed_forward(h, w)
    return scaled_logits(x, inputs, weights, hp)


def scaled_logits(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits times the file's factor. Shapes: [T, D] -> [R, V]."""
    factor = hp.keys.number("logit_scale", 0, 1e6, 1.0, above=True)
    y: Tensor = ops.scale(layer_norm_logits(x, inputs, weights, hp), factor=factor)
    return y
