"""OpenELM: layers of different heads and widths, norms on heads of queries and keys, tied embeddings.

Source: the modeling_openelm.py of the published folders; tensor names as in GGUF arch "openelm".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import Config, Metadata
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName, in_layers, outside, part


def _hidden(config: Config, multiplier: float) -> int:
    """The hidden width of a layer: rounded to the divisor, never by more than a tenth."""
    wanted, divisor = multiplier * config["model_dim"], config["ffn_dim_divisor"]
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return int(rounded + divisor if rounded < 0.9 * wanted else rounded)


def _read_config(config: Config) -> Metadata:
    width = config.get("head_dim")
    return {
        "block_count": config.get("num_transformer_layers"),
        "context_length": config.get("max_context_length"),
        "embedding_length": config.get("model_dim"),
        "feed_forward_length": [_hidden(config, one) for one in config["ffn_multipliers"]],
        "attention.head_count": config.get("num_query_heads"),
        "attention.head_count_kv": config.get("num_kv_heads"),
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": config.get("rope_freq_constant"),
        "rope.dimension_count": width,
        "vocab_size": config.get("vocab_size"),
    }


OPENELM = HuggingFace(
    classes=("OpenELMForCausalLM",),
    names=(
        *outside(token_embd="token_embeddings", output_norm="norm", output="lm_head"),
        *in_layers(attn_norm="attn_norm", attn_qkv="attn.qkv_proj", attn_output="attn.out_proj"),
        *in_layers(attn_q_norm="attn.q_norm", attn_k_norm="attn.k_norm", ffn_norm="ffn_norm", ffn_down="ffn.proj_2"),
        TensorName("blk.{i}.ffn_gate.weight", "layers.{i}.ffn.proj_1.weight", (part(0, 2),)),
        TensorName("blk.{i}.ffn_up.weight", "layers.{i}.ffn.proj_1.weight", (part(1, 2),)),
    ),
    metadata=_read_config,
    defaults={"tie_word_embeddings": True, "rope_freq_constant": 10000, "ffn_dim_divisor": 256},
    refuses=(
        *(("normalize_qk_projections", True), ("ffn_with_glu", True), ("share_input_output_layers", True)),
        ("activation_fn_name", "swish"),
    ),
)


@architecture("openelm", hf=OPENELM)
def openelm(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q = ops.rope(ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps), inputs.positions, hp.rope)
        k = ops.rope(ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps), inputs.positions, hp.rope)
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
