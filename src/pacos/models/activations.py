"""Activations by the names that transformers gives them, as GGUF files name them, and what computes them.

Source: transformers' ACT2FN. Missing are laplace, and those that have weights.
Shapes: any -> the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pacos.ir import ops
from pacos.ir.graph import Tensor

Activation = Callable[[Tensor], Tensor]

_QUICK = 1.702
_LEAK = 0.01


def _identity(x: Tensor) -> Tensor:
    return x


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    y: Tensor = ops.softcap(x, cap=1.0)
    return y


def _mish(x: Tensor) -> Tensor:
    """x * tanh(log(1 + e^x)). Source: arXiv:1908.08681."""
    y: Tensor = x * tanh(ops.softplus(x))
    return y


def _quick_gelu(x: Tensor) -> Tensor:
    y: Tensor = x * ops.sigmoid(ops.scale(x, factor=_QUICK))
    return y


def _leaky_relu(x: Tensor) -> Tensor:
    y: Tensor = ops.relu(x)
    below: Tensor = ops.scale(ops.relu(ops.scale(x, factor=-1.0)), factor=-_LEAK)
    return y + below


def _relu6(x: Tensor) -> Tensor:
    y: Tensor = ops.clip(ops.relu(x), limit=6.0)
    return y


def _gelu_10(x: Tensor) -> Tensor:
    y: Tensor = ops.clip(ops.gelu(x), limit=10.0)
    return y


# As GGUF files of ours name them.
ACTIVATIONS: Mapping[str, Activation] = {
    **{"relu": ops.relu, "relu_squared": ops.relu_squared, "silu": ops.silu, "sigmoid": ops.sigmoid},
    **{"gelu": ops.gelu, "gelu_tanh": ops.gelu_tanh, "gelu_10": _gelu_10, "quick_gelu": _quick_gelu},
    **{"mish": _mish, "tanh": tanh, "linear": _identity, "relu6": _relu6, "leaky_relu": _leaky_relu},
}
# The name that a file has for each of transformers' names.
FILE_NAMES: Mapping[str, str] = {
    **{name: name for name in ACTIVATIONS if name not in ("relu_squared", "gelu_tanh")},
    **{"relu2": "relu_squared", "swish": "silu", "gelu_python": "gelu"},
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), "gelu_tanh"),
}
