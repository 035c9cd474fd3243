"""EXAONE 3, 3.5 and Deep: Llama with rotary halves, in the words of GPT-2.

Source: modeling_exaone.py beside the published weights; tensor names as in GGUF arch "exaone".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, rope_factors, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, factor_vectors, first
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside


def _read(config: Config) -> Metadata:
    eps = first(config, "layer_norm_epsilon", "rms_norm_eps")
    return decoder(config) | {"attention.layer_norm_rms_epsilon": eps}


EXAONE = HuggingFace(
    classes=("ExaoneForCausalLM",),
    names=(
        *outside(token_embd="wte", output_norm="ln_f", output="lm_head"),
        *in_layers("h.{i}", attn_norm="ln_1", ffn_norm="ln_2", attn_output="attn.attention.out_proj"),
        *in_layers("h.{i}", **{f"attn_{one}": f"attn.attention.{one}_proj" for one in "qkv"}),
        *in_layers("h.{i}", ffn_gate="mlp.c_fc_0", ffn_up="mlp.c_fc_1", ffn_down="mlp.c_proj"),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "num_key_value_heads": 8},
    vectors=factor_vectors,
)


@architecture("exaone", hf=EXAONE)
def exaone(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
