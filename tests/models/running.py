"""Run a model on a backend without an engine: a prompt in one step, or sequences from step to step.

An encoder-decoder writes the prompt that its encoder has read, from the first token on. Runner's source of sequence s
is the prompt of `tiny.PROMPTS[s]` tokens.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from models import tiny

from pacos.backends import Backend
from pacos.hub.opening import open_model
from pacos.ir.passes import optimise
from pacos.models import HIDDEN, Hparams, build_plan, page_layout
from pacos.types import Archive, Step

_SEQUENCES, _SEQUENCE_PAGES, _STEP_TOKENS = 4, 10, 512  # room for the longest prompt, and a source as long


class Runner:
    """A program whose sequences, each by its number, keep their pages and states from step to step."""

    def __init__(self, path: Path, backend: Backend, cache: str = "F16") -> None:
        self.archive = open_model(path)
        hp = Hparams.from_metadata(self.archive.metadata, self.archive.tensors)
        plan = optimise(build_plan(self.archive, hp))
        weights = backend.upload(self.archive, plan.weight_names())
        layout = page_layout(hp, cache, cache, plan)
        pages = backend.pages(_SEQUENCES * _SEQUENCE_PAGES, layout, _SEQUENCES)
        self.program = backend.compile(plan, weights, pages, _STEP_TOKENS)
        self._encoder = _encoder(self.archive, hp, backend, pages, _STEP_TOKENS)

    def close(self) -> None:
        self.program.close()
        if self._encoder is not None:
            self._encoder.close()
        self.archive.close()

    def step(self, parts: Sequence[tuple[Sequence[int], int, int]]) -> list[np.ndarray]:
        """Logits of every row for each part: its tokens, the position of the first, its sequence."""
        if self._encoder is not None:
            sources = {one: tiny.prompt(tiny.PROMPTS[one]) for _, _, one in parts}
            new = [(sources[one], 0, one) for _, first, one in parts if first == 0]
            if new:
                self._run(self._encoder, new, [len(source) for source, _, _ in new])
            lengths = [len(sources[one]) for _, _, one in parts]
            parts = [(part, first + source, one) for (part, first, one), source in zip(parts, lengths, strict=True)]
            return self._run(self.program, parts, lengths)
        return self._run(self.program, parts)

    def _run(self, program: Any, parts: Sequence[tuple[Sequence[int], int, int]], sources: Any = None) -> list[Any]:
        tokens = [token for part in parts for token in part[0]]
        positions = [first + i for part, first, _ in parts for i in range(len(part))]
        starts = [0, *np.cumsum([len(part[0]) for part in parts]).tolist()]
        # Not in order, and those of a sequence not side by side.
        tables = tuple(array("i", range(one, _SEQUENCES * _SEQUENCE_PAGES, _SEQUENCES)[::-1]) for _, _, one in parts)
        outputs, slots = array("i", range(len(tokens))), array("i", [one for _, _, one in parts])
        arrays = (array("i", tokens), array("i", positions), array("i", starts))
        read = None if sources is None else array("i", sources)
        step = Step(*arrays, tables, outputs, None, slots, slots, sources=read)
        rows = np.array(program.run(step), np.float32).reshape(len(tokens), program.result_width)
        return [rows[a:b] for a, b in pairwise(starts)]


def logits(
    archive: Archive, backend: Backend, prompts: Sequence[Sequence[int]], rows: int, cache: str = "F32"
) -> list[np.ndarray]:
    """Logits of the last `rows` positions (or fewer) of each prompt, every prompt alone in its step."""
    hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    plan = optimise(build_plan(archive, hp))
    longest = max(map(len, prompts))
    layout = page_layout(hp, cache, cache, plan)
    count = -(-2 * longest // layout.page_tokens)
    weights = backend.upload(archive, plan.weight_names())
    pages = backend.pages(count, layout, 1)
    program = backend.compile(plan, weights, pages, longest)
    encoder = _encoder(archive, hp, backend, pages, longest)
    found = []
    for prompt in prompts:
        if encoder is not None:
            _run(encoder, prompt, range(0), count)
        outputs = range(max(0, len(prompt) - rows), len(prompt))
        found.append(_run(program, prompt, outputs, count, 0 if encoder is None else len(prompt)))
    program.close()
    if encoder is not None:
        encoder.close()
    return found


def _encoder(archive: Archive, hp: Hparams, backend: Backend, pages: Any, tokens: int) -> Any:
    """The program that reads sources, of a model that has one."""
    if hp.start_token < 0:
        return None
    plan = optimise(build_plan(archive, hp, HIDDEN))
    return backend.compile(plan, backend.upload(archive, plan.weight_names()), pages, tokens)


def _run(program: Any, prompt: Sequence[int], outputs: range, pages: int, source: int = 0) -> np.ndarray:
    tokens = len(prompt)
    step = Step(
        array("i", prompt),
        array("i", range(source, source + tokens)),
        array("i", [0, tokens]),
        (array("i", range(pages)),),
        array("i", outputs),
        None,
        array("i", [0]),
        array("i", [0]),
        sources=array("i", [source]) if source else None,
    )
    return np.array(program.run(step), np.float32).reshape(len(outputs), program.result_width)


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the rows' distributions, in nats."""
    p, q = (_log_softmax(rows.astype(np.float64)) for rows in (expected, found))
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))


def _log_softmax(rows: np.ndarray) -> np.ndarray:
    shifted = rows - rows.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
