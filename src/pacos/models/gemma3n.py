"""Gemma 3n, text: four versions of the hidden state, of which a layer computes one and guesses the others (AltUp); a
low-rank layer beside attention (Laurel), sparse activations, late layers that use keys of earlier ones, embeddings for
every layer.

Source: Hugging Face modeling_gemma3n.py, arXiv:2301.13310 (AltUp), arXiv:2411.07501 (Laurel); tensor names as in GGUF
arch "gemma3n". llama.cpp takes other standard deviations, and 10 sparse and 20 unshared layers whatever the file says.
Shapes: T tokens in the step, R rows wanted, D model width, U versions of the hidden state.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.blocks import project
from pacos.models.gemma import ACTIVATIONS
from pacos.models.gemma4 import Kept, attend_to, keys_values, layer_inputs
from pacos.models.hf_config import Config, Metadata, decoder, full_layers
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import (
    ATTENTION,
    ENDS,
    FOUR_NORMS,
    GATED,
    HEAD_NORMS,
    Array,
    Change,
    Sizes,
    TensorName,
    changed,
    in_layers,
    outside,
)

_VERSIONS_MAX = 64
_SPARSE_LAYERS = 10  # of models whose config does not say
_SMALLEST = 1e-12


def _read_config(config: Config) -> Metadata:
    windowed = [not full for full in full_layers(config, 5)]
    shares = config["activation_sparsity_pattern"]
    if shares is None:
        sparse = _SPARSE_LAYERS if len(windowed) > _SPARSE_LAYERS else 0
        shares = [0.95] * sparse + [0.0] * (len(windowed) - sparse)
    local = (config.get("rope_parameters") or {}).get("sliding_attention") or {}
    return {
        **decoder(config),
        "attention.sliding_window": config["sliding_window"],
        "attention.sliding_window_pattern": windowed,
        "attention.shared_kv_layers": config["num_kv_shared_layers"],
        "activation_sparsity_scale": [NormalDist().inv_cdf(one) if one else -math.inf for one in shares],
        "altup.active_idx": config["altup_active_idx"],
        "altup.num_inputs": config["altup_num_inputs"],
        "embedding_length_per_layer_input": config["hidden_size_per_layer_input"],
        "rope.freq_base_swa": local.get("rope_theta") or config["rope_local_base_freq"],
    }


def _padded_shape(shape: Sizes, config: Config) -> Sizes:
    return (max(shape[0], int(config["vocab_size"])), *shape[1:])


def _padded(x: Array, config: Config) -> Array:
    """Tokens of pictures and sounds have no rows of their own, but the first token's."""
    return np.concatenate([x, np.repeat(x[:1], _padded_shape(x.shape, config)[0] - len(x), axis=0)])


_PADDED = Change("padded", _padded_shape, _padded)

GEMMA3N = HuggingFace(
    classes=("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
    names=(
        *(*ENDS, *FOUR_NORMS, *ATTENTION, *HEAD_NORMS, *GATED),
        *changed(outside(per_layer_token_embd="embed_tokens_per_layer"), _PADDED, "weight"),
        *outside(per_layer_model_proj="per_layer_model_projection", per_layer_proj_norm="per_layer_projection_norm"),
        TensorName("altup_proj.weight", "altup_projections.{e}.weight"),
        TensorName("altup_unembd_proj.weight", "altup_unembed_projections.{e}.weight"),
        TensorName("blk.{i}.altup_correct_scale.weight", "layers.{i}.altup.correct_output_scale"),
        *in_layers(inp_gate="per_layer_input_gate", proj="per_layer_projection", post_norm="post_per_layer_input_norm"),
        *in_layers(altup_correct_coef="altup.correction_coefs", altup_predict_coef="altup.prediction_coefs"),
        *in_layers(altup_router="altup.modality_router", altup_router_norm="altup.router_norm"),
        *in_layers(laurel_l="laurel.linear_left", laurel_r="laurel.linear_right"),
        *in_layers(laurel_post_norm="laurel.post_laurel_norm"),
    ),
    metadata=_read_config,
    defaults={
        **{"vocab_size": 262400, "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 35},
        **{"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768},
        **{"rms_norm_eps": 1e-6, "tie_word_embeddings": True, "sliding_window": 512, "final_logit_softcapping": 30.0},
        **{"hidden_size_per_layer_input": 256, "altup_active_idx": 0, "altup_num_inputs": 4, "rope_theta": 1e6},
        **{"num_kv_shared_layers": 15, "activation_sparsity_pattern": None, "rope_local_base_freq": 1e4},
    },
    activations=ACTIVATIONS,
    refuses=(("altup_correct_scale", True),),
)


@architecture("gemma3n", hf=GEMMA3N)
def gemma3n(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=hp.width**0.5)  # [T, D]
    each = layer_inputs(x, inputs, weights, hp)
    if each is None:
        raise hp.keys.refuse("embedding_length_per_layer_input", "a number above 0")
    versions = _versions(x, weights, hp)
    active = hp.keys.integer("altup.active_idx", 0, len(versions) - 1, 0)
    shared = hp.keys.integer("attention.shared_kv_layers", 0, LAYERS_MAX, 0)
    kept: dict[bool, Kept] = {}  # by whether the layer has a window
    for i in range(hp.layers):
        w = weights.block(i)
        guesses = _predicted(versions, active, w, hp)
        h = ops.rms_norm(guesses[active], w["attn_norm"], eps=hp.norm_eps)
        windowed = bool(hp.windows[i])
        if i < hp.layers - shared:
            kept[windowed] = keys_values(h, w, inputs, weights, hp, i)
        a = attend_to(h, kept[windowed], w, inputs, weights, hp, i)
        a = guesses[active] + ops.rms_norm(a, w["post_attention_norm"], eps=hp.norm_eps)
        beside = ops.rms_norm(project(project(h, w, "laurel_l"), w, "laurel_r"), w["laurel_post_norm"], eps=hp.norm_eps)
        x = ops.scale(a + (h + beside), factor=0.5**0.5)
        h = _feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp, i)
        x = x + ops.rms_norm(h, w["post_ffw_norm"], eps=hp.norm_eps)
        versions = _corrected(guesses, x, active, w, hp)
        width = int(each.shape[-1]) // hp.layers
        own = ops.columns(each, start=i * width, stop=(i + 1) * width)  # [T, P]
        gate = ops.gelu_tanh(project(versions[active] * w["altup_correct_scale"], w, "inp_gate"))
        h = ops.rms_norm(project(gate * own, w, "proj"), w["post_norm"], eps=hp.norm_eps)
        versions = [versions[0], *(one + h for one in versions[1:])]
    x = _merged([ops.take(one, inputs.outputs) for one in versions], weights, hp)  # [R, D]
    x = ops.rms_norm(x, weights["output_norm"], eps=hp.norm_eps)
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), None)
    return ops.softcap(y, cap=hp.final_softcap) if hp.final_softcap else y


