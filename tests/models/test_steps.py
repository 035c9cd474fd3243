"""How tokens are cut into steps, and who shares a step, changes nothing: bit for bit on the CPU, nearly in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from models import tiny
from models.running import Runner

from pacos import backends
from pacos.backends import Backend
from pacos.hub.convert import convert
from pacos.hub.quantize import quantize_file

CASES = ("llama", "llama-factors", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "gpt-oss", "deepseek2")
PROMPTS = dict(enumerate(map(tiny.prompt, tiny.PROMPTS)))
CUTS = (0, 1, 38, 101, 256, 300)


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
        (whole,) = runner.step([(prompt, 0, 0)])
        singly = [runner.step([([token], i, 1)])[0] for i, token in enumerate(prompt)]
        cut = [runner.step([(prompt[a:b], a, 2)])[0] for a, b in ((0, 5), (5, 64), (64, 70))]
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
        (alone,) = runner.step([(second, 0, 0)])
        among = runner.step([(first, 0, 1), (second, 0, 2), (third, 0, 3)])[1]
        (alone_next,) = runner.step([([7], 9, 0)])
        next_among = runner.step([([8], 66, 1), ([7], 9, 2), ([9, 9, 9], 31, 3)])[1]
    finally:
        runner.close()
    check_same(backend, alone, among)
    check_same(backend, alone_next, next_among)


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
@pytest.mark.parametrize("case", tiny.CASES)
def test_every_family_computes_the_same_bits_in_every_way(case: str, kind: str, tmp_path: Path) -> None:
    """At once (which the parity tests hold to vectors), in pieces, token by token, among others at other places."""
    path = tmp_path / "model.gguf"
    convert(tiny.write_folder(case, tmp_path / case), path, kind)
    with closing(backends.backend("cpu")) as opened, closing(Runner(path, opened, "F32")) as runner:
        whole = [runner.step([(prompt, 0, slot)])[0] for slot, prompt in PROMPTS.items()]
        among = runner.step([(prompt, 0, slot) for slot, prompt in PROMPTS.items()])
        pieces: dict[int, list[np.ndarray]] = {slot: [] for slot in PROMPTS}
        for a, b in pairwise(CUTS):
            parts = [(prompt[a:b], a, slot) for slot, prompt in PROMPTS.items() if prompt[a:b]]
            for (_, _, slot), rows in zip(parts, runner.step(parts), strict=True):
                pieces[slot].append(rows)
        singly: dict[int, list[np.ndarray]] = {slot: [] for slot in PROMPTS}
        for i in range(max(map(len, PROMPTS.values()))):
            one = [([prompt[i]], i, slot) for slot, prompt in PROMPTS.items() if i < len(prompt)]
            for (_, _, slot), rows in zip(one, runner.step(one), strict=True):
                singly[slot].append(rows)
    for slot, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate(singly[slot]), expected)
        np.testing.assert_array_equal(among[slot], expected)
        np.testing.assert_array_equal(np.concatenate(pieces[slot]), expected)
