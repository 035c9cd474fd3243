"""Activations compute their formulas, under every name that folders have for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from pacos.models.activations import ACTIVATIONS, FILE_NAMES

FORMULAS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "linear": lambda x: x,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_10": lambda x: min(x * (1 + math.erf(x / math.sqrt(2))) / 2, 10.0),
    "gelu_new": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
}
_SAME = {"swish": "silu", "gelu_python": "gelu"}
_TANH_FORM = ("gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh")


@pytest.mark.parametrize("name", FILE_NAMES)
def test_an_activation_is_its_formula(name: str) -> None:
    formula = FORMULAS[_SAME.get(name, "gelu_new" if name in _TANH_FORM else name)]
    x = np.linspace(-12, 12, 97, dtype=np.float32)
    found = ACTIVATIONS[FILE_NAMES[name]](x)  # type: ignore[arg-type]  ops take arrays too
    np.testing.assert_allclose(found, [formula(float(one)) for one in x], rtol=1e-4, atol=1e-6)


def test_every_activation_has_a_name() -> None:
    assert set(FILE_NAMES.values()) == set(ACTIVATIONS)
