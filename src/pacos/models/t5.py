"""T5, Flan-T5, mT5 and UMT5: an encoder reads the prompt, a decoder answers, looking at what was read in every layer.

Source: Hugging Face modeling_t5.py and modeling_umt5.py; tensor names as in GGUF arch "t5" and "t5encoder". Scores are
not scaled; distances have learned biases, which layers share unless each has its own. Logits of the first T5s and of
UMT5 are scaled by one over the root of the width: metadata key "logit_scale" says so, and where it is missing, tied
embeddings do. "hidden_activation" names the activation of the feed-forward units; where it is missing it is ReLU, or
GELU in gated ones. llama.cpp reads neither key.
Shapes: T tokens in the step, R rows wanted, D model width, H heads, E head width, B biases of distances.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.activations import ACTIVATIONS, FILE_NAMES
from pacos.models.blocks import feed_forward, project, project_heads
from pacos.models.hf_config import Config, Metadata
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import Names, TensorName

_REACH = 128  # distance beyond which biases are the same; files say it only where it is another
_REACH_MAX, _BUCKETS_MAX, _SCALE_MAX = 1 << 15, 1 << 12, 1e6


def _activation_of(config: Config) -> str | None:
    """The activation that `feed_forward_proj` names, such as relu or gated-silu; None for what a file need not say."""
    kind = config["feed_forward_proj"]
    if kind in ("relu", "gated-gelu"):  # this one is GELU by tanh, whatever it is called
        return None
    found = FILE_NAMES.get(str(kind).removeprefix("gated-"))
    if found is None:
        hint = f"supported: {', '.join(FILE_NAMES)}, each also as gated-..."
        raise UnsupportedModel(f"config.json: feed_forward_proj is {kind!a}", hint=hint)
    return found


def _read_encoder(config: Config) -> Metadata:
    reach = config["relative_attention_max_distance"]
    return {
        "block_count": config.get("num_layers"),
        "context_length": config["n_positions"],
        "embedding_length": config.get("d_model"),
        "feed_forward_length": config.get("d_ff"),
        "attention.head_count": config.get("num_heads"),
        "attention.key_length": config.get("d_kv"),
        "attention.value_length": config.get("d_kv"),
        "attention.layer_norm_epsilon": config["layer_norm_epsilon"],
        "attention.layer_norm_rms_epsilon": config["layer_norm_epsilon"],
        "attention.relative_buckets_count": config["relative_attention_num_buckets"],
        "attention.relative_max_distance": None if reach == _REACH else reach,
        "hidden_activation": _activation_of(config),
    }


def _read_unscaled(config: Config) -> Metadata:
    return _read_encoder(config) | {
        "decoder_block_count": config.get("num_decoder_layers") or config.get("num_layers"),
        "decoder_start_token_id": config["decoder_start_token_id"],
        "logit_scale": 1.0,
    }


def _read_config(config: Config) -> Metadata:
    scaled = config.get("scale_decoder_outputs", config["tie_word_embeddings"] is not False)
    return _read_unscaled(config) | {"logit_scale": config["d_model"] ** -0.5 if scaled else 1.0}


def _rows(side: str, folder: str, layer: int, names: dict[str, str]) -> Names:
    at = f"{folder}.block.{{i}}.layer.{layer}"
    return tuple(TensorName(f"{side}.blk.{{i}}.{gguf}.weight", f"{at}.{hf}.weight") for gguf, hf in names.items())


_ATTENTION = {f"attn_{part}": f"SelfAttention.{part}" for part in "qkvo"} | {
    "attn_rel_b": "SelfAttention.relative_attention_bias",
    "attn_norm": "layer_norm",
}
_CROSS = {f"cross_attn_{part}": f"EncDecAttention.{part}" for part in "qkvo"} | {"cross_attn_norm": "layer_norm"}
_UNIT = {
    **{"ffn_up": "DenseReluDense.wi", "ffn_down": "DenseReluDense.wo", "ffn_norm": "layer_norm"},
    "ffn_gate": "DenseReluDense.wi_0",
}
_GATED_UP = {"ffn_up": "DenseReluDense.wi_1"}
_ENCODER = (
    TensorName("token_embd.weight", "shared.weight"),
    TensorName("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
    *_rows("enc", "encoder", 0, _ATTENTION),
    *(row for names in (_UNIT, _GATED_UP) for row in _rows("enc", "encoder", 1, names)),
)
_DECODER = (
    TensorName("dec.output_norm.weight", "decoder.final_layer_norm.weight"),
    TensorName("output.weight", "lm_head.weight"),
    *_rows("dec", "decoder", 0, _ATTENTION),
    *_rows("dec", "decoder", 1, _CROSS),
    *(row for names in (_UNIT, _GATED_UP) for row in _rows("dec", "decoder", 2, names)),
)
_DEFAULTS = {
    **{"layer_norm_epsilon": 1e-6, "n_positions": 512, "relative_attention_num_buckets": 32},
    **{"relative_attention_max_distance": _REACH, "tie_word_embeddings": True, "decoder_start_token_id": 0},
    "d_kv": 64,
    "feed_forward_proj": "relu",
}
_GATED = {"feed_forward_proj": "gated-gelu"}
# The embedding again, and a tensor of the first checkpoints that nobody has ever read.
_NEEDLESS = r"(encoder|decoder)\.embed_tokens\.weight$|EncDecAttention\.relative_attention_bias\.weight$"

T5 = HuggingFace(
    ("T5ForConditionalGeneration", "T5WithLMHeadModel"),
    (*_ENCODER, *_DECODER),
    _read_config,
    defaults=_DEFAULTS,
    needless=_NEEDLESS,
    ties_by_weights=True,
)
MT5 = replace(T5, classes=("MT5ForConditionalGeneration",), metadata=_read_unscaled, defaults=_DEFAULTS | _GATED)
UMT5 = replace(T5, classes=("UMT5ForConditionalGeneration",), defaults=_DEFAULTS | _GATED)
T5_ENCODER = HuggingFace(("T5EncoderModel",), _ENCODER, _read_encoder, defaults=_DEFAULTS, needless=_NEEDLESS)
MT5_ENCODER = replace(T5_ENCODER, classes=("MT5EncoderModel", "UMT5EncoderModel"), defaults=_DEFAULTS | _GATED)


def encode(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of a source; keys and values of the decoder's layers, if there are any, go to the cache."""
    side = weights.under("enc.")
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.keys.integer("block_count", 1, LAYERS_MAX)):
        w = side.block(i)
        q, k, v = _queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp)
        more = {"scale": 1.0, "reach": _reach(hp), "bidirectional": True}
        x = x + project(ops.attention(q, k, v, None, _biases(side, hp, i), cache=inputs.cache[0], **more), w, "attn_o")
        x = x + _unit(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp)
    x = ops.rms_norm(x, side["output_norm"], eps=hp.norm_eps)
    if "dec.output_norm" in weights:
        for i in range(hp.layers):
            w = weights.under("dec.").block(i)
            k = project_heads(x, w, "cross_attn_k", hp.head_width)  # [T, H, E]
            ops.store(k, project_heads(x, w, "cross_attn_v", hp.value_width), cache=inputs.cache[i])
    y: Tensor = ops.take(x, inputs.outputs)
    return y


