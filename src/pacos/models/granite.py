"""Granite 3 and 4, also with experts, MiniCPM 1 and 2: Llama with factors on embeddings, residuals, scores and logits.

Source: Hugging Face modeling_granite.py, and the modeling_minicpm.py of the published folders; tensor names as in
GGUF arch "granite", "granitemoe" and "minicpm".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, rope_factors
from pacos.models.hf_config import Config, Metadata, decoder, factor_vectors, first, positive
from pacos.models.hf_experts import READS, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.llama import NAMES
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, PAIRED_ATTENTION, TWO_NORMS, TensorName, part

Factors = tuple[float, float, float]


def read_granite(config: Config) -> Metadata:
    """The metadata of Granite, whose factors its config calls multipliers."""
    return {
        **decoder(config),
        "attention.scale": positive(config, "attention_multiplier"),
        "embedding_scale": positive(config, "embedding_multiplier"),
        "residual_scale": positive(config, "residual_multiplier"),
        "logit_scale": positive(config, "logits_scaling"),
    }


def _read_minicpm(config: Config) -> Metadata:
    depth, layers = positive(config, "scale_depth"), positive(config, "num_hidden_layers")
    return {
        **decoder(config),
        "embedding_scale": positive(config, "scale_emb"),
        "residual_scale": depth / layers**0.5,
        "logit_scale": positive(config, "hidden_size") / positive(config, "dim_model_base"),
    }


_ONES = dict.fromkeys(("embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"), 1.0)
GRANITE = HuggingFace(
    classes=("GraniteForCausalLM",),
    names=NAMES,
    metadata=read_granite,
    defaults={"rms_norm_eps": 1e-6, **_ONES},
    reads=("position_embedding_type",),
    refuses=(("position_embedding_type", "rope"),),
)
_MIXED, _SHARED = "layers.{i}.block_sparse_moe", "layers.{i}.shared_mlp"
EXPERTS = (
    TensorName("blk.{i}.ffn_gate_inp.weight", f"{_MIXED}.router.layer.weight"),
    TensorName("blk.{i}.ffn_gate_exps.weight", f"{_MIXED}.input_linear.weight", (part(0, 2, axis=1),)),
    TensorName("blk.{i}.ffn_up_exps.weight", f"{_MIXED}.input_linear.weight", (part(1, 2, axis=1),)),
    TensorName("blk.{i}.ffn_down_exps.weight", f"{_MIXED}.output_linear.weight"),
    TensorName("blk.{i}.ffn_gate_shexp.weight", f"{_SHARED}.input_linear.weight", (part(0, 2),)),
    TensorName("blk.{i}.ffn_up_shexp.weight", f"{_SHARED}.input_linear.weight", (part(1, 2),)),
    TensorName("blk.{i}.ffn_down_shexp.weight", f"{_SHARED}.output_linear.weight"),
)
# Where nobody shares it with experts.
SHARED_UNIT = (
    TensorName("blk.{i}.ffn_gate.weight", f"{_SHARED}.input_linear.weight", (part(0, 2),)),
    TensorName("blk.{i}.ffn_up.weight", f"{_SHARED}.input_linear.weight", (part(1, 2),)),
    TensorName("blk.{i}.ffn_down.weight", f"{_SHARED}.output_linear.weight"),
)
GRANITE_MOE = HuggingFace(
    classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    names=(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *EXPERTS),
    metadata=lambda config: read_granite(config) | experts(config),
    defaults={"rms_norm_eps": 1e-6, "num_local_experts": 8, "num_experts_per_tok": 2, **_ONES},
    reads=("position_embedding_type", *READS),
    refuses=(("position_embedding_type", "rope"),),
)


def _attends_alone(config: Config) -> bool:
    kinds = first(config, "layer_types", "layers_block_type") or ()
    return bool(kinds) and set(kinds) <= {"attention", "full_attention"}


def _read_granite_4(config: Config) -> Metadata:
    found = read_granite({**config, "intermediate_size": config["shared_intermediate_size"]})
    return {**found, **experts(config), "rope.scaling.finetuned": True}


GRANITE_4_MOE = replace(
    GRANITE_MOE,
    classes=("GraniteMoeHybridForCausalLM",),
    metadata=lambda config: {**read_granite(config), **experts(config), "rope.scaling.finetuned": True},
    fits=lambda config: _attends_alone(config) and bool(config["num_local_experts"]),
)
GRANITE_4 = replace(
    GRANITE,
    classes=("GraniteMoeHybridForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *PAIRED_ATTENTION, *SHARED_UNIT),
    metadata=_read_granite_4,
    defaults={**GRANITE.defaults, "num_local_experts": 8, "shared_intermediate_size": 1024},
    reads=GRANITE_MOE.reads,
    fits=lambda config: _attends_alone(config) and not config["num_local_experts"],
)
MINICPM = HuggingFace(
    classes=("MiniCPMForCausalLM",),
    names=NAMES,
    metadata=_read_minicpm,
    defaults={"rms_norm_eps": 1e-6, "scale_emb": 1, "dim_model_base": 1, "scale_depth": 1, "tie_word_embeddings": True},
    vectors=factor_vectors,
)


@architecture("granite", hf=(GRANITE, GRANITE_4), rope="pairs")
def granite(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return _scaled(inputs, weights, hp, granite_factors(hp))


@architecture("granitemoe", hf=(GRANITE_MOE, GRANITE_4_MOE), rope="pairs", defaults={"expert_weights_norm": True})
def granitemoe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return _scaled(inputs, weights, hp, granite_factors(hp))


@architecture("minicpm", hf=MINICPM, rope="pairs")
def minicpm(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted; files of the first model leave its factors out."""
    return _scaled(inputs, weights, hp, minicpm_factors(hp))


def minicpm_factors(hp: Hparams) -> Factors:
    """The same, else as the first published model has it, whose files leave them out."""
    return granite_factors(hp, (12.0, 1.4 / hp.layers**0.5, hp.width / 256))


def granite_factors(hp: Hparams, usual: Factors = (1.0, 1.0, 1.0)) -> Factors:
    """What embeddings and residuals are multiplied by, and logits divided."""
    names = ("embedding_scale", "residual_scale", "logit_scale")
    embedding, residual, logit = (
        hp.keys.number(name, 0, 1e6, factor, above=True) for name, factor in zip(names, usual, strict=True)
    )
    return embedding, residual, logit


def _scaled(inputs: Inputs, weights: WeightTable, hp: Hparams, factors: Factors) -> Tensor:
    embedding, residual, logit = factors
    rope = rope_factors(weights, hp)
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=embedding)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        q, k = (ops.rope(part, inputs.positions, hp.rope, rope) for part in (q, k))
        x = x + ops.scale(attend((q, k, v), w, inputs, hp, i), factor=residual)
        h = feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
        x = x + ops.scale(h, factor=residual)
    y: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=1 / logit)
    return y
