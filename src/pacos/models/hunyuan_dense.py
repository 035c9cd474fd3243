"""Hunyuan, dense: Llama with norms on heads of queries and keys behind the rotation.

Source: Hugging Face modeling_hunyuan_v1_dense.py; tensor names as in GGUF arch "hunyuan-dense".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, rotated, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, head_width, positive, rope_settings
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TWO_NORMS, in_layers

_CONTEXTS = {1000.0: 1 << 18}  # what a stretched base is good for, as Tencent says; configs often say less


def read_config(config: Config) -> Metadata:
    """The metadata; what its files call dynamic is another rotary base."""
    found = decoder(config)
    settings, _ = rope_settings(config)
    width = head_width(config)
    if settings["rope_type"] == "dynamic" and settings.get("alpha") and width and width > 2:
        alpha = positive(settings, "alpha")
        found["rope.freq_base"] = float(found["rope.freq_base"] * alpha ** (width / (width - 2)))
        found["context_length"] = _CONTEXTS.get(alpha, found["context_length"])
    return found


NAMED_NORMS = in_layers(attn_q_norm="self_attn.query_layernorm", attn_k_norm="self_attn.key_layernorm")
HUNYUAN = HuggingFace(
    classes=("HunYuanDenseV1ForCausalLM",),
    names=(
        *ENDS,
        *TWO_NORMS,
        *ATTENTION,
        *NAMED_NORMS,
        *GATED,
    ),
    metadata=read_config,
    defaults={"rms_norm_eps": 1e-5},
)


@architecture("hunyuan-dense", hf=HUNYUAN)
def hunyuan_dense(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = rotated(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        q = ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps)
        k = ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps)
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