@architecture("t5", hf=(T5, MT5, UMT5), rope="", encoder=encode)
def t5(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] of the decoder: a layer attends to what is written so far, then to the whole source."""
    side = weights.under("dec.")
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = side.block(i)
        q, k, v = _queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp)
        more = {"scale": 1.0, "reach": _reach(hp), "after_source": True}
        x = x + project(ops.attention(q, k, v, None, _biases(side, hp, i), cache=inputs.cache[i], **more), w, "attn_o")
        h = ops.rms_norm(x, w["cross_attn_norm"], eps=hp.norm_eps)
        q = project_heads(h, w, "cross_attn_q", hp.head_width)  # [T, H, E]
        shape = {"key_heads": hp.key_heads[i], "value_width": hp.value_width}
        x = x + project(ops.cross_attention(q, cache=inputs.cache[i], scale=1.0, **shape), w, "cross_attn_o")
        x = x + _unit(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp)
    x = ops.rms_norm(ops.take(x, inputs.outputs), side["output_norm"], eps=hp.norm_eps)  # [R, D]
    scale = hp.keys.number("logit_scale", 0, _SCALE_MAX, 1.0 if "output" in weights else hp.width**-0.5)
    if scale != 1:
        x = ops.scale(x, factor=scale)
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), None)
    return y


@architecture("t5encoder", hf=(T5_ENCODER, MT5_ENCODER), rope="", defaults={"attention.causal": False})
def t5encoder(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D]: the encoder alone."""
    return encode(inputs, weights, hp)


def _queries_keys_values(h: Tensor, w: WeightTable, hp: Hparams) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes: [T, D] -> [T, H, E] each."""
    widths = {"attn_q": hp.head_width, "attn_k": hp.head_width, "attn_v": hp.value_width}
    q, k, v = (project_heads(h, w, name, width) for name, width in widths.items())
    return q, k, v


def _biases(side: WeightTable, hp: Hparams, layer: int) -> Tensor:
    """Shapes: [B, H]. A layer that has none takes the first one's."""
    own = side.block(layer).get("attn_rel_b")
    found = side.block(0)["attn_rel_b"] if own is None else own
    buckets = hp.keys.integer("attention.relative_buckets_count", 4, _BUCKETS_MAX)
    if found.shape[0] != buckets:
        raise hp.keys.refuse("attention.relative_buckets_count", f"{found.shape[0]}, as '{found.name}' has rows")
    return found


def _reach(hp: Hparams) -> int:
    buckets = hp.keys.integer("attention.relative_buckets_count", 4, _BUCKETS_MAX)
    return hp.keys.integer("attention.relative_max_distance", buckets // 2 + 1, _REACH_MAX, max(_REACH, buckets))


def _unit(h: Tensor, w: WeightTable, hp: Hparams) -> Tensor:
    """With a gate where the file has one. Shapes: [T, D] -> [T, D]."""
    gated = "ffn_gate" in w
    usual = "gelu_tanh" if gated else "relu"
    activation = ACTIVATIONS[hp.keys.choice("hidden_activation", *ACTIVATIONS, default=usual)]
    if not gated:
        return feed_forward(h, w, activation)
    return project(activation(project(h, w, "ffn_gate")) * project(h, w, "ffn_up"), w, "ffn_down")
