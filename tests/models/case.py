"""What a case of a tiny random model is made of. Each family's cases lie in `cases/<family>.py`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WIDTH, HIDDEN, HEADS, KEY_HEADS, HEAD, LAYERS, VOCAB, CONTEXT = 256, 512, 4, 2, 64, 2, 256, 512

Config = dict[str, Any]
Weights = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Case:
    """A config.json and how its random weights are spread; `shapes/<case>.json` holds the tensors' names and shapes.

    `norm` is what weights of norms lie around (0 where the class adds 1 itself), `centres` what some endings do.
    `rounded` cases have vectors of their weights in Q8_0 as well, and run in every form on every backend; the others in
    a few. `marks` has the tokenizer put marks around texts. A class that transformers lacks has its `shapes` here, and
    a `stand_in`: config and weights of another class that computes the same of them, or its logits (an encoder's hidden
    states) `by_hand`. `peer` says what llama.cpp does otherwise.
    """

    config: Config
    norm: float = 1.0
    spread: float = 0.2
    embedding_spread: float = 0.2
    word_pieces: bool = False
    marks: bool = False
    peer: str = ""
    shapes: Mapping[str, tuple[int, ...]] | None = None
    stand_in: Callable[[Weights], tuple[Config, Weights]] | None = None
    by_hand: Callable[[Weights, list[int]], np.ndarray] | None = None
    rounded: bool = False
    centres: Mapping[str, float] = field(default_factory=dict)


def decoder(name: str, kind: str, **more: Any) -> Config:
    """A config.json in Llama's words."""
    return {
        "architectures": [name],
        "model_type": kind,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
        **more,
    }


def small(name: str, kind: str, **more: Any) -> Config:
    """The same in a quarter of the width, for families of which one case is enough; what is None is left out."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "hidden_act": "silu"}
    return {key: value for key, value in decoder(name, kind, **{**sizes, **more}).items() if value is not None}


def every(table: str) -> dict[str, Case]:
    """The cases of all families: the tables of that name of each file in `cases`."""
    package = importlib.import_module("models.cases")
    found: dict[str, Case] = {}
    for one in pkgutil.iter_modules(package.__path__):
        found |= getattr(importlib.import_module(f"models.cases.{one.name}"), table, {})
    return found
