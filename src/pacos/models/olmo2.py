"""OLMo 2 and 3: Llama with norms behind attention and feed-forward unit, and on all queries and keys at once.

Source: Hugging Face modeling_olmo2.py and modeling_olmo3.py; tensor names as in GGUF arch "olmo2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.rope import RopeSpec
from pacos.models.blocks import attend, logits, project, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, in_layers

_NORMS = in_layers(post_attention_norm="post_attention_layernorm", post_ffw_norm="post_feedforward_layernorm")
OLMO2 = HuggingFace(
    classes=("Olmo2ForCausalLM",),
    names=(*ENDS, *_NORMS, *ATTENTION, *HEAD_NORMS, *GATED),
    metadata=decoder,
    defaults={"rms_norm_eps": 1e-5},
)


def _read_third(config: Config) -> Metadata:
    """The metadata; what stretches the context leaves layers with windows as they are."""
    found = decoder(config) | windows(config, 4)
    windowed = found["rope.freq_base_swa"] or found["rope.freq_base"]
    return {**found, "rope.freq_base_swa": windowed if "rope.scaling.type" in found else None}


OLMO3 = replace(
    OLMO2,
    classes=("Olmo3ForCausalLM",),
    metadata=_read_third,
    defaults={
        **{"rms_norm_eps": 1e-5, "sliding_window": 4096, "rope_theta": 500000.0},
    },
)


@architecture("olmo2", hf=(OLMO2, OLMO3))
def olmo2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        # Layers with a window never see positions beyond the trained ones: they are not stretched.
        rope = RopeSpec(hp.rope.width, hp.rope.style, hp.rope_windowed.base) if hp.windows[i] else hp.rope
        q = ops.rms_norm(project(x, w, "attn_q"), w["attn_q_norm"], eps=hp.norm_eps)
        k = ops.rms_norm(project(x, w, "attn_k"), w["attn_k_norm"], eps=hp.norm_eps)
        q, k, v = (ops.heads(part, width=hp.head_width) for part in (q, k, project(x, w, "attn_v")))
        q, k = (ops.rope(part, inputs.positions, rope) for part in (q, k))
        x = x + ops.rms_norm(attend((q, k, v), w, inputs, hp, i), w["post_attention_norm"], eps=hp.norm_eps)
        x = x + ops.rms_norm(silu_feed_forward(x, w), w["post_ffw_norm"], eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)
