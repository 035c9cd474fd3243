"""GPT-NeoX and Pythia: attention and feed-forward unit side by side or one behind the other, rotary positions in part.

Source: Hugging Face modeling_gpt_neox.py; tensor names as in GGUF arch "gptneox".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import GELU_TANH, attend, feed_forward, gelu_of, layer_norm_logits, norm, rotated
from pacos.models.hf_config import Config, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import gathered_groups, in_layers, layer_pair, outside


def _counts(config: Config) -> tuple[int, int]:
    return int(config["num_attention_heads"]), int(config["num_attention_heads"])


NEOX = HuggingFace(
    classes=("GPTNeoXForCausalLM",),
    names=(
        *outside(token_embd="embed_in", output_norm="final_layer_norm", output="embed_out"),
        *in_layers(attn_norm="input_layernorm", ffn_norm="post_attention_layernorm", attn_output="attention.dense"),
        *layer_pair("attn_qkv", "attention.query_key_value", gathered_groups(_counts)),
        *in_layers(ffn_up="mlp.dense_h_to_4h", ffn_down="mlp.dense_4h_to_h"),
    ),
    metadata=lambda config: {
        **decoder({"rope_theta": config["rotary_emb_base"], "partial_rotary_factor": config["rotary_pct"], **config}),
        **{"use_parallel_residual": bool(config["use_parallel_residual"]), "attention.head_count_kv": None},
        "hidden_act": GELU_TANH[0] if config["hidden_act"] in GELU_TANH else None,
    },
    defaults={
        **{"layer_norm_eps": 1e-5, "rotary_pct": 0.25, "use_parallel_residual": True, "hidden_act": "gelu"},
        "rotary_emb_base": 10000,
    },
    activations=("gelu", *GELU_TANH),
    prefixes=("gpt_neox.",),
    needless=r"attention\.(masked_)?bias$|rotary_emb\.",
)


@architecture("gptneox", hf=NEOX)
def gptneox(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    parallel, gelu = hp.keys.truth("use_parallel_residual", default=True), gelu_of(hp, "gelu")
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        y = x + attend(rotated(norm(x, w, "attn_norm", hp), w, inputs, hp, i), w, inputs, hp, i)
        x = y + feed_forward(norm(x if parallel else y, w, "ffn_norm", hp), w, gelu)
    return layer_norm_logits(x, inputs, weights, hp)
