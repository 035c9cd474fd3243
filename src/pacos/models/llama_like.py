"""Families that compute what Llama computes, under GGUF names of their own: ERNIE 4.5, InternLM 2, XVERSE, Qwen 1,
Pangu.

Source: Hugging Face modeling_ernie4_5.py, and the modeling files of the published folders; tensor names as in the GGUF
archs of these names.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, rotated, silu_feed_forward
from pacos.models.hf_config import META_LAYOUT, Config, Metadata, decoder, whole_decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import NAMES
from pacos.models.registry import architecture
from pacos.models.tensor_names import (
    ATTENTION,
    ENDS,
    GATED,
    KEYS,
    QUERIES,
    TWO_NORMS,
    in_layers,
    layer_pair,
    outside,
    split_groups,
)


def _counts(config: Config) -> tuple[int, int]:
    return int(config["num_attention_heads"]), int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _read_qwen(config: Config) -> Metadata:
    width = config["kv_channels"]
    return {
        **decoder({**config, "head_dim": width, "rope_theta": config["rotary_emb_base"]}),
        **{"context_length": config.get("seq_length"), "attention.key_length": None, "attention.value_length": None},
        "attention.layer_norm_rms_epsilon": config["layer_norm_epsilon"],
    }


ERNIE = HuggingFace(
    classes=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *GATED),
    metadata=decoder,
    defaults={
        **{"rms_norm_eps": 1e-5, "head_dim": 128, "tie_word_embeddings": True, "rope_theta": 500000.0},
        "num_key_value_heads": 2,
    },
)
XVERSE = HuggingFace(
    classes=("XverseForCausalLM",),
    names=NAMES,
    metadata=lambda config: {**decoder(config), "tensor_data_layout": META_LAYOUT},
    defaults={"rms_norm_eps": 1e-6},
)
INTERNLM2 = HuggingFace(
    classes=("InternLM2ForCausalLM",),
    names=(
        *outside(token_embd="tok_embeddings", output_norm="norm", output="output"),
        *in_layers(attn_norm="attention_norm", ffn_norm="ffn_norm", attn_output="attention.wo"),
        *layer_pair("attn_q", "attention.wqkv", split_groups(0, _counts), rotary=QUERIES),
        *layer_pair("attn_k", "attention.wqkv", split_groups(1, _counts), rotary=KEYS),
        *layer_pair("attn_v", "attention.wqkv", split_groups(2, _counts)),
        *in_layers(ffn_gate="feed_forward.w1", ffn_up="feed_forward.w3", ffn_down="feed_forward.w2"),
    ),
    metadata=decoder,
    defaults={"rms_norm_eps": 1e-6},
)
QWEN = HuggingFace(
    classes=("QWenLMHeadModel",),
    names=(
        *outside(token_embd="wte", output_norm="ln_f", output="lm_head"),
        *in_layers("h.{i}", attn_norm="ln_1", attn_qkv="attn.c_attn", attn_output="attn.c_proj", ffn_norm="ln_2"),
        *in_layers("h.{i}", ffn_up="mlp.w1", ffn_gate="mlp.w2", ffn_down="mlp.c_proj"),
    ),
    metadata=_read_qwen,
    defaults={"layer_norm_epsilon": 1e-6, "kv_channels": 128, "rotary_emb_base": 10000},
)
PANGU = HuggingFace(
    classes=("PanguEmbeddedForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *GATED),
    metadata=whole_decoder,
    defaults={"rms_norm_eps": 1e-5},
)


@architecture("ernie4_5", hf=ERNIE, rope="pairs")
@architecture("xverse", hf=XVERSE, rope="pairs")
@architecture("internlm2", hf=INTERNLM2, rope="pairs")
@architecture("qwen", hf=QWEN)
@architecture("pangu-embedded", hf=PANGU)
def llama_like(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
