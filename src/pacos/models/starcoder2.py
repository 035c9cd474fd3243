"""StarCoder 2: GPT-2 with rotary positions, grouped queries and windows.

Source: Hugging Face modeling_starcoder2.py; tensor names as in GGUF arch "starcoder2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import GELU_TANH, attend, feed_forward, layer_norm_logits, norm, rotated
from pacos.models.hf_config import decoder, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS, in_layers

STARCODER2 = HuggingFace(
    classes=("Starcoder2ForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *in_layers(ffn_up="mlp.c_fc", ffn_down="mlp.c_proj")),
    metadata=lambda config: decoder(config) | windows(config),
    defaults={
        **{"norm_epsilon": 1e-5, "tie_word_embeddings": True, "num_key_value_heads": 2},
    },
    activations=GELU_TANH,
)


@architecture("starcoder2", hf=STARCODER2)
def starcoder2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + attend(rotated(norm(x, w, "attn_norm", hp), w, inputs, hp, i), w, inputs, hp, i)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, ops.gelu_tanh)
    return layer_norm_logits(x, inputs, weights, hp)
