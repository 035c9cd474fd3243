"""DeciLM, Llama Nemotron Super and Ultra: Llama with layers that lack attention, or have one matrix in its place, or
lack the feed-forward unit, and widths of their own.

Source: modeling_decilm.py beside the published weights; tensor names as in GGUF arch "deci".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.errors import FormatError, UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, project, queries_keys_values, rope_factors, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder, factor_vectors, head_width, needed
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, PAIRED_ATTENTION, TWO_NORMS, in_layers

_MULTIPLE = 256  # of which widths of feed-forward units are


def _read(config: Config) -> Metadata:
    found, blocks = decoder(config), config.get("block_configs")
    if blocks is None:
        by_layer = config.get("num_key_value_heads_per_layer")
        return found | ({"attention.head_count_kv": by_layer} if by_layer else {})
    layers, heads = needed(config, "num_hidden_layers"), needed(config, "num_attention_heads")
    if not isinstance(blocks, list) or len(blocks) != layers:
        count = len(blocks) if isinstance(blocks, list) else repr(blocks)
        raise FormatError(f"config.json: block_configs has {count} entries for {layers} layers")
    if any(one["ffn"].get("replace_with_linear") for one in blocks):
        raise UnsupportedModel(
            "config.json: block_configs replaces a feed-forward unit by a matrix, which is not known"
        )
    attention = [one["attention"] for one in blocks]
    shared = [one.get("n_heads_in_group") for one in attention]
    attends = zip(attention, shared, strict=True)
    width = head_width(config)
    return found | {
        "attention.head_count": [heads if share or one.get("replace_with_linear") else 0 for one, share in attends],
        "attention.head_count_kv": [heads // share if share else 0 for share in shared],
        "feed_forward_length": [_hidden(one["ffn"].get("ffn_mult"), needed(config, "hidden_size")) for one in blocks],
        **{"attention.key_length": width, "attention.value_length": width},
    }


def _hidden(factor: float | None, width: int) -> int:
    return -(-int(2 * (factor or 0) * width / 3) // _MULTIPLE) * _MULTIPLE


DECI = HuggingFace(
    classes=("DeciLMForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *GATED),
        *in_layers(attn_output="self_attn.linear_attn"),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-5},
    vectors=factor_vectors,
)


@architecture("deci", hf=DECI, rope="pairs", recurrent=True)
def deci(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    factors = rope_factors(weights, hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        if hp.heads[i]:
            h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
            x = x + (_attend(h, w, inputs, hp, i, factors) if hp.key_heads[i] else project(h, w, "attn_output"))
        if hp.hidden[i]:
            x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)


def _attend(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int, factors: Tensor | None) -> Tensor:
    q, k, v = queries_keys_values(h, w, hp, layer)
    q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
    return attend((q, k, v), w, inputs, hp, layer)
