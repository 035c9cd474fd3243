"""Importance matrices: what is collected, files of both kinds, merging, statistics, and the command."""

from __future__ import annotations

import math
import signal
import struct
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
from commands import PROGRAM, STORYTELLER, environment, here
from patience import SECONDS, until

from pacos.engine.observe import Observation
from pacos.errors import FormatError, UsageError
from pacos.formats.imatrix import Entry, ImportanceMatrix, merged, read_imatrix, write_imatrix
from pacos.hub.importance import layers_of, statistics_of
from pacos.hub.random_model import PRESETS, Form, write_random_model
from pacos.llm import load

TEXT = "Once upon a time there was a little dog who wanted to see the moon. " * 40
TOKENS = list(range(3, 99))


def squares(path: Path, backend: str) -> dict[str, tuple[np.ndarray, list[int]]]:
    """What each tensor was multiplied with, from one chunk; exact activations, so that backends compare."""
    exact = {"activations": "f32", "cache_type_k": "f32", "cache_type_v": "f32"}
    with (
        load(path, ctx_size=len(TOKENS), parallel=1, backend=backend, batch_size=64, **exact) as llm,
        Observation(llm.engine.program, llm.engine.pages) as seen,
    ):
        scores = seen.run(TOKENS, range(40, 95), all_rows=True)
        found = seen.squares()
        assert scores == pytest.approx(llm.log_probabilities(TOKENS, 40), rel=1e-4)
    return {name: (np.frombuffer(one.sums), list(one.rows)) for one in found for name in one.tensors}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imatrix") / "mixture.gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "mixture", Form(2, 256, 4, 2, 64, 256, 1024, 2048, experts=4, experts_used=2))
        write_random_model(path, preset="mixture", type="F32", seed=1)
    return path


@pytest.mark.parametrize("kind", ["dense", "mixture"])
def test_the_cpu_sees_what_the_reference_sees(kind: str, mixture: Path) -> None:
    path = STORYTELLER if kind == "dense" else mixture
    found, expected = (squares(path, backend) for backend in ("cpu", "reference"))
    assert set(found) == set(expected)
    for name, (sums, rows) in expected.items():
        assert found[name][1] == rows, name
        np.testing.assert_allclose(found[name][0], sums, rtol=1e-4, err_msg=name)
    if kind == "mixture":
        assert sum(found["blk.1.ffn_down_exps.weight"][1]) == 2 * len(TOKENS)
        assert found["blk.0.ffn_gate_inp.weight"][1] == [len(TOKENS)]


def test_threads_and_batches_change_no_bit() -> None:
    kept = []
    for threads in (1, 3):
        with (
            load(STORYTELLER, ctx_size=96, parallel=1, threads=threads) as llm,
            Observation(llm.engine.program, llm.engine.pages) as seen,
        ):
            seen.run(TOKENS, range(0))
            kept.append([one.sums.tobytes() for one in seen.squares()])
    assert kept[0] == kept[1]


def small() -> ImportanceMatrix:
    routed = Entry(np.array([4, 8, 0, 0, 5, 5], np.float32), [4, 0, 5])
    return ImportanceMatrix(
        {"blk.0.a.weight": Entry(np.array([1, 2, 3], np.float32), [8]), "blk.0.b.weight": routed}, ["text.txt"], 2, 4
    )


def test_gguf_files_are_those_of_the_gguf_package(tmp_path: Path) -> None:
    write_imatrix(tmp_path / "a.gguf", small())
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    assert list(tensors) == [f"blk.0.{part}.weight.{kind}" for part in "ab" for kind in ("in_sum2", "counts")]
    np.testing.assert_array_equal(tensors["blk.0.b.weight.in_sum2"], [[4, 8], [0, 0], [5, 5]])
    np.testing.assert_array_equal(tensors["blk.0.b.weight.counts"], [[4], [0], [5]])
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["text.txt"]
    assert [reader.fields[f"imatrix.chunk_{part}"].contents() for part in ("count", "size")] == [2, 4]

    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text.txt"])
    writer.add_uint32("imatrix.chunk_count", 2)
    writer.add_uint32("imatrix.chunk_size", 4)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_imatrix(tmp_path / "b.gguf")
    assert (found.datasets, found.chunks, found.chunk_tokens) == (["text.txt"], 2, 4)
    np.testing.assert_array_equal(found.entries["blk.0.b.weight"].means(), [1, 2, 1, 1, 1, 1])


