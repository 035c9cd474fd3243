"""Chameleon, text: Llama with a layer norm for each head of queries and keys; it never answers with tokens of pictures.

Source: Hugging Face modeling_chameleon.py; tensor names as in GGUF arch "chameleon", whose files do not say which
tokens are of pictures: in every published model they are the same.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import NAMES
from pacos.models.registry import architecture
from pacos.models.tensor_names import KEYS, QUERIES, layer_pair

_PICTURES = (4, 8196)  # the first of them, and the first behind them
_HEAD_EPS = 1e-5
_LOWEST = -3.4028234663852886e38  # of 32-bit floats


def _read(config: Config) -> Metadata:
    found = {token for name, token in (config.get("vocabulary_map") or {}).items() if name.startswith("IMGIMG")}
    if found and found != set(range(*_PICTURES)):
        problem = f"config.json: vocabulary_map has {len(found)} tokens of pictures, from {min(found)} to {max(found)}"
        raise UnsupportedModel(f"{problem}; supported are {_PICTURES[0]} to {_PICTURES[1] - 1} alone")
    return {**decoder(config), "swin_norm": bool(config["swin_norm"])}


CHAMELEON = HuggingFace(
    classes=("ChameleonForConditionalGeneration", "ChameleonForCausalLM"),
    names=(
        *NAMES,
        *layer_pair("attn_q_norm", "self_attn.q_norm", rotary=QUERIES),
        *layer_pair("attn_k_norm", "self_attn.k_norm", rotary=KEYS),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-5, "num_key_value_heads": 32, "swin_norm": False},
)


@architecture("chameleon", hf=CHAMELEON, rope="pairs")
def chameleon(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted; norms stand before the parts of a layer, or behind them."""
    behind = hp.keys.truth("swin_norm", default=False)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = x if behind else ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q, k, v = queries_keys_values(h, w, hp, i)
        q, k = (_turned(part, w, name, inputs, hp) for part, name in ((q, "attn_q_norm"), (k, "attn_k_norm")))
        a = attend((q, k, v), w, inputs, hp, i)
        x = x + (ops.rms_norm(a, w["attn_norm"], eps=hp.norm_eps) if behind else a)
        h = silu_feed_forward(x if behind else ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + (ops.rms_norm(h, w["ffn_norm"], eps=hp.norm_eps) if behind else h)
    return _without_pictures(logits(x, inputs, weights, hp))


def _turned(x: Tensor, w: WeightTable, name: str, inputs: Inputs, hp: Hparams) -> Tensor:
    """Heads normed, each by its own weights, and turned. Shapes: [T, H, E] -> [T, H, E]."""
    y: Tensor = ops.layer_norm(x, w[name], w.get(f"{name}.bias"), eps=_HEAD_EPS)
    turned: Tensor = ops.rope(y, inputs.positions, hp.rope)
    return turned


def _without_pictures(rows: Tensor) -> Tensor:
    """Logits so low for tokens of pictures that they are never taken. Shapes: [R, V] -> [R, V]."""
    first, end, vocabulary = *_PICTURES, int(rows.shape[-1])
    if vocabulary <= end:
        return rows
    ones = ops.exp(ops.scale(ops.columns(rows, start=first, stop=end), factor=0.0))
    parts = (
        ops.columns(rows, start=0, stop=first),
        ops.scale(ones, factor=_LOWEST),
        ops.columns(rows, start=end, stop=vocabulary),
    )
    before, pictures, after = (ops.heads(part, width=int(part.shape[-1])) for part in parts)  # [R, 1, ...]
    y: Tensor = ops.flat(ops.join(ops.join(before, pictures), after))
    return y
