"""nomic-embed-text-v2-moe: rotary BERT, in every other layer of which each token takes two of eight experts.

Source: Nomic AI's modeling_hf_nomic_bert.py (arXiv:2502.07972); tensor names as in GGUF arch "nomic-bert-moe". Experts'
weights are not normed; a bias behind them, which llama.cpp knows not, is kept where it is not 0. The exact GELU;
llama.cpp computes its tanh form.
Shapes: T tokens in the step, X experts, D model width, F an expert's width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.bert import ENCODER, NOMIC_BERT, normed_embeddings, rotary_layers
from pacos.models.blocks import feed_forward
from pacos.models.hf_config import Config, Metadata, needed
from pacos.models.hparams import Hparams
from pacos.models.mixture import expert_project, routed
from pacos.models.registry import architecture
from pacos.models.tensor_names import TRANSPOSE, TensorName, in_layers, reshaped

_LAYER = "encoder.layers.{i}"
_EXPERTS = ("num_experts", "num_local_experts")
_TRAINED, _SERVED = 2048, 512  # tokens that its config names, and those that it was trained for

# [X * F, D] becomes [X, F, D].
_STACKED = reshaped(
    "stacked",
    lambda shape, config: (needed(config, *_EXPERTS), shape[0] // needed(config, *_EXPERTS), shape[1]),
)
_ROW = reshaped("row", lambda shape, _: (1, *shape))


def _read_config(config: Config) -> Metadata:
    found = dict(NOMIC_BERT.metadata(config))
    return found | {
        "context_length": _SERVED if found["context_length"] == _TRAINED else found["context_length"],
        "moe_every_n_layers": config["moe_every_n_layers"],
        "expert_count": needed(config, *_EXPERTS),
        "expert_used_count": config["moe_top_k"],
    }


NOMIC_BERT_MOE = replace(
    NOMIC_BERT,
    names=(
        *(one for one in NOMIC_BERT.names if ".mlp." not in one.hf),
        *in_layers(_LAYER, ffn_up="mlp.fc1", ffn_down="mlp.fc2", ffn_gate_inp="mlp.router.layer"),
        TensorName("blk.{i}.ffn_up_exps.weight", f"{_LAYER}.mlp.experts.mlp.w1", (_STACKED,)),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_LAYER}.mlp.experts.mlp.w2", (_STACKED, TRANSPOSE)),
        TensorName("blk.{i}.ffn_exps_bias.weight", f"{_LAYER}.mlp.experts.bias", (_ROW,)),
    ),
    metadata=_read_config,
    defaults={**NOMIC_BERT.defaults, "moe_top_k": 2, "rotary_emb_base": 10000.0, "activation_function": "gelu"},
    activations=("gelu",),
    reads=("num_experts", "num_local_experts"),
    refuses=(("moe_normalize_expert_weights", False), ("expert_choice_router", False), ("num_shared_experts", 0)),
    zeros=r"\.mlp\.experts\.bias$",
    fits=lambda config: bool(config.get("moe_every_n_layers")),
)


@architecture("nomic-bert-moe", hf=NOMIC_BERT_MOE, defaults=ENCODER)
def nomic_bert_moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    experts = hp.needed_experts()

    def unit(h: Tensor, w: WeightTable) -> Tensor:
        if "ffn_gate_inp" not in w:
            return feed_forward(h, w, ops.gelu)
        shares, chosen = routed(h, w, experts)
        y = ops.gelu(expert_project(h, chosen, w, "ffn_up_exps", experts))  # [T, U, F]
        y = ops.weigh(expert_project(y, chosen, w, "ffn_down_exps", experts), shares)
        bias = w.get("ffn_exps_bias")  # [1, D]
        mixed: Tensor = y if bias is None else y + ops.embed(inputs.types, bias)
        return mixed

    return rotary_layers(normed_embeddings(inputs, weights, hp), inputs, weights, hp, unit)
