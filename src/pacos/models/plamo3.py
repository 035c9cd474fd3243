"""PLaMo 3: each part between two norms, norms on heads, fused matrices; seven layers with windows to one without.

Source: llama.cpp's reading of the published folders; tensor names as in GGUF arch "plamo3".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import fused_silu_feed_forward, logits
from pacos.models.expert_decoder import self_attention
from pacos.models.hf_config import Config, Metadata, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.plamo2 import PARTS
from pacos.models.registry import architecture
from pacos.models.tensor_names import PLUS_ONE, changed, in_layers

_AT = "layers.layers.{i}"


def _read(config: Config) -> Metadata:
    """YaRN's settings lie flat in it."""
    factor, local = config["rope_scaling_factor"], config["rope_local_theta"]
    yarn = {
        **{"rope_type": "yarn", "rope_theta": config["rope_theta"], "factor": float(factor), "truncate": False},
        **{"original_max_position_embeddings": config["initial_context_length"], "beta_fast": 32.0, "beta_slow": 1.0},
    }
    window = config["window_size"] or None
    return {
        **decoder({**config, **({"rope_scaling": yarn} if factor != 1 else {}), "rope_local_base_freq": local}),
        "attention.sliding_window": window,
        "attention.sliding_window_pattern": config["sliding_window_pattern"] if window else None,
    }


PLAMO3 = HuggingFace(
    classes=("Plamo3ForCausalLM", "PLaMo3ForCausalLM"),
    names=(
        *PARTS,
        *changed(in_layers(_AT, attn_q_norm="mixer.q_norm", attn_k_norm="mixer.k_norm"), PLUS_ONE, "weight"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "window_size": 2048, "sliding_window_pattern": 8, "rope_theta": 1000000},
        **{"rope_local_theta": 10000, "rope_scaling_factor": 1, "initial_context_length": 4096, "head_dim": 128},
        "num_key_value_heads": 4,
    },
)


@architecture("plamo3", hf=PLAMO3, defaults={"attention.sliding_window_pattern": 8})
def plamo3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = self_attention(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        x = x + ops.rms_norm(h, w.bare("post_attention_norm"), eps=hp.norm_eps)
        h = fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w.bare("post_ffw_norm"), eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)
