"""SmallThinker: experts with rectifiers, chosen before attention by what enters the layer; where layers have windows,
they alone have rotary positions.

Source: modeling_smallthinker.py beside the published weights; tensor names as in GGUF arch "smallthinker".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, U experts used by a token, F their width.
"""

from __future__ import annotations

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values
from pacos.models.experts import Experts
from pacos.models.hf_config import Config, Metadata, decoder, needed
from pacos.models.hf_experts import expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_project, routed
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS


def _read(config: Config) -> Metadata:
    layers = needed(config, "num_hidden_layers")
    windowed = [bool(one) for one in config.get("sliding_window_layout") or [0] * layers]
    turned = [bool(one) for one in config.get("rope_layout") or [1] * layers]
    if turned != (windowed if any(windowed) else [True] * layers):
        problem = "config.json: rope_layout and sliding_window_layout name different layers"
        raise UnsupportedModel(problem, hint="supported are rotary positions in layers with windows, or in all without")
    width = config.get("moe_ffn_hidden_size")
    words = {"num_experts": config.get("moe_num_primary_experts"), "moe_intermediate_size": width}
    words |= {"num_experts_per_tok": config.get("moe_num_active_primary_experts")}
    words |= {"scoring_func": "softmax" if config.get("moe_primary_router_apply_softmax") else "sigmoid"}
    window = {
        "attention.sliding_window": config.get("sliding_window_size"),
        "attention.sliding_window_pattern": windowed,
    }
    found = decoder(config) | experts({**config, **words, "norm_topk_prob": True})
    return {**found, "feed_forward_length": width, **(window if any(windowed) else {})}


SMALLTHINKER = HuggingFace(
    classes=("SmallThinkerForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION),
        *expert_names("block_sparse_moe", router="primary_router", gate="gate", up="up", down="down"),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-6},
    refuses=(("norm_topk_prob", True),),
)
DEFAULTS = {
    **{"attention.sliding_window_pattern": 4, "attention.sliding_window_offset": 0},
    **{"expert_weights_norm": True},
}


@architecture("smallthinker", hf=SMALLTHINKER, defaults=DEFAULTS)
def smallthinker(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        choice = routed(x, w, hp.needed_experts())
        q, k, v = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        if hp.windows[i] or not any(hp.windows):
            q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + _compute(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), choice, w, hp.needed_experts())
    return logits(x, inputs, weights, hp)


def _compute(h: Tensor, choice: tuple[Tensor, Tensor], w: WeightTable, experts: Experts) -> Tensor:
    weights, chosen = choice  # [T, U]
    gate, up = (expert_project(h, chosen, w, name, experts) for name in ("ffn_gate_exps", "ffn_up_exps"))  # [T, U, F]
    y: Tensor = ops.weigh(expert_project(ops.relu(gate) * up, chosen, w, "ffn_down_exps", experts), weights)
    return y
