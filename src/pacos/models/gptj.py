"""GPT-J: attention and feed-forward unit side by side behind one norm, rotary pairs in a part of each head.

Source: Hugging Face modeling_gptj.py; GGUF arch "gptj", for which llama.cpp has a name alone.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import GELU_TANH, attend, feed_forward, layer_norm_logits, norm, rotated
from pacos.models.hf_config import decoder, four_times
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside

GPTJ = HuggingFace(
    classes=("GPTJForCausalLM",),
    names=(
        *outside(token_embd="wte", output_norm="ln_f", output="lm_head"),
        *in_layers(
            "h.{i}",
            attn_norm="ln_1",
            attn_q="attn.q_proj",
            attn_k="attn.k_proj",
            attn_v="attn.v_proj",
            attn_output="attn.out_proj",
            ffn_up="mlp.fc_in",
            ffn_down="mlp.fc_out",
        ),
    ),
    metadata=lambda config: {**decoder(config), **four_times(config), "rope.dimension_count": config["rotary_dim"]},
    defaults={"layer_norm_epsilon": 1e-5, "rotary_dim": 64, "activation_function": "gelu_new"},
    activations=GELU_TANH,
    needless=r"(^|\.)attn\.(masked_)?bias$|embed_positions$",
)


@architecture("gptj", hf=GPTJ, rope="pairs")
def gptj(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp)
        x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i) + feed_forward(h, w, ops.gelu_tanh)
    return layer_norm_logits(x, inputs, weights, hp)
