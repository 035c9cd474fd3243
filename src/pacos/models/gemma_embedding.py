"""EmbeddingGemma: Gemma 3 as an encoder, whose tokens see each other, on most layers within a window around them.

Source: Hugging Face modeling_gemma3.py with `use_bidirectional_attention`; tensor names as in GGUF arch
"gemma-embedding". The two Dense layers behind the pooling are "dense_2" and "dense_3".
Shapes: T tokens in the step, R rows wanted, D model width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import both_ways
from pacos.models.gemma3 import DEFAULTS, GEMMA3, all_layers
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import without

GEMMA_EMBEDDING: HuggingFace = replace(
    GEMMA3,
    classes=("Gemma3TextModel",),
    names=without(GEMMA3.names, "output.weight", "output.bias"),
    metadata=lambda config: {**GEMMA3.metadata(config), "attention.causal": False},
    defaults={**GEMMA3.defaults, "use_bidirectional_attention": False},
    reads=("use_bidirectional_attention",),
    refuses=(("use_bidirectional_attention", True),),  # the others lack the head that would make them decoders
)


@architecture("gemma-embedding", hf=GEMMA_EMBEDDING, defaults={**DEFAULTS, "attention.causal": False})
def gemma_embedding(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    x = all_layers(inputs, weights, hp, lambda q, k, v, layer: both_ways((q, k, v), inputs, hp, layer))
    y: Tensor = ops.rms_norm(ops.take(x, inputs.outputs), weights["output_norm"], eps=hp.norm_eps)
    return y
