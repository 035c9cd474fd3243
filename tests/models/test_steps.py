"""How tokens are cut into steps, and who shares a step, changes nothing: bit for bit on the CPU, nearly in numpy."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import tiny

from pacos import backends
from pacos.backends import Backend
from pacos.hub.adopt import open_model
from pacos.hub.convert import convert
from pacos.hub.quantize import quantize_file
from pacos.ir.passes import optimise
from pacos.models import Hparams, build_plan, page_layout
from pacos.types import Step

CASES = ("llama", "llama-factors", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "gpt-oss", "deepseek2")
PAGES = 12


class Runner:
    """A program whose sequences keep their pages from step to step."""

    def __init__(self, path: Path, backend: Backend) -> None:
        self.archive = open_model(path)
        hp = Hparams.from_metadata(self.archive.metadata, self.archive.tensors)
        plan = optimise(build_plan(self.archive, hp))
        weights = backend.upload(self.archive, plan.weight_names())
        self.program = backend.compile(plan, weights, backend.pages(PAGES, page_layout(hp)), 256)

    def close(self) -> None:
        self.program.close()
        self.archive.close()

    def step(self, parts: Sequence[tuple[Sequence[int], int, Sequence[int]]]) -> list[np.ndarray]:
        """Logits of every row for each part: its tokens, the position of the first, its pages."""
        tokens = [token for part in parts for token in part[0]]
        positions = [first + i for part, first, _ in parts for i in range(len(part))]
        starts = [0, *np.cumsum([len(part[0]) for part in parts]).tolist()]
        tables = tuple(array("i", pages) for _, _, pages in parts)
        outputs = array("i", range(len(tokens)))
        found: Any = self.program.run(
            Step(array("i", tokens), array("i", positions), array("i", starts), tables, outputs)
        )
        rows = np.array(found, np.float32).reshape(len(tokens), -1)
        return [rows[a:b] for a, b in pairwise(starts)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(params=[name for name in ("reference", "cpu") if name in backends.names()])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened = backends.backend(request.param)
    yield opened
    opened.close()


def the_file(files: Path, case: str, kind: str) -> Path:
    path = files / f"{case}-{kind}.gguf"
    if not path.exists():
        plain = files / f"{case}.gguf"
        if not plain.exists():
            convert(tiny.write_folder(case, files / case), plain, "F32")
        quantize_file(plain, path, kind)
    return path


def check_same(backend: Backend, expected: np.ndarray, found: np.ndarray) -> None:
    """Batch-invariant backends agree bit for bit; numpy's products depend on the number of rows."""
    if backend.name == "reference":
        np.testing.assert_allclose(found, expected, atol=0.05, rtol=0)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["F16", "Q4_K_M"])
@pytest.mark.parametrize("case", CASES)
def test_one_token_at_a_time_equals_all_at_once(case: str, kind: str, files: Path, backend: Backend) -> None:
    prompt = tiny.prompt(70)
    runner = Runner(the_file(files, case, kind), backend)
    try:
        (whole,) = runner.step([(prompt, 0, [0, 1])])
        singly = [runner.step([([token], i, [3, 2])])[0] for i, token in enumerate(prompt)]
        cut = [runner.step([(prompt[a:b], a, [5, 4])])[0] for a, b in ((0, 5), (5, 64), (64, 70))]
    finally:
        runner.close()
    check_same(backend, whole, np.concatenate(singly))
    check_same(backend, whole, np.concatenate(cut))


@pytest.mark.parametrize("kind", ["F16", "Q4_K_M"])
@pytest.mark.parametrize("case", CASES)
def test_a_sequence_alone_equals_the_same_among_others(case: str, kind: str, files: Path, backend: Backend) -> None:
    first, second, third = tiny.prompt(66), tiny.prompt(9), tiny.prompt(31)
    runner = Runner(the_file(files, case, kind), backend)
    try:
        (alone,) = runner.step([(second, 0, [0])])
        among = runner.step([(first, 0, [1, 2]), (second, 0, [3]), (third, 0, [4])])[1]
        (alone_next,) = runner.step([([7], 9, [0])])
        next_among = runner.step([([8], 66, [1, 2]), ([7], 9, [3]), ([9, 9, 9], 31, [4])])[1]
    finally:
        runner.close()
    check_same(backend, alone, among)
    check_same(backend, alone_next, next_among)