def test_the_old_files_count_in_chunks(tmp_path: Path) -> None:
    write_imatrix(tmp_path / "a.dat", small(), "dat")
    name_a, name_b = b"blk.0.a.weight", b"blk.0.b.weight"
    expected = struct.pack("<i", 2)
    expected += struct.pack("<i", 14) + name_a + struct.pack("<ii3f", 2, 3, 0.25, 0.5, 0.75)
    expected += struct.pack("<i", 14) + name_b + struct.pack("<ii6f", 2, 6, 2, 4, 2, 2, 2, 2)
    expected += struct.pack("<ii", 2, 8) + b"text.txt"
    assert (tmp_path / "a.dat").read_bytes() == expected
    found = read_imatrix(tmp_path / "a.dat")
    assert (found.datasets, found.chunks, found.chunk_tokens) == (["text.txt"], 2, 0)
    np.testing.assert_array_equal(found.entries["blk.0.a.weight"].means(), np.float32([1, 2, 3]) / 8)
    both = merged([found, small()], 4)
    assert both.entries["blk.0.a.weight"].rows == [16]
    np.testing.assert_array_equal(both.entries["blk.0.a.weight"].sums, [2, 4, 6])
    assert both.entries["blk.0.b.weight"].rows == [12, 8, 13]
    assert (both.chunks, both.datasets) == (4, ["text.txt", "text.txt"])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    write_imatrix(path, small(), "dat")
    whole = path.read_bytes()
    for end in (0, 3, 10, 30, len(whole) - 2):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError):
            read_imatrix(path)
    for data in (b"hello, this is no matrix", whole[:22] + struct.pack("<ii", 2, -5) + whole[30:]):
        path.write_bytes(data)
        with pytest.raises(FormatError):
            read_imatrix(path)
    with pytest.raises(FormatError, match="no importance matrix"):
        read_imatrix(STORYTELLER)
    damaged = small()
    damaged.entries["blk.0.a.weight"].sums[1] = math.nan
    write_imatrix(tmp_path / "nan.gguf", damaged)
    with pytest.raises(FormatError, match="not all numbers"):
        read_imatrix(tmp_path / "nan.gguf")


def test_matrices_of_different_models_do_not_add_up() -> None:
    other = ImportanceMatrix({"blk.0.a.weight": Entry(np.ones(4, np.float32), [8])}, [], 1, 4)
    with pytest.raises(UsageError, match=r"blk\.0\.a\.weight has 4 sums"):
        merged([small(), other], 4)
    with pytest.raises(UsageError, match="no entries"):
        write_imatrix("unused.gguf", ImportanceMatrix())


def test_statistics_by_hand() -> None:
    matrix = ImportanceMatrix({}, [], 1, 4)
    matrix.entries["blk.0.up.weight"] = Entry(np.array([4, 4, 4, 4], np.float32), [4])
    matrix.entries["blk.1.up.weight"] = Entry(np.array([0, 0, 0, 8], np.float32), [4])
    second, first = statistics_of(matrix)[::-1]
    assert (first.name, first.total, first.entropy, first.entropy_share) == ("blk.0.up.weight", 4, 2, 1)
    assert (second.total, second.mean, second.most, second.active, second.entropy) == (2, 0.5, 2, 0.25, 0)
    assert second.deviation == pytest.approx(math.sqrt(0.75))
    assert second.above == 0.25
    assert second.cosine == pytest.approx(0.5)
    assert [one.cosine for one in layers_of([first, second])] == pytest.approx([0, 0.5])


def test_the_command_collects_merges_and_shows(tmp_path: Path) -> None:
    text, made = tmp_path / "text.txt", tmp_path / "made.gguf"
    text.write_text(TEXT)
    collected = here(
        *("imatrix", STORYTELLER, "-f", text, "-o", made, "-c", 64, "--json", "--process-output"),
        *("--save-frequency", 4, "--chunks", 5, "--chunk", 1),
    )
    assert collected.code == 0, collected.err
    assert (collected.data["chunks"], collected.data["tensors"], collected.data["partial"]) == (5, 28, [])
    assert collected.data["tokens_scored"] == 5 * 31
    assert read_imatrix(tmp_path / "made.gguf.at_4").chunks == 4
    assert here("imatrix", STORYTELLER, "-f", text, "-o", made).code == 2  # it is there
    more = here("imatrix", STORYTELLER, "-f", text, "-o", made, "-c", 64, "--in-file", made, "--force", "--chunks", 2)
    assert more.out.startswith(f"{made}: 28 tensors, 7 chunks of 64 tokens; perplexity ")
    assert here("imatrix", "merge", made, made, "-o", tmp_path / "twice.dat").code == 0
    assert read_imatrix(tmp_path / "twice.dat").chunks == 14
    shown = here("imatrix", "show", made, "--json").data
    assert [one["layer"] for one in shown["layers"]] == [0, 1, 2, 3]
    assert "blk.0.ffn_down.weight" in {one["name"] for one in shown["tensors"]}
    assert "ffn_down" in here("imatrix", "show", tmp_path / "twice.dat").out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("-c", 4096), "tokens are too few"),
        (("--chunks", 0), "--chunks is 0"),
        (("-c", 2), "chunks of 2 tokens"),
        (("--in-file", STORYTELLER), "no importance matrix"),
        (("--chunk", 900), "tokens are too few"),
    ],
)
def test_what_cannot_be_collected_is_refused(given: tuple[object, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    outcome = here("imatrix", STORYTELLER, "-f", tmp_path / "text.txt", "-o", tmp_path / "x.gguf", *given)
    assert outcome.code in (2, 3)
    assert message in outcome.err
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows sends no SIGINT to a process alone")
def test_ctrl_c_keeps_what_was_collected(tmp_path: Path) -> None:
    text, made = tmp_path / "text.txt", tmp_path / "made.gguf"
    text.write_text(TEXT * 400)
    given = [*PROGRAM, "imatrix", STORYTELLER, "-f", text, "-o", made, "-c", "128", "--output-frequency", "2"]
    running = subprocess.Popen([str(one) for one in given], stderr=subprocess.PIPE, env=environment())
    until(made.exists)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 130
    assert b"chunks were read, and are saved" in err or read_imatrix(made).chunks % 2 == 0
    assert 2 <= read_imatrix(made).chunks < len(TEXT) * 400 // 128
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
