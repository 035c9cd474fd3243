"""PLM: latent attention, and a unit of squared rectifiers without a gate.

Source: arXiv:2503.12167, and llama.cpp's reading of the published folder; tensor names as in GGUF arch "plm".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import feed_forward, logits
from pacos.models.deepseek2 import LATENT_NAMES
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.latent import Latent, latent_attention
from pacos.models.minicpm3 import WHOLE, latent_widths
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, TWO_NORMS, in_layers

PLM = HuggingFace(
    classes=("PLMForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *LATENT_NAMES, *WHOLE),
        *in_layers(ffn_up="mlp.up_proj", ffn_down="mlp.down_proj"),
    ),
    metadata=lambda config: {
        **decoder({**config, "head_dim": config["qk_rope_head_dim"]}),
        **latent_widths(config, config["v_head_dim"]),
    },
    defaults={"rms_norm_eps": 1e-6, "hidden_act": "relu2", "tie_word_embeddings": True},
    activations=("relu2",),
    refuses=(("q_lora_rank", None),),
)


@architecture("plm", hf=PLM, rope="pairs")
def plm(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    form = Latent.read(hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + latent_attention(h, w, inputs, i, hp.norm_eps, form)
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, ops.relu_squared)
    return logits(x, inputs, weights, hp)
