"""Model families: one file each with one function; hyper-parameters, tensor names and plans around them."""

from __future__ import annotations

from pacos.models.build import HIDDEN, LOGITS, RANK, build_plan, page_layout, plans_of
from pacos.models.hparams import Hparams, RopeOverrides
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import Architecture, architecture, architectures, model_for, model_for_class

__all__ = [
    "HIDDEN",
    "LOGITS",
    "RANK",
    "Architecture",
    "Hparams",
    "HuggingFace",
    "RopeOverrides",
    "architecture",
    "architectures",
    "build_plan",
    "model_for",
    "model_for_class",
    "page_layout",
    "plans_of",
]
