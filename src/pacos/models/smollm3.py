"""SmolLM3: Llama without rotary positions on every fourth layer.

Source: Hugging Face modeling_smollm3.py; tensor names as in GGUF arch "smollm3".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, rotated, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import NAMES
from pacos.models.registry import architecture

_EVERY = 4  # GGUF files do not say


def _turns(layer: int) -> bool:
    return (layer + 1) % _EVERY != 0


def _read_config(config: Config) -> Metadata:
    given = config.get("no_rope_layers")  # 1 where there are positions
    if isinstance(given, list) and [bool(one) for one in given] != [_turns(i) for i in range(len(given))]:
        raise UnsupportedModel(f"config.json: no_rope_layers is {given!a}, supported: every {_EVERY}th layer")
    return decoder(config) | windows(config)


SMOLLM3 = HuggingFace(
    classes=("SmolLM3ForCausalLM",),
    names=NAMES,
    metadata=_read_config,
    defaults={
        **{"rms_norm_eps": 1e-6, "tie_word_embeddings": True, "use_sliding_window": False, "num_key_value_heads": 4},
        "rope_theta": 2000000.0,
    },
    refuses=(("no_rope_layer_interval", _EVERY),),
)


@architecture("smollm3", hf=SMOLLM3, rope="pairs")
def smollm3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        qkv = rotated(h, w, inputs, hp, i) if _turns(i) else queries_keys_values(h, w, hp, i)
        x = x + attend(qkv, w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
