"""Feed-forward units in which each token takes some of many experts.

Shapes: T tokens in the step, X experts, U experts used by a token, D model width, F an expert's hidden width.
"""

from __future__ import annotations

from pacos.errors import FormatError
from pacos.ir import ops
from pacos.ir.graph import Tensor, WeightTable
from pacos.models.blocks import project, silu_feed_forward
from pacos.models.experts import Experts


def feed_forward(x: Tensor, w: WeightTable, experts: Experts | None) -> Tensor:
    """The gated unit of a layer: one for all tokens, or where the layer has a router, experts. Shapes: [T, D]."""
    if experts is None or "ffn_gate_inp" not in w:
        return silu_feed_forward(x, w)
    y = expert_feed_forward(x, w, experts)
    return y + shared_expert(x, w) if "ffn_up_shexp" in w else y


def expert_feed_forward(x: Tensor, w: WeightTable, experts: Experts) -> Tensor:
    """Experts' gated units, weighed: sum of weight * down(silu(gate(x)) * up(x)). Shapes: [T, D] -> [T, D]."""
    weights, chosen = routed(x, w, experts)
    gate, up = _gate_and_up(x, chosen, w, experts)
    y: Tensor = ops.weigh(expert_project(ops.silu(gate) * up, chosen, w, "ffn_down_exps", experts), weights)
    return y


def _gate_and_up(x: Tensor, chosen: Tensor, w: WeightTable, experts: Experts) -> tuple[Tensor, Tensor]:
    """By one fused stack, the gate first, or by two. Shapes: [T, D] -> [T, U, F] each."""
    if "ffn_gate_up_exps" not in w:
        gate, up = (expert_project(x, chosen, w, name, experts) for name in ("ffn_gate_exps", "ffn_up_exps"))
        return gate, up
    both = expert_project(x, chosen, w, "ffn_gate_up_exps", experts)  # [T, U, 2 F]
    width = int(both.shape[-1]) // 2
    return ops.part(both, start=0, stop=width), ops.part(both, start=width, stop=2 * width)


def routed(x: Tensor, w: WeightTable, experts: Experts) -> tuple[Tensor, Tensor]:
    """Weights and numbers of the experts that each token gets. Shapes: [T, D] -> [T, U] each."""
    scores = project(x, w, "ffn_gate_inp")  # [T, X]
    if scores.shape[-1] != experts.count:
        raise FormatError(f"the router scores {scores.shape[-1]} experts, the metadata says {experts.count}")
    weights, chosen = ops.route(
        scores,
        w.get("exp_probs_b.bias") or w.get("exp_probs_b.weight") or w.bare_if_any("exp_probs_b"),
        used=experts.used,
        score=experts.score,
        groups=experts.groups,
        groups_used=experts.groups_used,
        group_best=experts.group_best,
        normalise=experts.normalise,
        scale=experts.scale,
    )
    return weights, chosen


def expert_project(x: Tensor, chosen: Tensor, w: WeightTable, name: str, experts: Experts) -> Tensor:
    """Multiply by the chosen experts' matrices and add biases. Shapes: [T, D] or [T, U, D] -> [T, U, N]."""
    stack = w[name]
    if stack.shape[0] != experts.count:
        raise FormatError(f"tensor '{stack.name}' holds {stack.shape[0]} experts, the metadata says {experts.count}")
    y: Tensor = ops.expert_linear(x, chosen, stack, w.get(f"{name}.bias"))
    return y


def shared_expert(x: Tensor, w: WeightTable) -> Tensor:
    """The expert that every token takes; times the sigmoid of a gate, if it has one. Shapes: [T, D] -> [T, D]."""
    if "ffn_gate_shexp" in w:
        h = ops.silu(project(x, w, "ffn_gate_shexp")) * project(x, w, "ffn_up_shexp")
    else:  # both lie in one matrix, the gate first
        both = project(x, w, "ffn_up_shexp")
        width = int(both.shape[-1]) // 2
        h = ops.silu(ops.columns(both, start=0, stop=width)) * ops.columns(both, start=width, stop=2 * width)
    y = project(h, w, "ffn_down_shexp")
    gate = w.get("ffn_gate_inp_shexp")
    if gate is None:
        return y
    score = ops.project_once(x, gate) if len(gate.shape) == 1 else ops.linear(x, gate, None)  # [T, 1]
    share, _ = ops.route(score, None, used=1, score="sigmoid")
    taken: Tensor = ops.weigh(ops.heads(y, width=y.shape[-1]), share)
    return taken
