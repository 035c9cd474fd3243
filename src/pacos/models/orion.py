"""Orion: Llama with layer norms.

Source: the modeling_orion.py of the published folders; tensor names as in GGUF arch "orion".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, layer_norm_logits, norm, rotated, silu_feed_forward
from pacos.models.hf_config import META_LAYOUT, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TWO_NORMS

ORION = HuggingFace(
    classes=("OrionForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *GATED),
    metadata=lambda config: {
        **decoder(config),
        **{"attention.layer_norm_epsilon": config["rms_norm_eps"], "attention.layer_norm_rms_epsilon": None},
        "tensor_data_layout": META_LAYOUT,
    },
    defaults={"rms_norm_eps": 1e-5},
)


@architecture("orion", hf=ORION)
def orion(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + attend(rotated(norm(x, w, "attn_norm", hp), w, inputs, hp, i), w, inputs, hp, i)
        x = x + silu_feed_forward(norm(x, w, "ffn_norm", hp), w)
    return layer_norm_logits(x, inputs, weights, hp)
