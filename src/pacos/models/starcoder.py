"""StarCoder 1 and SantaCoder: GPT-2 whose queries share one key head, or in some fine-tunes have one each.

Source: Hugging Face modeling_gpt_bigcode.py; tensor names as in GGUF arch "starcoder".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import (
    GELU_TANH,
    attend,
    feed_forward,
    gelu_of,
    layer_norm_logits,
    norm,
    queries_keys_values,
)
from pacos.models.hf_config import Config, Metadata, four_times, needed, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import gathered_groups, in_layers, layer_pair, outside


def _counts(config: Config) -> tuple[int, int]:
    heads = needed(config, "num_attention_heads", "n_head")
    return heads, 1 if config["multi_query"] else heads


def _read_config(config: Config) -> Metadata:
    exact = config["activation_function"] == "gelu"
    return {
        **{**sizes(config), **four_times(config), "attention.head_count_kv": _counts(config)[1]},
        "hidden_act": "gelu" if exact else None,  # which llama.cpp has in its tanh form alone
    }


BIGCODE = HuggingFace(
    classes=("GPTBigCodeForCausalLM",),
    names=(
        *outside(token_embd="wte", position_embd="wpe", output_norm="ln_f", output="lm_head"),
        *in_layers(
            "h.{i}",
            attn_norm="ln_1",
            attn_output="attn.c_proj",
            ffn_norm="ln_2",
            ffn_up="mlp.c_fc",
            ffn_down="mlp.c_proj",
        ),
        *layer_pair("attn_qkv", "attn.c_attn", gathered_groups(_counts), at="h.{i}"),
    ),
    metadata=_read_config,
    defaults={
        **{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "activation_function": "gelu_pytorch_tanh"},
        "multi_query": True,
    },
    activations=("gelu", *GELU_TANH),
    needless=r"(^|\.)attn\.(masked_)?bias$",
)


@architecture("starcoder", hf=BIGCODE, rope="")
def starcoder(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    gelu = gelu_of(hp, GELU_TANH[0])
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    x = x + ops.embed(inputs.positions, weights["position_embd"])
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + attend(queries_keys_values(norm(x, w, "attn_norm", hp), w, hp, i), w, inputs, hp, i)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, gelu)
    return layer_norm_logits(x, inputs, weights, hp)
