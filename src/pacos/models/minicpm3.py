"""MiniCPM 3: latent attention without small experts, with factors on embeddings, residuals and logits.

Source: Hugging Face modeling_minicpm3.py; tensor names as in GGUF arch "minicpm3", whose files leave the published
model's factors out.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, rope_factors, silu_feed_forward
from pacos.models.deepseek2 import LATENT_NAMES
from pacos.models.granite import minicpm_factors
from pacos.models.hf_config import Config, Metadata, decoder, factor_vectors
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.latent import Latent, latent_attention
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, TWO_NORMS, in_layers

_LATENT_EPS = 1e-6  # of the norms of narrow rows, whatever the config says of the others
WHOLE = in_layers(attn_kv_b="self_attn.kv_b_proj")  # what widens latent rows to keys and values


def _read(config: Config) -> Metadata:
    turning, layers, width = config["qk_rope_head_dim"], config["num_hidden_layers"], config["hidden_size"]
    depth, base = config["scale_depth"], config["dim_model_base"]
    return {
        **decoder({**config, "head_dim": turning}),
        **latent_widths(config, config["v_head_dim"] or width // config["num_attention_heads"]),
        "attention.q_lora_rank": config["q_lora_rank"],
        "embedding_scale": config["scale_emb"],
        "residual_scale": 1.0 if depth is None else depth / layers**0.5,
        "logit_scale": 1.0 if base is None else width / base,
    }


def latent_widths(config: Config, value_width: int) -> Metadata:
    """Widths of keys and values of files that cache them whole."""
    turning = config["qk_rope_head_dim"]
    return {
        "attention.kv_lora_rank": config["kv_lora_rank"],
        "attention.key_length": config["qk_nope_head_dim"] + turning,
        "attention.value_length": value_width,
        "rope.dimension_count": turning,
    }


MINICPM3 = HuggingFace(
    classes=("MiniCPM3ForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *LATENT_NAMES, *WHOLE, *GATED),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "num_key_value_heads": 40, "kv_lora_rank": 256, "q_lora_rank": 768},
        **{"qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": None, "tie_word_embeddings": True},
        **{"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256},
    },
    vectors=factor_vectors,
)


@architecture("minicpm3", hf=MINICPM3)
def minicpm3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    form, factors = Latent.read(hp), rope_factors(weights, hp)
    embedding, residual, logit = minicpm_factors(hp)
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=embedding)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + ops.scale(latent_attention(h, w, inputs, i, _LATENT_EPS, form, factors), factor=residual)
        h = silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.scale(h, factor=residual)
    y: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=1 / logit)
    return y
