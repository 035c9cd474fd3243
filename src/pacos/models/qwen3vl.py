"""Qwen 3 that sees, the part for text, dense and with experts: Qwen 3, to whose layers pictures alone add something.

Source: Hugging Face modeling_qwen3_vl.py and modeling_qwen3_vl_moe.py; tensor names as in GGUF arch "qwen3vl" and
"qwen3vlmoe". Of text, all three positions that its rotary sections tell apart are the same.
Shapes: R rows wanted, V vocabulary, X experts, D model width, F an expert's hidden width.
"""

from __future__ import annotations

from collections.abc import Callable

from pacos.errors import UnsupportedModel
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.expert_decoder import expert_decoder
from pacos.models.hf_config import Config, Metadata, decoder, position_sections
from pacos.models.hf_experts import READS, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.qwen3 import QWEN3, qwen3
from pacos.models.registry import architecture
from pacos.models.tensor_names import Array, Change, Sizes, TensorName, part

_SECTIONS = (24, 20, 20)  # of every published one


def _metadata(config: Config) -> Metadata:
    """Pictures add to as many layers as their encoder gives outputs."""
    outputs = (config.get("vision_config") or {}).get("deepstack_visual_indexes") or ()
    return decoder(config) | position_sections(config, _SECTIONS) | {"n_deepstack_layers": len(outputs)}


def _upright(rows: Callable[[Config], int]) -> Change:
    """Experts' matrices as [X, rows, columns]: published folders have them as [X, columns, rows].

    Errors: UnsupportedModel for square ones, which do not tell how they lie.
    """

    def lies(shape: Sizes, config: Config) -> bool:
        if shape[-2] == shape[-1]:
            raise UnsupportedModel(
                f"experts' matrices of {shape[-2]} x {shape[-1]} do not tell which side their inputs are",
                hint="convert the model with other software",
            )
        return shape[-2] != rows(config)

    def shape(shape: Sizes, config: Config) -> Sizes:
        return (*shape[:-2], shape[-1], shape[-2]) if lies(shape, config) else shape

    def values(x: Array, config: Config) -> Array:
        return x.swapaxes(-1, -2) if lies(x.shape, config) else x

    return Change("upright", shape, values)


_GATED = _upright(lambda config: 2 * int(config["moe_intermediate_size"]))
_DOWN = _upright(lambda config: int(config["hidden_size"]))
_EXPERTS = "layers.{i}.mlp.experts"
QWEN3_VL = HuggingFace(
    classes=("Qwen3VLForConditionalGeneration",),
    names=QWEN3.names,
    metadata=_metadata,
    defaults={"rms_norm_eps": 1e-6, "head_dim": 128, "num_key_value_heads": 32, "rope_theta": 500000.0},
    ties_by_weights=True,  # the part for text may say otherwise than the whole, which is in the right
)
QWEN3_VL_MOE = HuggingFace(
    classes=("Qwen3VLMoeForConditionalGeneration",),
    names=(
        *QWEN3.names,
        TensorName("blk.{i}.ffn_gate_inp.weight", "layers.{i}.mlp.gate.weight"),
        TensorName("blk.{i}.ffn_gate_exps.weight", f"{_EXPERTS}.gate_up_proj", (_GATED, part(0, 2, axis=1))),
        TensorName("blk.{i}.ffn_up_exps.weight", f"{_EXPERTS}.gate_up_proj", (_GATED, part(1, 2, axis=1))),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_EXPERTS}.down_proj", (_DOWN,)),
    ),
    metadata=lambda config: {**_metadata(config), **experts(config)},
    defaults={
        **{"rms_norm_eps": 1e-6, "num_key_value_heads": 16, "rope_theta": 500000.0, "intermediate_size": 5632},
        **{"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "tie_word_embeddings": True},
    },
    reads=READS,
    ties_by_weights=True,
)


@architecture("qwen3vl", hf=QWEN3_VL)
def qwen3vl(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return qwen3(inputs, weights, hp)


@architecture("qwen3vlmoe", hf=QWEN3_VL_MOE, defaults={"expert_weights_norm": True})
def qwen3vlmoe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return expert_decoder(inputs, weights, hp)
