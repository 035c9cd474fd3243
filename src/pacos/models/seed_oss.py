"""Seed-OSS: Qwen 2 with heads of any width; GGUF files name the second norm after what it follows.

Source: Hugging Face modeling_seed_oss.py; tensor names as in GGUF arch "seed_oss".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, rotated, silu_feed_forward
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, in_layers

SEED_OSS = HuggingFace(
    classes=("SeedOssForCausalLM",),
    names=(
        *ENDS,
        *in_layers(attn_norm="input_layernorm", post_attention_norm="post_attention_layernorm"),
        *ATTENTION,
        *GATED,
    ),
    metadata=decoder,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 128, "num_key_value_heads": 8},
    },
)


@architecture("seed_oss", hf=SEED_OSS)
def seed_oss(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["post_attention_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
