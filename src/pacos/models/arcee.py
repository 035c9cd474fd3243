"""Arcee AFM: Llama with squared ReLU and no gate.

Source: Hugging Face modeling_arcee.py; tensor names as in GGUF arch "arcee".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, feed_forward, logits, rotated
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, PAIRED_ATTENTION, TWO_NORMS, in_layers

ARCEE = HuggingFace(
    classes=("ArceeForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *in_layers(ffn_up="mlp.up_proj", ffn_down="mlp.down_proj")),
    metadata=decoder,
    defaults={"rms_norm_eps": 1e-5, "hidden_act": "relu2"},
    activations=("relu2",),
)


@architecture("arcee", hf=ARCEE, rope="pairs")
def arcee(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, ops.relu_squared)
    return logits(x, inputs, weights, hp)
