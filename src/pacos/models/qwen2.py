"""Qwen 1.5, 2 and 2.5: Llama with biases on queries, keys and values, rotary halves and late windows.

Source: Hugging Face modeling_qwen2.py; tensor names as in GGUF arch "qwen2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, project_heads, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, windows
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TWO_NORMS


def read_config(config: Config) -> Metadata:
    """The metadata of Qwen 2 and 3: from one layer on, all have a window."""
    found = decoder(config)
    layers, first = config.get("num_hidden_layers"), config["max_window_layers"]
    if "layer_types" in config:
        return found | windows(config)
    if config.get("use_sliding_window") and isinstance(layers, int) and layers <= LAYERS_MAX:
        found |= windows(config, [i >= first for i in range(layers)])
    return found


QWEN2 = HuggingFace(
    classes=("Qwen2ForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *GATED),
    metadata=read_config,
    defaults={
        **{"rms_norm_eps": 1e-6, "max_window_layers": 28, "num_key_value_heads": 32},
    },
)


@architecture("qwen2", hf=QWEN2)
def qwen2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = ops.rope(project_heads(h, w, "attn_q", hp.head_width), inputs.positions, hp.rope)  # [T, H, E]
        k = ops.rope(project_heads(h, w, "attn_k", hp.head_width), inputs.positions, hp.rope)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        a = ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale, window=hp.windows[i])
        x = x + project(a, w, "attn_output")
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
