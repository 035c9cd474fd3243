"""Nemotron 3 and 4, Minitron: layer norms around 1, squared ReLU without a gate, rotary positions in part.

Source: Hugging Face modeling_nemotron.py; tensor names as in GGUF arch "nemotron", whose norm weights have 1 added.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, feed_forward, layer_norm_logits, norm, rotated
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, PLUS_ONE, TWO_NORMS, changed, in_layers

_UNIT = in_layers(ffn_up="mlp.up_proj", ffn_down="mlp.down_proj")
NEMOTRON = HuggingFace(
    classes=("NemotronForCausalLM",),
    names=changed((*ENDS, *TWO_NORMS, *ATTENTION, *_UNIT), PLUS_ONE, "norm.weight"),
    metadata=lambda config: {
        **{**decoder(config), "attention.layer_norm_epsilon": config["norm_eps"], "rope.scaling.type": "none"},
        "attention.layer_norm_rms_epsilon": config["norm_eps"],  # llama.cpp writes both
    },
    defaults={"norm_eps": 1e-5, "partial_rotary_factor": 0.5, "hidden_act": "relu2"},
    activations=("relu2",),
)


@architecture("nemotron", hf=NEMOTRON)
def nemotron(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + attend(rotated(norm(x, w, "attn_norm", hp), w, inputs, hp, i), w, inputs, hp, i)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, ops.relu_squared)
    return layer_norm_logits(x, inputs, weights, hp)
