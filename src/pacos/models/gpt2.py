"""GPT-2: learned positions, centred layer norms with biases, one fused projection for queries, keys and values.

Source: Hugging Face modeling_gpt2.py; tensor names as in GGUF arch "gpt2", matrices stored [out, in].
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import GELU_TANH, project
from pacos.models.hf_config import Config, Metadata
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import TRANSPOSE, in_layers, layer_pair, outside

_LAYER = "h.{i}"


def _read_config(config: Config) -> Metadata:
    width = config.get("n_embd")
    return {
        "block_count": config.get("n_layer"),
        "context_length": config.get("n_positions", config.get("n_ctx")),
        "embedding_length": width,
        "feed_forward_length": config.get("n_inner") or (4 * width if isinstance(width, int) else None),
        "attention.head_count": config.get("n_head"),
        "attention.layer_norm_epsilon": config.get("layer_norm_epsilon"),
        "vocab_size": config.get("vocab_size"),
    }


GPT2 = HuggingFace(
    classes=("GPT2LMHeadModel",),
    names=(
        *outside(token_embd="wte", position_embd="wpe", output_norm="ln_f", output="lm_head"),
        *in_layers(_LAYER, attn_norm="ln_1", ffn_norm="ln_2"),
        *layer_pair("attn_qkv", "attn.c_attn", TRANSPOSE, at=_LAYER),
        *layer_pair("attn_output", "attn.c_proj", TRANSPOSE, at=_LAYER),
        *layer_pair("ffn_up", "mlp.c_fc", TRANSPOSE, at=_LAYER),
        *layer_pair("ffn_down", "mlp.c_proj", TRANSPOSE, at=_LAYER),
    ),
    metadata=_read_config,
    defaults={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "activation_function": "gelu_new"},
    activations=GELU_TANH,
    needless=r"attn\.masked_bias$|(^|\.)h\.\d+\.attn\.bias$",
)


@architecture("gpt2", hf=GPT2, rope="")
def gpt2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    x = x + ops.embed(inputs.positions, weights["position_embd"])
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.layer_norm(x, w["attn_norm"], w["attn_norm.bias"], eps=hp.norm_eps)
        qkv = project(h, w, "attn_qkv")  # [T, 3 D]
        q, k, v = (ops.columns(qkv, start=n * hp.width, stop=(n + 1) * hp.width) for n in range(3))
        q, k, v = (ops.heads(part, width=hp.head_width) for part in (q, k, v))  # [T, H, E]
        x = x + project(ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale), w, "attn_output")
        h = ops.layer_norm(x, w["ffn_norm"], w["ffn_norm.bias"], eps=hp.norm_eps)
        x = x + project(ops.gelu_tanh(project(h, w, "ffn_up")), w, "ffn_down")
    x = ops.take(x, inputs.outputs)  # [R, D]
    x = ops.layer_norm(x, weights["output_norm"], weights["output_norm.bias"], eps=hp.norm_eps)
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), None)  # [R, V]
    return y
