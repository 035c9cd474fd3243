"""Run a model on a backend without an engine: one sequence, all its tokens in one step."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from pacos.backends import Backend
from pacos.ir.passes import optimise
from pacos.models import Hparams, build_plan, page_layout
from pacos.types import Archive, Step


def logits(
    archive: Archive, backend: Backend, prompts: Sequence[Sequence[int]], rows: int, cache: str = "F32"
) -> list[np.ndarray]:
    """Logits of the last `rows` positions (or fewer) of each prompt, every prompt alone in its step."""
    hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    plan = optimise(build_plan(archive, hp))
    longest = max(map(len, prompts))
    layout = page_layout(hp, cache, cache, plan)
    count = -(-longest // layout.page_tokens)
    weights = backend.upload(archive, plan.weight_names())
    program = backend.compile(plan, weights, backend.pages(count, layout, 1), longest)
    try:
        return [_run(program, prompt, range(max(0, len(prompt) - rows), len(prompt)), count) for prompt in prompts]
    finally:
        program.close()


def _run(program: Any, prompt: Sequence[int], outputs: range, pages: int) -> np.ndarray:
    tokens = len(prompt)
    step = Step(
        array("i", prompt),
        array("i", range(tokens)),
        array("i", [0, tokens]),
        (array("i", range(pages)),),
        array("i", outputs),
        None,
        array("i", [0]),
        array("i", [0]),
    )
    return np.array(program.run(step), np.float32).reshape(len(outputs), program.result_width)


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the rows' distributions, in nats."""
    p, q = (_log_softmax(rows.astype(np.float64)) for rows in (expected, found))
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))


def _log_softmax(rows: np.ndarray) -> np.ndarray:
    shifted = rows - rows.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
