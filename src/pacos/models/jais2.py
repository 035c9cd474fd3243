"""Jais 2: Llama with layer norms, biases everywhere, and squared ReLU without a gate, as Nemotron computes it.

Source: Hugging Face modeling_jais2.py; tensor names as in GGUF arch "jais2".
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hf_config import whole_decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.nemotron import nemotron
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
    return nemotron(inputs, weights, hp)
