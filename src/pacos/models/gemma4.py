"""Gemma 4, text: wide heads on full layers, late layers that use keys of earlier ones, embeddings for every layer.

Source: Hugging Face modeling_gemma4.py; tensor names as in GGUF arch "gemma4".
Shapes: as in gemma3.py; P width of an embedding for one layer, L layers.
"""

from __future__ import annotations

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import gelu_feed_forward, logits, project
from pacos.models.gemma import ACTIVATIONS
from pacos.models.hf_config import Config, Metadata, decoder, full_layers
from pacos.models.hparams import LAYERS_MAX, WIDTH_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, FOUR_NORMS, GATED, HEAD_NORMS, TensorName, in_layers, outside

Kept = tuple[int, Tensor, Tensor]  # the layer whose cache holds keys and values, and these


def _read_config(given: Config) -> Metadata:
    config = _as_published(given)
    windowed = [not full for full in full_layers(config, 6)]
    windowed[-1:] = [False]  # whatever the config says
    layers, shared = len(windowed), config["num_kv_shared_layers"]
    full_width, width = config["global_head_dim"], config["head_dim"]
    found = decoder({**config, "head_dim": full_width})
    heads = config["num_key_value_heads"]
    full = config.get("num_global_key_value_heads") if config["attention_k_eq_v"] else None
    wide = [i >= layers - shared and bool(config["use_double_wide_mlp"]) for i in range(layers)]
    local = (config.get("rope_parameters") or {}).get("sliding_attention") or {}
    return {
        **found,
        **({"feed_forward_length": [config["intermediate_size"] * (1 + one) for one in wide]} if any(wide) else {}),
        **({"attention.head_count_kv": [heads if one else full for one in windowed]} if full else {}),
        "attention.key_length_swa": width,
        "attention.value_length_swa": width,
        "attention.sliding_window": config["sliding_window"],
        "attention.sliding_window_pattern": windowed,
        "attention.shared_kv_layers": shared,
        "embedding_length_per_layer_input": config["hidden_size_per_layer_input"] or 0,
        "rope.dimension_count": full_width,
        "rope.dimension_count_swa": width,
        "rope.freq_base_swa": local.get("rope_theta", 10000.0),
    }


def _as_published(config: Config) -> Config:
    """The config with heads of full layers as published folders name them, where it lists them layer by layer."""
    listed = config.get("per_layer_config")
    if not listed:
        return config
    full = {i for i, one in enumerate(full_layers(config, 6)) if one} | {config["num_hidden_layers"] - 1}
    own = next(iter(listed.values()))
    other = [key for key in own if key not in ("head_dim", "num_key_value_heads")]
    if {int(layer) for layer in listed} != full or any(one != own for one in listed.values()) or other:
        raise UnsupportedModel(
            "config.json: per_layer_config tells more layers apart than those with a window and others"
        )
    heads = own.get("num_key_value_heads", config["num_key_value_heads"])
    return {**config, "global_head_dim": own.get("head_dim", config["head_dim"]), "num_global_key_value_heads": heads}


def _vectors(given: Config) -> dict[str, list[float]]:
    """Factors of full layers: what is not turned has an endless period."""
    config = _as_published(given)
    full = (config.get("rope_parameters") or {}).get("full_attention") or {}
    pairs = config["global_head_dim"] // 2
    turned = int(config["global_head_dim"] * full.get("partial_rotary_factor", 0.25) / 2)
    return {"rope_freqs.weight": [1.0] * turned + [1e30] * (pairs - turned)}


GEMMA4 = HuggingFace(
    classes=("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"),
    names=(
        *(*ENDS, *FOUR_NORMS, *ATTENTION, *HEAD_NORMS, *GATED),
        *outside(per_layer_token_embd="embed_tokens_per_layer", per_layer_model_proj="per_layer_model_projection"),
        *outside(per_layer_proj_norm="per_layer_projection_norm"),
        *in_layers(inp_gate="per_layer_input_gate", proj="per_layer_projection", post_norm="post_per_layer_input_norm"),
        TensorName("blk.{i}.layer_output_scale.weight", "layers.{i}.layer_scalar"),
    ),
    metadata=_read_config,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 256, "global_head_dim": 512, "tie_word_embeddings": True},
        **{"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 256, "attention_k_eq_v": False},
        **{"use_double_wide_mlp": False, "sliding_window": 512, "rope_theta": 1e6},
        "num_key_value_heads": 4,
    },
    activations=ACTIVATIONS,
    reads=("use_bidirectional_attention", "per_layer_config"),
    refuses=(("enable_moe_block", False), ("use_bidirectional_attention", (False, "vision"))),
    vectors=_vectors,
)


