"""Apertus: Llama with norms on heads of queries and keys, and an activation that every layer has learned.

Source: Hugging Face modeling_apertus.py; tensor names as in GGUF arch "apertus", which has the activation as metadata.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

import functools
import math

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, feed_forward, logits, queries_keys_values, rope_factors
from pacos.models.hf_config import decoder, factor_vectors
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, HEAD_NORMS, in_layers

_NUMBER_MAX = 1e6
APERTUS = HuggingFace(
    classes=("ApertusForCausalLM",),
    names=(
        *ENDS,
        *in_layers(attn_norm="attention_layernorm", ffn_norm="feedforward_layernorm"),
        *ATTENTION,
        *HEAD_NORMS,
        *in_layers(ffn_up="mlp.up_proj", ffn_down="mlp.down_proj"),
    ),
    metadata=decoder,
    defaults={
        **{"rms_norm_eps": 1e-5, "hidden_act": "xielu"},
        "rope_parameters": {
            **{"rope_type": "llama3", "rope_theta": 12e6, "factor": 8.0, "low_freq_factor": 1.0},
            **{"high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        },
    },
    activations=("xielu",),
    vectors=factor_vectors,
    numbers={f"xielu.{name}": f"layers.{{i}}.mlp.act_fn.{name}" for name in ("alpha_n", "alpha_p", "beta", "eps")},
)


@architecture("apertus", hf=APERTUS)
def apertus(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q = ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps)
        k = ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps)
        q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, _activation(hp, i))
    return logits(x, inputs, weights, hp)


def _activation(hp: Hparams, layer: int) -> functools.partial[Tensor]:
    fall, rise, slope, most = (
        hp.keys.number_of_layer(f"xielu.{name}", layer, hp.layers, -_NUMBER_MAX, _NUMBER_MAX)
        for name in ("alpha_n", "alpha_p", "beta", "eps")
    )
    return functools.partial(ops.xielu, rise=_softplus(rise), fall=slope + _softplus(fall), slope=slope, most=most)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
