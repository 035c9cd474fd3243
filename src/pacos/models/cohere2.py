"""Command-R7B and Command-A: Command-R with windows on three of four layers, which alone have rotary positions.

Source: Hugging Face modeling_cohere2.py; tensor names as in GGUF arch "cohere2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, norm, queries_keys_values, rotated, silu_feed_forward
from pacos.models.command_r import scaled_logits
from pacos.models.hf_config import decoder, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, in_layers

COHERE2 = HuggingFace(
    classes=("Cohere2ForCausalLM",),
    names=(*ENDS, *in_layers(attn_norm="input_layernorm"), *ATTENTION, *GATED),
    metadata=lambda config: {
        **{**decoder(config), **windows(config, config["sliding_window_pattern"])},
        **{"logit_scale": float(config["logit_scale"]), "rope.scaling.type": "none"},
    },
    defaults={
        **{"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "tie_word_embeddings": True},
        **{"sliding_window": 4096, "sliding_window_pattern": 4},
    },
    reads=("position_embedding_type",),
    refuses=(("position_embedding_type", "rope_gptj"), ("use_parallel_block", True), ("use_gated_activation", True)),
)


@architecture("cohere2", hf=COHERE2, rope="pairs", defaults={"attention.sliding_window_pattern": 4})
def cohere2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp)
        qkv = rotated(h, w, inputs, hp, i) if hp.windows[i] else queries_keys_values(h, w, hp, i)
        x = x + attend(qkv, w, inputs, hp, i) + silu_feed_forward(h, w)
    return scaled_logits(x, inputs, weights, hp)
