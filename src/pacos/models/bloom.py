"""Bloom: GPT-2 with a norm of the embeddings, and ALiBi's bias for positions.

Source: Hugging Face modeling_bloom.py; tensor names as in GGUF arch "bloom".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, feed_forward, layer_norm_logits, norm, queries_keys_values
from pacos.models.hf_config import Config, Metadata, four_times, needed, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import gathered_groups, in_layers, layer_pair, outside

_LAYER = "h.{i}"
_MAX_BIAS = 8.0


def _counts(config: Config) -> tuple[int, int]:
    heads = needed(config, "n_head", "num_attention_heads")
    return heads, heads


def _read_config(config: Config) -> Metadata:
    found = {**sizes(config), **four_times(config)}
    context = found["context_length"] or found["embedding_length"]  # ALiBi knows no limit, and most configs name none
    return {**found, "context_length": context, "attention.head_count_kv": found["attention.head_count"]}


BLOOM = HuggingFace(
    classes=("BloomForCausalLM", "BloomModel"),
    names=(
        *outside(token_embd="word_embeddings", token_embd_norm="word_embeddings_layernorm"),
        *outside(output_norm="ln_f", output="lm_head"),
        *in_layers(_LAYER, attn_norm="input_layernorm", attn_output="self_attention.dense"),
        *layer_pair("attn_qkv", "self_attention.query_key_value", gathered_groups(_counts), at=_LAYER),
        *in_layers(
            _LAYER, ffn_norm="post_attention_layernorm", ffn_up="mlp.dense_h_to_4h", ffn_down="mlp.dense_4h_to_h"
        ),
    ),
    metadata=_read_config,
    defaults={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    refuses=(("apply_residual_connection_post_layernorm", False),),
)


@architecture("bloom", hf=BLOOM, rope="")
def bloom(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = norm(ops.embed(inputs.tokens, weights["token_embd"]), weights, "token_embd_norm", hp)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = queries_keys_values(norm(x, w, "attn_norm", hp), w, hp, i)
        x = x + attend(qkv, w, inputs, hp, i, max_bias=_MAX_BIAS)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, ops.gelu_tanh)
    return layer_norm_logits(x, inputs, weights, hp)
