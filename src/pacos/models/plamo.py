"""PLaMo 13B: attention and feed-forward unit side by side behind one norm.

Source: the modeling_plamo.py of the published folders; tensor names as in GGUF arch "plamo", whose
queries lie by key head, where folders deal them out to key heads in turn.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, rotated, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import Change, TensorName, in_layers, outside


def _heads(config: Config) -> tuple[int, int]:
    """Key heads, and queries that share one."""
    shared = int(config["n_shared_head"])
    return int(config["num_attention_heads"]) // shared, shared


def _by_key_head(x: Any, config: Config) -> Any:
    """Rows of queries in the order of their key heads."""
    keys, shared = _heads(config)
    return x.reshape(shared, keys, -1, x.shape[-1]).swapaxes(0, 1).reshape(x.shape)


def _output_by_key_head(x: Any, config: Config) -> Any:
    """The columns of the output projection in that order."""
    keys, shared = _heads(config)
    return x.reshape(len(x), shared, keys, -1).swapaxes(1, 2).reshape(x.shape)


def _read_config(config: Config) -> Metadata:
    found = decoder(config)
    return {
        **{**found, "context_length": found["context_length"] or 4096},
        "attention.head_count_kv": _heads(config)[0],
    }


_QUERIES = Change("queries by key head", lambda shape, _: shape, _by_key_head)
_OUTPUT = Change("columns by key head", lambda shape, _: shape, _output_by_key_head)
PLAMO = HuggingFace(
    classes=("PlamoForCausalLM",),
    names=(
        *outside(token_embd="embed_tokens", output_norm="norm", output="lm_head"),
        *in_layers("layers.layers.{i}", attn_norm="norm", attn_k="self_attn.k_proj", attn_v="self_attn.v_proj"),
        TensorName("blk.{i}.attn_q.weight", "layers.layers.{i}.self_attn.q_proj.weight", (_QUERIES,)),
        TensorName("blk.{i}.attn_output.weight", "layers.layers.{i}.self_attn.o_proj.weight", (_OUTPUT,)),
        *in_layers("layers.layers.{i}", ffn_gate="mlp.gate_proj", ffn_up="mlp.up_proj", ffn_down="mlp.down_proj"),
    ),
    metadata=_read_config,
    defaults={"rms_norm_eps": 1e-6, "n_shared_head": 8},
)


@architecture("plamo", hf=PLAMO)
def plamo(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i) + silu_feed_forward(h, w)
    return logits(x, inputs, weights, hp)
