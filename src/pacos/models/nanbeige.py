"""Nanbeige 4.2: Llama whose steps go through all layers several times, each time with keys and values of its own.

Source: llama.cpp's reading of the published folder; tensor names as in GGUF arch "nanbeige".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, rope_factors, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, llama3_vectors
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import NAMES
from pacos.models.registry import architecture


def _read(config: Config) -> Metadata:
    loops, skips = config.get("num_loops") or 1, bool(config.get("skip_loop_final_norm"))
    return {**decoder(config), "num_loops": loops, "skip_loop_final_norm": skips}


NANBEIGE = HuggingFace(
    classes=("NanbeigeForCausalLM",),
    names=NAMES,
    metadata=_read,
    defaults={"rms_norm_eps": 1e-5},
    vectors=llama3_vectors,
)


@architecture("nanbeige", hf=NANBEIGE, rope="pairs")
def nanbeige(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors, skips = rope_factors(weights, hp), hp.keys.truth("skip_loop_final_norm", default=False)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for loop in range(hp.loops):
        if loop and not skips:
            x = ops.rms_norm(x, weights["output_norm"], eps=hp.norm_eps)
        for i in range(hp.layers):
            w, cache = weights.block(i), inputs.cache[loop * hp.layers + i]
            q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
            q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
            x = x + attend((q, k, v), w, inputs, hp, i, cache=cache)
            x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
