"""Tiny models beside an adapter of theirs, what they compute with it, and whether PEFT computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import adapter_builder as building
import numpy as np
from models import running, tiny

import pacos
from pacos.hub.convert import convert
from pacos.hub.export_lora import export_lora

PROMPT = tiny.prompt(64)
KL_MAX = 1e-6
VECTORS = Path(__file__).parent / "data" / "adapters.npz"


def opened(model: Path, **settings: Any) -> pacos.LLM:
    return pacos.load(model, **{"threads": 2, "ctx_size": 320, **settings})


def logits(model: Path, **settings: Any) -> np.ndarray:
    """Of every place of the prompt, which encoder-decoders read too."""
    with opened(model, **settings) as llm:
        return np.array(llm.logits(PROMPT, source=PROMPT if llm.engine.start_token >= 0 else ()))


def made(case: str, place: Path, **said: Any) -> tuple[Path, Path]:
    """A model as a folder and as base.gguf beside it, and its adapter."""
    folder = tiny.write_folder(case, place / "base")
    convert(folder, place / "base.gguf", "F32")
    return folder, building.write(case, place / "adapter", **said)


def check_peft_computes_the_same(name: str, folder: Path, adapter: Path, least: float) -> None:
    """By what `scripts/adapter-vectors` stored under the name: the model as folder and file, and merged.

    Without its adapter the model is at least that KL divergence away.
    """
    file, merged = folder.parent / "base.gguf", folder.parent / "merged.gguf"
    with np.load(VECTORS) as stored:
        peft = stored[f"{name}/peft"]
    for base in (folder, file):
        assert running.divergence(peft, logits(base, lora=(str(adapter),))[-len(peft) :]) < KL_MAX
    export_lora(file, merged, (str(adapter),))
    assert running.divergence(peft, logits(merged)[-len(peft) :]) < KL_MAX
    assert running.divergence(peft, logits(folder)[-len(peft) :]) > least
