"""CodeShell: StarCoder 2 with one matrix for queries, keys and values.

Source: the modeling_codeshell.py of the published folders; tensor names as in GGUF arch "codeshell".
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

CODESHELL = HuggingFace(
    classes=("CodeShellForCausalLM",),
    names=(
        *outside(token_embd="wte", output_norm="ln_f", output="lm_head"),
        *in_layers("h.{i}", attn_norm="ln_1", attn_qkv="attn.c_attn", attn_output="attn.c_proj", ffn_norm="ln_2"),
        *in_layers("h.{i}", ffn_up="mlp.c_fc", ffn_down="mlp.c_proj"),
    ),
    metadata=lambda config: {
        **{**decoder(config), **four_times(config), "attention.head_count_kv": config.get("num_query_groups")},
        **{"rope.freq_base": 10000.0, "rope.scaling.type": "linear", "rope.scaling.factor": 1.0},
    },
    defaults={"layer_norm_epsilon": 1e-5},
    activations=GELU_TANH,
    refuses=(("position_embedding_type", "rope"),),
    reads=("position_embedding_type",),
    needless=r"(^|\\.)attn\\.bias$",
)


@architecture("codeshell", hf=CODESHELL)
def codeshell(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights.first("token_embd", "output"))  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + attend(rotated(norm(x, w, "attn_norm", hp), w, inputs, hp, i), w, inputs, hp, i)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, ops.gelu_tanh)
    return layer_norm_logits(x, inputs, weights, hp)
