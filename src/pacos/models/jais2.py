"""Jais 2: Llama with layer norms, biases everywhere, and squared ReLU without a gate.

Source: Hugging Face modeling_jais2.py; tensor names as in GGUF arch "jais2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, feed_forward, layer_norm_logits, norm, rotated
from pacos.models.hf_config import whole_decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS, in_layers

JAIS2 = HuggingFace(
    classes=("Jais2ForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *in_layers(ffn_up="mlp.up_proj", ffn_down="mlp.down_proj")),
    metadata=whole_decoder,
    defaults={"layer_norm_eps": 1e-5, "hidden_act": "relu2"},
    activations=("relu2",),
)


@architecture("jais2", hf=JAIS2)
def jais2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + attend(rotated(norm(x, w, "attn_norm", hp), w, inputs, hp, i), w, inputs, hp, i)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, ops.relu_squared)
    return layer_norm_logits(x, inputs, weights, hp)
