"""What the tools for models do with an encoder-decoder: bench, perplexity, tasks, importance matrices, folders."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Outcome, here
from models import tiny
from safetensors.numpy import load_file, save_file

import pacos
from pacos import quants
from pacos.engine.observe import Observation
from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.imatrix import read_imatrix
from pacos.hub.adopt import adopt_folder
from pacos.hub.convert import convert
from pacos.llm.perplexity import parted
from pacos.models import HIDDEN

START = 0
TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 8


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf("flan-t5", tmp_path_factory.mktemp("flan"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf("t5encoder", tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def llm(path: Path) -> Iterator[pacos.LLM]:
    with pacos.load(path, ctx_size=512, threads=2) as opened:
        yield opened


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def good(*arguments: object) -> Outcome:
    done = here(*arguments)
    assert (done.code, done.err) == (0, "")
    return done


def quantize(*arguments: object) -> None:
    done = here("quantize", *arguments)
    assert done.code == 0, done.err


def test_show_tells_of_both_stacks(path: Path) -> None:
    found = good("show", path, "--json").data["model"]
    assert (found["layers"], found["encoder_layers"]) == (2, 3)
    assert "encoder layers   3" in good("show", path).out


# ---- bench ----


def test_the_encoder_reads_what_bench_gives_it_and_the_decoder_generates(path: Path) -> None:
    done = here("bench", path, "-p", "70", "-n", "3", "-d", "0,65", "-np", "1,2", "-r", "1", "-t", "1", "--json")
    assert done.code == 0
    assert "left out: pp70 @ d65, pp70 @ d65 x2; an encoder reads a prompt from its start" in done.err
    tests = done.data["tests"]
    names = ["pp70", "tg3", "tg3 @ d65"]
    assert [one["test"] for one in tests] == [*names, *(f"{name} x2" for name in names)]
    assert all(one["tokens_per_second"] > 0 and one["share_of_peak"] > 0 for one in tests)


def test_a_profile_tells_the_encoder_s_operations_from_the_decoder_s(path: Path) -> None:
    done = good("bench", path, "-p", "16", "-n", "2", "-r", "1", "-t", "1", "--profile", "--json")
    read, written = ({one["op"].split()[0] for one in test["operations"]} for test in done.data["profile"])
    assert {"store", "attention"} <= read
    assert "cross_attention" not in read
    assert {"cross_attention", "attention"} <= written
    assert "store" not in written


def test_an_encoder_alone_is_timed_at_reading(encoder: Path) -> None:
    done = here("bench", encoder, "-p", "16", "-n", "2", "-r", "1", "-t", "1", "--json")
    assert [one["test"] for one in done.data["tests"]] == ["pp16"]
    assert "left out: tg2; an encoder generates nothing" in done.err
    done = here("bench", encoder, "-p", "0", "-n", "2", "-r", "1", "-t", "1")
    assert (done.code, "an encoder generates nothing" in done.err) == (2, True)


# ---- perplexity ----


def expected_scores(llm: pacos.LLM, chunk: list[int], first: int) -> list[float]:
    logits = llm.logits([START, *chunk[first + 1 : -1]], source=chunk[1 : first + 1]).astype(np.float64)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return [float(logits[i, token]) for i, token in enumerate(chunk[first + 1 :])]


def test_a_text_is_scored_by_its_second_half_given_the_first(path: Path, llm: pacos.LLM, text: Path) -> None:
    tokens = llm.tokenize(TEXT)
    scores = [one for i in range(3) for one in expected_scores(llm, tokens[64 * i : 64 * i + 64], 32)]
    found = good("perplexity", path, "-f", text, "-c", "64", "--chunks", "3", "--json").data
    assert found["tokens_scored"] == len(scores) == 3 * 31
    assert math.isclose(found["mean_nll"], -sum(scores) / len(scores), rel_tol=1e-5)


def test_a_window_slides_over_a_text(path: Path, llm: pacos.LLM, text: Path) -> None:
    tokens = llm.tokenize(TEXT)
    scores = [one for i in range(2) for one in expected_scores(llm, tokens[20 * i : 20 * i + 256], 235)]
    arguments = ("-f", text, "-c", "64", "--ppl-stride", "20", "--chunks", "2", "--json")
    found = good("perplexity", path, *arguments).data
    assert found["tokens_scored"] == len(scores) == 2 * 20
    assert math.isclose(found["mean_nll"], -sum(scores) / len(scores), rel_tol=1e-5)


def test_quantizations_are_compared_with_their_model(path: Path, text: Path, tmp_path: Path) -> None:
    smaller = tmp_path / "q8.gguf"
    quantize(path, smaller, "Q8_0")
    found = good("perplexity", path, path, smaller, "-f", text, "-c", "64", "--chunks", "3", "--json").data["models"]
    assert found[1]["same_top"][0] == 1
    assert abs(found[1]["divergence"][0]) < 1e-3 < found[2]["divergence"][0]


def test_tasks_have_their_beginning_read_and_their_endings_written(path: Path, llm: pacos.LLM, tmp_path: Path) -> None:
    task = ["A fox", "2", "jumps over", "sleeps on", "is brown and quick", "barks"]
    file = tmp_path / "tasks.txt"
    file.write_text("\n".join(task) + "\n")
    source = llm.tokenize("A fox ")
    means = []
    for ending in task[2:]:
        scores = llm.log_probabilities([START, *llm.tokenize(ending)], source=source)
        means.append(sum(scores) / len(scores))
    found = good("perplexity", path, "--hellaswag", "-f", file, "--json").data["models"][0]
    assert found["solved"] == int(means.index(max(means)) == 2)


def test_the_source_ends_and_the_decoder_starts_as_the_model_wants(llm: pacos.LLM) -> None:
    chunk = list(range(10, 30))
    assert parted(llm, chunk, 9) == (chunk[1:10], [START, *chunk[10:]])
    assert parted(llm, chunk, 9, dropped=False) == (chunk[:10], [START, *chunk[10:]])


# ---- imatrix ----


def test_matrices_of_encoder_and_decoder_are_measured(path: Path, llm: pacos.LLM, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "imatrix.gguf"
    good("imatrix", path, "-f", text, "-o", output, "-c", "64", "--chunks", "3", "--process-output", "--json")
    matrix = read_imatrix(output)
    archive = llm.archive
    weighed = {name for name, one in archive.tensors.items() if len(one.shape) == 2 and "rel_b" not in name}
    assert set(matrix.entries) == weighed - {"token_embd.weight"}
    assert matrix.chunks == 3
    assert {one.rows[0] for name, one in matrix.entries.items() if name != "output.weight"} == {3 * 32}
    tokens = llm.tokenize(TEXT)
    chunks = [tokens[64 * i : 64 * i + 64] for i in range(3)]
    sources = [token for chunk in chunks for token in chunk[1:33]]
    written = [token for chunk in chunks for token in (START, *chunk[33:])]
    for side, read in (("enc", sources), ("dec", written)):
        rows = _matrix(archive, "token_embd.weight")[read]
        rows = rows / np.sqrt((rows * rows).mean(axis=1, keepdims=True) + 1e-6)
        rows = rows * _matrix(archive, f"{side}.blk.0.attn_norm.weight")
        np.testing.assert_allclose(matrix.entries[f"{side}.blk.0.attn_q.weight"].sums, (rows**2).sum(axis=0), rtol=1e-4)
    keys = (matrix.entries[f"dec.blk.{i}.cross_attn_k.weight"].sums for i in range(2))
    np.testing.assert_array_equal(*keys)  # all look at the same


def _matrix(archive: Any, name: str) -> np.ndarray:
    entry = archive.tensors[name]
    return quants.dequantize(entry.type, archive.data(name), entry.shape)


def test_a_matrix_guides_quantizing_and_is_shown_stack_by_stack(path: Path, text: Path, tmp_path: Path) -> None:
    output, smaller = tmp_path / "imatrix.gguf", tmp_path / "q4.gguf"
    good("imatrix", path, "-f", text, "-o", output, "-c", "64", "--json")
    quantize(path, smaller, "Q4_0", "--imatrix", output)
    plain = tmp_path / "plain.gguf"
    quantize(path, plain, "Q4_0")
    with pacos.load(smaller, vocab_only=True) as one, pacos.load(plain, vocab_only=True) as other:
        for name in ("enc.blk.1.ffn_up.weight", "dec.blk.1.cross_attn_v.weight"):
            assert one.archive.data(name) != other.archive.data(name)
    shown = good("imatrix", "show", output, "--json").data
    assert [f"{one['stack']}{one['layer']}" for one in shown["layers"]] == ["dec.0", "dec.1", "enc.0", "enc.1", "enc.2"]
    first, second = (
        next(one for one in shown["tensors"] if one["name"] == f"enc.blk.{i}.attn_q.weight") for i in (0, 1)
    )
    assert first["cosine"] == 0
    assert second["cosine"] > 0.5


def test_what_is_watched_computes_what_others_do(llm: pacos.LLM) -> None:
    source, written = tiny.prompt(90), [START, *tiny.prompt(40)]
    with Observation(llm.engine.program, llm.engine.pages, llm.engine.program_of(HIDDEN)) as seen:
        scores = seen.run([*source, *written], range(90, 130), source=90)
    assert scores == llm.log_probabilities(written, source=source)


def test_an_encoder_alone_has_no_importance(encoder: Path, text: Path) -> None:
    done = here("imatrix", encoder, "-f", text, "-c", "64")
    assert done.code == 2
    assert "it predicts no tokens" in done.err


# ---- folders ----


def changed(folder: Path, config: dict[str, Any], tensors: dict[str, np.ndarray | None]) -> Path:
    stored = load_file(folder / "model.safetensors")
    for name, values in tensors.items():
        stored.pop(name, None)
        if values is not None:
            stored[name] = values
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(found | config))
    return folder


@pytest.mark.parametrize(
    ("config", "head", "tied", "scale"),
    [
        ({"tie_word_embeddings": False}, "missing", True, 1.0),
        ({"tie_word_embeddings": True}, "missing", True, 0.125),
        ({"tie_word_embeddings": True}, "the same", True, 0.125),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, "another", False, 1.0),
        ({"tie_word_embeddings": True}, "another", False, 0.125),
        ({"architectures": ["MT5ForConditionalGeneration"], "tie_word_embeddings": True}, "missing", True, 1.0),
    ],
)
def test_weights_tell_what_is_tied_and_the_config_what_is_scaled(
    tmp_path: Path, config: dict[str, Any], head: str, tied: bool, scale: float
) -> None:
    folder = tiny.write_folder("t5", tmp_path / "t5")
    embedding = tiny.weights("t5")["shared.weight"]
    heads = {"missing": None, "the same": embedding, "another": embedding + 1}
    with closing(adopt_folder(changed(folder, config, {"lm_head.weight": heads[head]}))) as archive:
        assert ("output.weight" not in archive.tensors) is tied
        assert archive.metadata["t5.logit_scale"] == scale


def test_a_file_that_says_nothing_of_scales_and_activations_is_read_as_llama_cpp_writes_it(tmp_path: Path) -> None:
    convert(tiny.write_folder("t5", tmp_path / "t5"), tmp_path / "model.gguf", "F32")
    with pacos.load(tmp_path / "model.gguf", threads=1) as said:
        expected = said.logits(tiny.prompt(7), source=tiny.prompt(7))
    assert here("gguf", "rm", tmp_path / "model.gguf", "t5.logit_scale").code == 0
    with pacos.load(tmp_path / "model.gguf", threads=1) as silent:
        np.testing.assert_array_equal(silent.logits(tiny.prompt(7), source=tiny.prompt(7)), expected)


def test_an_activation_that_is_not_computed_is_named(tmp_path: Path) -> None:
    folder = changed(tiny.write_folder("t5", tmp_path / "t5"), {"feed_forward_proj": "gated-laplace"}, {})
    with pytest.raises(UnsupportedModel, match="feed_forward_proj is 'gated-laplace'") as caught:
        adopt_folder(folder)
    assert "silu" in str(caught.value.hint)
    convert(tiny.write_folder("t5", tmp_path / "good"), tmp_path / "model.gguf", "F32")
    assert here("gguf", "set", tmp_path / "model.gguf", "t5.hidden_activation", "laplace", "--type", "STRING").code == 0
    with pytest.raises(FormatError, match=r"t5.hidden_activation is 'laplace', needed: one of relu"):
        pacos.load(tmp_path / "model.gguf")
