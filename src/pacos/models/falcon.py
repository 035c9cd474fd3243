"""Falcon 7B, 40B and 180B: attention and feed-forward unit side by side, the larger ones with a norm for each; and RW:
one behind the other, with ALiBi's bias for positions.

Source: Hugging Face modeling_falcon.py; tensor names as in GGUF arch "falcon".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, feed_forward, layer_norm_logits, norm, queries_keys_values, rotated
from pacos.models.hf_config import Config, Metadata, decoder, first, four_times, needed
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import gathered_groups, in_layers, layer_pair, outside

_LAYER = "h.{i}"


def _counts(config: Config) -> tuple[int, int]:
    heads = needed(config, "num_attention_heads", "n_head")
    if not config.get("new_decoder_architecture"):
        return heads, 1 if config["multi_query"] else heads
    return heads, int(first(config, "num_kv_heads", "n_head_kv") or heads)


def _read_config(config: Config) -> Metadata:
    found = {**decoder(config), **four_times(config), "attention.head_count_kv": _counts(config)[1]}
    if config["alibi"]:
        found["attention.max_alibi_bias"] = 8.0
    return {**found, "tensor_data_layout": "jploski"}


FALCON = HuggingFace(
    classes=("FalconForCausalLM", "RWForCausalLM"),
    names=(
        *outside(token_embd="word_embeddings", output_norm="ln_f", output="lm_head"),
        *in_layers(_LAYER, attn_norm="input_layernorm", attn_output="self_attention.dense"),
        *in_layers(_LAYER, ffn_norm="post_attention_layernorm"),
        *in_layers(_LAYER, attn_norm="ln_mlp", attn_norm_2="ln_attn"),
        *layer_pair("attn_qkv", "self_attention.query_key_value", gathered_groups(_counts), at=_LAYER),
        *in_layers(_LAYER, ffn_up="mlp.dense_h_to_4h", ffn_down="mlp.dense_4h_to_h"),
    ),
    metadata=_read_config,
    defaults={
        **{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "multi_query": True, "parallel_attn": True},
        **{"max_position_embeddings": 2048, "alibi": False, "new_decoder_architecture": False},
    },
    activations=("gelu",),
)


@architecture("falcon", hf=FALCON)
def falcon(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    max_bias = hp.keys.number("attention.max_alibi_bias", 0, 1e3, 0.0) or None
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp)
        seen = norm(x, w, "attn_norm_2", hp) if "attn_norm_2" in w else h
        if max_bias:  # which is scaled as the scores are
            a = attend(queries_keys_values(seen, w, hp, i), w, inputs, hp, i, max_bias=max_bias, bias_factor=hp.scale)
        else:
            a = attend(rotated(seen, w, inputs, hp, i), w, inputs, hp, i)
        x = x + a
        x = x + feed_forward(norm(x, w, "ffn_norm", hp) if "ffn_norm" in w else h, w, ops.gelu)
    return layer_norm_logits(x, inputs, weights, hp)
