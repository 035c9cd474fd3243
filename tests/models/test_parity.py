"""Every family computes what transformers computes, from the folder itself and from the GGUF file made of it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from models import running, tiny

from pacos import backends
from pacos.backends import Backend
from pacos.hub.convert import convert
from pacos.hub.opening import open_model

VECTORS = Path(__file__).parent / "vectors"
F32_KL_MAX = 1e-6
PEER_KL_MAX = 1e-4
# Activations in 8 bits cost, on these models (scores of 80 and more), what Q8_0 itself costs.
Q8_0_KL_MAX = {"f32": 1e-4, "q8": 4e-2}


ROUNDED = [case for case in tiny.CASES if tiny.CASES[case].rounded]
ONCE = [case for case in tiny.CASES if case not in ROUNDED]


@pytest.fixture(scope="module", params=["reference", "cpu"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened = backends.backend(request.param)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


def the_folder(folders: Path, case: str) -> Path:
    return folders / case if (folders / case).exists() else tiny.write_folder(case, folders / case)


def the_file(folders: Path, case: str, kind: str) -> Path:
    path = folders / f"{case}-{kind}.gguf"
    if not path.exists():
        convert(the_folder(folders, case), path, kind)
    return path


def divergence_from_vectors(case: str, path: Path, backend: Backend, ending: str = "") -> float:
    archive = open_model(path)
    try:
        found = running.logits(archive, backend, [tiny.prompt(n) for n in tiny.PROMPTS], tiny.KEPT)
    finally:
        archive.close()
    with np.load(VECTORS / f"{case}{ending}.npz") as stored:
        expected = [stored[str(n)] for n in tiny.PROMPTS]
    return running.divergence(np.concatenate(expected), np.concatenate(found))


@pytest.mark.parametrize("case", ROUNDED)
def test_folder_agrees_with_transformers(case: str, folders: Path) -> None:
    """By the CPU's kernels: what numpy computes of the same tensors is seen on the converted file."""
    with closing(backends.backend("cpu")) as opened:
        assert divergence_from_vectors(case, the_folder(folders, case), opened) < F32_KL_MAX


@pytest.mark.parametrize("case", ROUNDED)
def test_converted_file_agrees_with_transformers(case: str, folders: Path, backend: Backend) -> None:
    assert divergence_from_vectors(case, the_file(folders, case, "F32"), backend) < F32_KL_MAX


@pytest.mark.parametrize("case", ROUNDED)
@pytest.mark.parametrize(("name", "activations"), [("reference", "f32"), ("cpu", "f32"), ("cpu", "q8")])
def test_q8_0_file_agrees_with_transformers_on_its_weights(
    case: str, name: str, activations: str, folders: Path
) -> None:
    backend = backends.backend(name, activations=activations)
    try:
        found = divergence_from_vectors(case, the_file(folders, case, "Q8_0"), backend, "-q8_0")
        assert found < Q8_0_KL_MAX[activations]
    finally:
        backend.close()


@pytest.mark.parametrize("case", ONCE)
def test_family_agrees_with_transformers(case: str, folders: Path) -> None:
    """The definitions on the folder, the CPU's kernels on the F32 file."""
    with closing(backends.backend("reference")) as reference, closing(backends.backend("cpu")) as cpu:
        assert divergence_from_vectors(case, the_folder(folders, case), reference) < F32_KL_MAX
        assert divergence_from_vectors(case, the_file(folders, case, "F32"), cpu) < F32_KL_MAX


@pytest.mark.parametrize("case", ONCE)
def test_q8_0_file_computes_what_its_weights_say(case: str, folders: Path) -> None:
    archive = open_model(the_file(folders, case, "Q8_0"))
    prompts = [tiny.prompt(7), tiny.prompt(64)]
    with (
        closing(archive),
        closing(backends.backend("reference")) as reference,
        closing(backends.backend("cpu", activations="f32")) as cpu,
    ):
        expected, found = (running.logits(archive, one, prompts, tiny.KEPT) for one in (reference, cpu))
    assert running.divergence(np.concatenate(expected), np.concatenate(found)) < F32_KL_MAX


def test_every_case_has_vectors_and_no_vector_is_left_over() -> None:
    stored = {path.stem for path in VECTORS.glob("*.npz")}
    assert stored == set(tiny.CASES) | {f"{case}-q8_0" for case in ROUNDED}
    shaped = {case for case in (*tiny.CASES, *tiny.ENCODERS) if not tiny.case_of(case).shapes}
    assert {path.stem for path in tiny.SHAPES.glob("*.json")} == shaped


def test_published_figures_are_those_of_cases_that_agree() -> None:
    """`scripts/agree` wrote them; docs/models.md shows them."""
    figures = json.loads((VECTORS.parent / "agreement.json").read_text())
    assert set(figures) <= {*tiny.CASES, *tiny.ENCODERS}
    for case, found in figures.items():
        measure = "distance" if case in tiny.ENCODERS else "kl"
        assert found["transformers"][measure] < F32_KL_MAX, case
        if "llama.cpp" in found and not tiny.case_of(case).peer:
            assert found["llama.cpp"][measure] < PEER_KL_MAX, case


@pytest.mark.oracle
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("case", tiny.CASES)
def test_vectors_are_what_transformers_computes(case: str) -> None:
    script = Path(__file__).parents[2] / "scripts" / "vectors"
    loader = importlib.machinery.SourceFileLoader("vectors_script", str(script))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("vectors_script", loader))
    loader.exec_module(module)
    with np.load(VECTORS / f"{case}.npz") as stored:
        for tokens, logits in module.transformers_logits(case).items():
            np.testing.assert_allclose(logits, stored[tokens], atol=1e-4)
