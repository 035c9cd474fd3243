"""Parts that several families share: projections, gated feed-forward units and output heads.

Shapes: T tokens in the step, R rows whose logits are wanted, D model width, N projected width, V vocabulary.
"""

from __future__ import annotations

from pacos.errors import UsageError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hparams import Hparams


def project(x: Tensor, w: WeightTable, name: str) -> Tensor:
    """Multiply by the weight of that name and add its bias where the file has one. Shapes: [T, D] -> [T, N]."""
    y: Tensor = ops.linear(x, w[name], w.get(f"{name}.bias"))
    return y


def project_heads(x: Tensor, w: WeightTable, name: str, width: int) -> Tensor:
    """Project and see each row as heads of that width. Shapes: [T, D] -> [T, H, E]."""
    y: Tensor = ops.heads(project(x, w, name), width=width)
    return y


def silu_feed_forward(x: Tensor, w: WeightTable) -> Tensor:
    """The gated unit of Llama: down(silu(gate(x)) * up(x)). Shapes: [T, D] -> [T, D]. Source: arXiv:2002.05202."""
    return project(ops.silu(project(x, w, "ffn_gate")) * project(x, w, "ffn_up"), w, "ffn_down")


def gelu_feed_forward(x: Tensor, w: WeightTable) -> Tensor:
    """The gated unit of Gemma: down(gelu(gate(x)) * up(x)). Shapes: [T, D] -> [T, D]. Source: arXiv:2002.05202."""
    return project(ops.gelu_tanh(project(x, w, "ffn_gate")) * project(x, w, "ffn_up"), w, "ffn_down")


def classify(x: Tensor, w: WeightTable) -> Tensor:
    """The head of rerankers on hidden states: tanh(cls(x)), then cls.output where there is one.

    Shapes: [R, D] -> [R, L], a number for each label. Errors: UsageError when the model has neither.
    """
    if "cls" not in w and "cls.output" not in w:
        hint = "use a reranker: its file has a tensor cls.output.weight"
        raise UsageError("this model has no head that ranks", hint=hint)
    if "cls" in w:
        x = ops.softcap(project(x, w, "cls"), cap=1.0)  # tanh
    return project(x, w, "cls.output") if "cls.output" in w else x


def logits(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Normalise the rows wanted and score the vocabulary; tied when "output" is absent. Shapes: [T, D] -> [R, V]."""
    x = ops.rms_norm(ops.take(x, inputs.outputs), weights["output_norm"], eps=hp.norm_eps)  # [R, D]
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), weights.get("output.bias"))
    return y