def _stacked(parts: list[Tensor]) -> Tensor:
    """Shapes: U of [T, D] -> [T, U, D]."""
    width = int(parts[0].shape[-1])
    joined = ops.heads(parts[0], width=width)
    for part in parts[1:]:
        joined = ops.join(joined, ops.heads(part, width=width))
    stacked: Tensor = ops.heads(ops.flat(joined), width=width)
    return stacked


def _times(x: Tensor, factor: Tensor) -> Tensor:
    """Each row times its number. Shapes: [T, D], [T, 1] -> [T, D]."""
    y: Tensor = ops.weigh(ops.heads(x, width=int(x.shape[-1])), factor)
    return y


def _like(x: Tensor, stack: Tensor) -> list[Tensor]:
    """The parts of a stack, each with the magnitude of x. Shapes: [T, D], [T, U, D] -> U of [T, D]."""
    width, size, all_parts = int(x.shape[-1]), ops.magnitude(x), ops.flat(stack)
    parts = [ops.columns(all_parts, start=u * width, stop=(u + 1) * width) for u in range(int(stack.shape[1]))]
    return [_times(ops.rms_norm(part, None, eps=_SMALLEST), size) for part in parts]


def _versions(x: Tensor, weights: WeightTable, hp: Hparams) -> list[Tensor]:
    """The embedding and what stands for it in the other versions. Shapes: [T, D] -> U of [T, D]."""
    made = _like(x, ops.expert_linear(x, None, weights["altup_proj"]))
    if hp.keys.integer("altup.num_inputs", 2, _VERSIONS_MAX, 4) != len(made) + 1:
        raise hp.keys.refuse("altup.num_inputs", f"{len(made) + 1}, as 'altup_proj.weight' has matrices, and one more")
    return [x, *made]


def _merged(versions: list[Tensor], weights: WeightTable, hp: Hparams) -> Tensor:
    """The mean of the versions, all of the first one's magnitude. Shapes: U of [R, D] -> [R, D]."""
    first, *others = versions
    total = first
    for one in _like(first, ops.expert_linear(_stacked(others), None, weights["altup_unembd_proj"])):
        total = total + one
    mean: Tensor = ops.scale(total, factor=1 / len(versions))
    return mean


def _modalities(x: Tensor, w: WeightTable, hp: Hparams) -> Tensor:
    """Shapes: [T, D] -> [T, U]."""
    h = ops.scale(ops.rms_norm(x, w["altup_router_norm"], eps=hp.norm_eps), factor=1 / hp.width)
    y: Tensor = ops.softcap(project(h, w, "altup_router"), cap=1.0)  # tanh
    return y


def _predicted(versions: list[Tensor], active: int, w: WeightTable, hp: Hparams) -> list[Tensor]:
    """Each version and a mixture of all, as the active one wants it. Shapes: U of [T, D] -> the same."""
    count = len(versions)
    shares = project(_modalities(versions[active], w, hp), w, "altup_predict_coef")  # [T, U * U]
    stack = _stacked(versions)
    mixtures = (ops.weigh(stack, ops.columns(shares, start=u * count, stop=(u + 1) * count)) for u in range(count))
    return [one + mixture for one, mixture in zip(versions, mixtures, strict=True)]


def _corrected(guesses: list[Tensor], x: Tensor, active: int, w: WeightTable, hp: Hparams) -> list[Tensor]:
    """Each guess and its share of what the active one lacked. Shapes: U of [T, D], [T, D] -> U of [T, D]."""
    shares = project(_modalities(x, w, hp), w, "altup_correct_coef")  # [T, U], to which 1 is added
    news = x + ops.scale(guesses[active], factor=-1.0)
    return [guess + (news + _times(news, ops.columns(shares, start=u, stop=u + 1))) for u, guess in enumerate(guesses)]


def _feed_forward(h: Tensor, w: WeightTable, hp: Hparams, layer: int) -> Tensor:
    """Gated GELU, in sparse layers of the largest gates alone. Shapes: [T, D] -> [T, D]."""
    gate, key = project(h, w, "ffn_gate"), "activation_sparsity_scale"
    if key in hp.keys:
        deviations = hp.keys.number_of_layer(key, layer, hp.layers, -math.inf, 1e6)
        gate = ops.gaussian_top(gate, deviations=deviations) if deviations > -math.inf else gate
    return project(ops.gelu_tanh(gate) * project(h, w, "ffn_up"), w, "ffn_down")