@architecture("gemma4", hf=GEMMA4)
def gemma4(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=hp.width**0.5)  # [T, D]
    each = layer_inputs(x, inputs, weights, hp)
    shared = hp.keys.integer("attention.shared_kv_layers", 0, LAYERS_MAX, 0)
    kept: dict[bool, Kept] = {}  # by whether the layer has a window
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        windowed = bool(hp.windows[i])
        if i < hp.layers - shared:
            kept[windowed] = keys_values(h, w, inputs, weights, hp, i)
        a = attend_to(h, kept[windowed], w, inputs, weights, hp, i)
        x = x + ops.rms_norm(a, w["post_attention_norm"], eps=hp.norm_eps)
        h = gelu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w["post_ffw_norm"], eps=hp.norm_eps)
        if each is not None:
            width = int(each.shape[-1]) // hp.layers
            own = ops.columns(each, start=i * width, stop=(i + 1) * width)  # [T, P]
            h = project(ops.gelu_tanh(project(x, w, "inp_gate")) * own, w, "proj")
            x = x + ops.rms_norm(h, w["post_norm"], eps=hp.norm_eps)
        if "layer_output_scale" in w:
            x = ops.flat(ops.scale_heads(ops.heads(x, width=hp.width), w["layer_output_scale"]))
    y = logits(x, inputs, weights, hp)
    return ops.softcap(y, cap=hp.final_softcap) if hp.final_softcap else y


def layer_inputs(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor | None:
    """What every layer gets of its own for each token. Shapes: x [T, D] -> [T, L * P]."""
    width = hp.keys.integer("embedding_length_per_layer_input", 0, WIDTH_MAX, 0)
    if not width:
        return None
    own = ops.scale(ops.embed(inputs.tokens, weights["per_layer_token_embd"]), factor=width**0.5)
    seen = ops.scale(project(x, weights, "per_layer_model_proj"), factor=hp.width**-0.5)
    seen = ops.rms_norm(ops.heads(seen, width=width), weights["per_layer_proj_norm"], eps=hp.norm_eps)  # [T, L, P]
    joined: Tensor = ops.scale(ops.flat(seen) + own, factor=0.5**0.5)
    return joined


def _turned(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams, layer: int) -> Tensor:
    factors = None if hp.windows[layer] else weights.get("rope_freqs")
    y: Tensor = ops.rope(x, inputs.positions, hp.rope_of(layer), factors)
    return y


def keys_values(h: Tensor, w: WeightTable, inputs: Inputs, weights: WeightTable, hp: Hparams, layer: int) -> Kept:
    """Keys and values of a layer, both normed, for itself and for later layers. Shapes: [T, K, E] each."""
    width = hp.head_width_of(layer)
    raw = ops.heads(project(h, w, "attn_k"), width=width)  # [T, K, E]
    k = _turned(ops.rms_norm(raw, w["attn_k_norm"], eps=hp.norm_eps), inputs, weights, hp, layer)
    v = ops.heads(project(h, w, "attn_v"), width=width) if "attn_v" in w else raw
    return layer, k, ops.rms_norm(v, None, eps=hp.norm_eps)


def attend_to(
    h: Tensor, kept: Kept, w: WeightTable, inputs: Inputs, weights: WeightTable, hp: Hparams, layer: int
) -> Tensor:
    """Attention to what this or an earlier layer has kept. Shapes: [T, D] -> [T, D]."""
    source, k, v = kept
    q = ops.heads(project(h, w, "attn_q"), width=hp.head_width_of(layer))  # [T, H, E]
    q = _turned(ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps), inputs, weights, hp, layer)
    a = ops.attention(q, k, v, cache=inputs.cache[source], scale=1.0, window=hp.windows[layer])
    return project(a, w, "attn_output")
