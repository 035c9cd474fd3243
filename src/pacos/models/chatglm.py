"""ChatGLM 2 and 3, GLM-4 of 2024: Llama with biases, half rotated pairs and fused matrices.

Source: Hugging Face modeling_glm.py, and the modeling_chatglm.py of the published folders; tensor names as in GGUF arch
"chatglm".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, fused_silu_feed_forward, logits, rotated
from pacos.models.hf_config import Config, Metadata, decoder, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS, in_layers, outside


def _read_chatglm(config: Config) -> Metadata:
    width = config["kv_channels"]
    ratio = float(config.get("rope_ratio") or 1)
    return {
        **sizes(config),
        "context_length": config.get("seq_length"),
        "attention.layer_norm_rms_epsilon": config["layernorm_epsilon"],
        "attention.head_count_kv": config.get("multi_query_group_num"),
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": width // 2,
        "rope.freq_base": 10000.0 * ratio,
        "vocab_size": config.get("padded_vocab_size"),
    }


GLM = HuggingFace(
    classes=("GlmForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *in_layers(ffn_up="mlp.gate_up_proj", ffn_down="mlp.down_proj")),
    metadata=decoder,
    defaults={
        **{"rms_norm_eps": 1.5625e-07, "head_dim": 128, "partial_rotary_factor": 0.5, "num_key_value_heads": 2},
    },
)
CHATGLM = HuggingFace(
    classes=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
    names=(
        *outside(token_embd="embedding.word_embeddings", output_norm="final_layernorm", output="output_layer"),
        *TWO_NORMS,
        *in_layers(attn_qkv="self_attention.query_key_value", attn_output="self_attention.dense"),
        *in_layers(ffn_up="mlp.dense_h_to_4h", ffn_down="mlp.dense_4h_to_h"),
    ),
    metadata=_read_chatglm,
    defaults={"layernorm_epsilon": 1e-5, "kv_channels": 128, "rope_ratio": 1},
    refuses=(
        *(("apply_residual_connection_post_layernorm", False), ("post_layer_norm", True), ("rmsnorm", True)),
        *(("multi_query_attention", True), ("original_rope", True)),
    ),
    prefixes=("transformer.", "encoder."),
    needless=r"rotary_pos_emb\.",
)


@architecture("chatglm", hf=(GLM, CHATGLM), rope="pairs")
def chatglm(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
