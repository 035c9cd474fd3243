"""BitNet b1.58: Llama of weights -1, 0 and 1, with a norm before the last matrix of attention and feed-forward unit.

Source: Hugging Face modeling_bitnet.py and 1bitLLM's modeling_bitnet.py; tensor names as in GGUF arch "bitnet", whose
matrices may have a factor each beside them. llama.cpp knows SiLU alone.
Shapes: T tokens in the step, R rows wanted, D model width, N projected width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.blocks import logits, project
from pacos.models.hf_config import Config, Metadata, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import SILU, HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TWO_NORMS, Array, Names, changed, in_layers, mapped

_DEFAULTS = {
    **{"rms_norm_eps": 1e-5, "hidden_act": "relu2", "rope_theta": 500000.0, "vocab_size": 128256},
    **{"max_position_embeddings": 2048, "tie_word_embeddings": False},
}


def _read_config(config: Config) -> Metadata:
    activation = config.get("hidden_act")
    found = decoder(config) | {"hidden_act": None if activation in SILU else activation}
    return {"rope.scaling.type": "linear", "rope.scaling.factor": 1.0, **found}  # as llama.cpp writes it, to no effect


def _ternary(x: Array, _: Config) -> Array:
    """Each weight as -1, 0 or 1 times the mean of their sizes. Source: arXiv:2402.17764."""
    scale = max(float(np.mean(np.abs(x))), 1e-5)
    return np.clip(np.round(x / np.float32(scale)), -1, 1) * np.float32(scale)


BITNET = HuggingFace(
    classes=("BitNetForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *GATED),
        *in_layers(attn_sub_norm="self_attn.attn_sub_norm", ffn_sub_norm="mlp.ffn_sub_norm"),
    ),
    metadata=_read_config,
    defaults={**_DEFAULTS, "num_key_value_heads": 5},
    activations=(*SILU, "relu2"),
)


def _trained(names: Names) -> Names:
    """Rows of files whose weights are those that training went on from, and are made ternary when used."""
    return changed(names, mapped("ternary", _ternary), "_proj.weight")


BITNET_1BITLLM = HuggingFace(
    classes=("BitnetForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *_trained((*ATTENTION, *GATED))),
        *in_layers(attn_sub_norm="self_attn.inner_attn_ln", ffn_sub_norm="mlp.ffn_layernorm"),
    ),
    metadata=_read_config,
    defaults=_DEFAULTS | {"hidden_act": "silu", "rope_theta": 10000.0, "vocab_size": 32002},
    activations=(*SILU, "relu2"),
)


@architecture("bitnet", hf=(BITNET, BITNET_1BITLLM))
def bitnet(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    squares = hp.keys.choice("hidden_act", "silu", "relu2", default="silu") == "relu2"
    activation = ops.relu_squared if squares else ops.silu
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q, k, v = (ops.heads(_project(h, w, f"attn_{part}"), width=hp.head_width) for part in "qkv")
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        a = ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale)
        x = x + _project(ops.rms_norm(a, w["attn_sub_norm"], eps=hp.norm_eps), w, "attn_output")
        h = ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps)
        h = activation(_project(h, w, "ffn_gate")) * _project(h, w, "ffn_up")
        x = x + _project(ops.rms_norm(h, w["ffn_sub_norm"], eps=hp.norm_eps), w, "ffn_down")
    return logits(x, inputs, weights, hp)


def _project(x: Tensor, w: WeightTable, name: str) -> Tensor:
    """Multiply by a matrix and by its factor, where there is one. Shapes: [T, D] -> [T, N]."""
    factor = w.get(f"{name}.scale")
    y = project(x, w, name)
    if factor is None:
        return y
    scaled: Tensor = ops.flat(ops.scale_heads(ops.heads(y, width=int(y.shape[-1])), factor))
    return scaled
