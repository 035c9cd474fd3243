"""Granite with windows on most layers, and with experts: sinks in attention; some layers turn nothing.

Source: Hugging Face modeling_granite_swa.py and modeling_granitemoe_swa.py; tensor names as in GGUF arch "granite_swa",
whose files have gates and what they open in one matrix.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, queries_keys_values, rope_factors
from pacos.models.granite import granite_factors, read_granite
from pacos.models.hf_config import Config, Metadata, factor_vectors
from pacos.models.hf_experts import READS, experts
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import NAMES
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, PAIRED_ATTENTION, TWO_NORMS, TensorName

_EVERY = 4  # the first of so many layers sees all


def _read(config: Config) -> Metadata:
    layers, kinds, bases = config["num_hidden_layers"], config.get("layer_types"), config.get("layer_rope_theta")
    if not kinds:
        kinds = ["sliding_attention" if i % _EVERY else "full_attention" for i in range(min(layers, LAYERS_MAX))]
    found = {
        **read_granite(config),
        "attention.sliding_window": config["sliding_window"],
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in kinds],
    }
    turns: list[Any] = config.get("no_rope_layers") or bases or []
    if len(turning := {base for base in bases or () if base}) > 1:
        raise UnsupportedModel(f"config.json: layer_rope_theta has {len(turning)} bases, supported is one")
    if turning:
        found["rope.freq_base"] = turning.pop()
    return found | ({} if all(turns) else {"attention.rope_pattern": [bool(one) for one in turns]})


_SINKS = (TensorName("blk.{i}.attn_sinks.weight", "layers.{i}.self_attn.sinks"),)
_MIXED, _SHARED = "layers.{i}.block_sparse_moe", "layers.{i}.shared_mlp"
_ONES = dict.fromkeys(("embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"), 1.0)
GRANITE_SWA = HuggingFace(
    classes=("GraniteSWAForCausalLM",),
    names=(*NAMES, *_SINKS),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "num_key_value_heads": 4, "sliding_window": 128, "tie_word_embeddings": True},
        **_ONES,
    },
    vectors=factor_vectors,
)
GRANITE_MOE_SWA = HuggingFace(
    classes=("GraniteMoeSWAForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *_SINKS),
        TensorName("blk.{i}.ffn_gate_inp.weight", f"{_MIXED}.router.weight"),
        TensorName("blk.{i}.ffn_gate_inp.weight", f"{_MIXED}.router.layer.weight"),
        TensorName("blk.{i}.ffn_gate_up_exps.weight", f"{_MIXED}.experts.gate_up_proj"),
        TensorName("blk.{i}.ffn_gate_up_exps.weight", f"{_MIXED}.input_linear.weight"),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_MIXED}.experts.down_proj"),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_MIXED}.output_linear.weight"),
        TensorName("blk.{i}.ffn_up_shexp.weight", f"{_SHARED}.input_linear.weight"),
        TensorName("blk.{i}.ffn_down_shexp.weight", f"{_SHARED}.output_linear.weight"),
    ),
    metadata=lambda config: {**_read(config), **experts(config)},
    defaults={
        **{"rms_norm_eps": 1e-6, "sliding_window": 128, "num_local_experts": 8, "num_experts_per_tok": 2},
        **_ONES,
    },
    reads=READS,
    vectors=factor_vectors,
)


@architecture("granite_swa", hf=(GRANITE_SWA, GRANITE_MOE_SWA), rope="pairs", defaults={"expert_weights_norm": True})
def granite_swa(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    embedding, residual, logit = granite_factors(hp)
    factors, turns = rope_factors(weights, hp), hp.keys.per_layer_truth("attention.rope_pattern", hp.layers)
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=embedding)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        if turns[i]:
            q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        options = {"cache": inputs.cache[i], "scale": hp.scale, "window": hp.windows[i]}
        a = project(ops.attention(q, k, v, w["attn_sinks"], **options), w, "attn_output")
        x = x + ops.scale(a, factor=residual)
        h = feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
        x = x + ops.scale(h, factor=residual)
    y: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=1 / logit)
    return y
