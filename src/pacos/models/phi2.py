"""Phi 1, 1.5 and 2: attention and feed-forward unit side by side behind one layer norm, biases everywhere.

Source: Hugging Face modeling_phi.py; tensor names as in GGUF arch "phi2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import GELU_TANH, attend, feed_forward, layer_norm_logits, norm, queries_keys_values
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside

PHI = HuggingFace(
    classes=("PhiForCausalLM",),
    names=(
        *outside(token_embd="embed_tokens", output_norm="final_layernorm", output="lm_head"),
        *in_layers(
            attn_norm="input_layernorm",
            attn_q="self_attn.q_proj",
            attn_k="self_attn.k_proj",
            attn_v="self_attn.v_proj",
            attn_output="self_attn.dense",
            attn_q_norm="self_attn.q_layernorm",
            attn_k_norm="self_attn.k_layernorm",
            ffn_up="mlp.fc1",
            ffn_down="mlp.fc2",
        ),
    ),
    metadata=decoder,
    defaults={"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5},
    activations=GELU_TANH,
)


@architecture("phi2", hf=PHI)
def phi2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp)
        q, k, v = queries_keys_values(h, w, hp, i)
        if "attn_q_norm" in w:
            q, k = norm(q, w, "attn_q_norm", hp), norm(k, w, "attn_k_norm", hp)
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i) + feed_forward(h, w, ops.gelu_tanh)
    return layer_norm_logits(x, inputs, weights, hp)
