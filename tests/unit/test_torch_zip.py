"""PyTorch's checkpoints: tensors are found and mapped, nothing is run, and other pickles are refused."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from models import running, tiny
from torch_builder import checkpoint, tensor_of, whole

from pacos import backends
from pacos.errors import FormatError
from pacos.formats import open_archive
from pacos.formats.pickled import unpickled
from pacos.hub.opening import open_model

DATA = Path(__file__).resolve().parents[1] / "data"


def test_tensors_of_a_training_program() -> None:
    """The file was written by PyTorch 2.13: two tensors share a storage, one is a parameter."""
    with open_archive(DATA / "checkpoint.pth") as archive:  # type: ignore[attr-defined]
        forms = {name: (entry.shape, entry.type) for name, entry in archive.tensors.items()}
        assert forms == {
            "a.weight": ((4, 6), "F32"),
            "b.weight": ((2, 6), "F32"),
            "half": ((2,), "F16"),
            "brain": ((1, 2), "BF16"),
            "whole": ((3,), "I64"),
            "param": ((3,), "F32"),
        }
        assert np.frombuffer(archive.data("a.weight"), "<f4").tolist() == list(range(24))
        assert np.frombuffer(archive.data("b.weight"), "<f4").tolist() == list(range(6, 18))
        assert np.frombuffer(archive.data("half"), "<f2").tolist() == [1.5, -2.0]
        assert np.frombuffer(archive.data("brain"), "<u2").tolist() == [0x3F00, 0x4040]
        assert np.frombuffer(archive.data("whole"), "<i8").tolist() == [1, -2, 3]


def test_a_view_with_strides_is_refused() -> None:
    with pytest.raises(FormatError, match=r"tensor t is a view with strides \(1, 6\)"):
        open_archive(DATA / "checkpoint_view.pth")


def test_a_folder_with_a_checkpoint_is_a_model(tmp_path: Path) -> None:
    folder = tiny.write_folder("llama", tmp_path / "safe")
    other = tmp_path / "torch"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("*.safetensors"))
    archive = open_archive(folder)
    tensors = {name: (one.type, one.shape, bytes(archive.data(name))) for name, one in archive.tensors.items()}
    archive.close()
    whole(other / "pytorch_model.bin", tensors)
    backend, found = backends.backend("cpu"), []
    for path in (folder, other):
        opened = open_model(path)
        found.append(running.logits(opened, backend, [tiny.prompt(7)], 2)[0])
        opened.close()
    backend.close()
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cos\nsystem\n(Vtrue\ntR.", "a call of os.system"),
        (b"cbuiltins\neval\n(V1\ntR.", "a call of builtins.eval"),
        (b"ctorch._utils\n_rebuild_tensor\n(tR.", "a call of torch._utils._rebuild_tensor"),
        (b"}(Vx\n(VexecP\n", "damaged"),
        (b"\x80\x02}(X\x01\x00\x00\x00a\x8a\xffu.", "damaged"),
        (b"I1\n" + b"\x94" * 5, "damaged"),
        (b"(" * 3000, "damaged"),
        (b".", "damaged"),
        (b"", "damaged"),
        (b"]q\x00h\x00a.", "0 tensors"),
        (b"\x80\x02cos\nsystem\n\x81.", "a call of os.system"),
        (b"\x80\x02}\x81.", "the operation NEWOBJ"),
    ],
    ids=str,
)
def test_other_pickles_are_refused_and_nothing_runs(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words):
        open_archive(checkpoint(tmp_path / "evil.pth", content, {}))


def test_a_pickle_of_python_with_plain_data() -> None:
    value = {"a": [1, 2.5, None, True], "b": ("text", (1, 2, 3, 4)), "c": {"d": []}, "big": 1 << 70}
    for protocol in (2, 3, 4, 5):
        assert unpickled(pickle.dumps(value, protocol), "here") == value


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tensor_of("t", "FloatStorage", "0", 0, (4, 4), (4, 1)), "ends at byte 64 of 32"),
        (tensor_of("t", "FloatStorage", "0", 1 << 40, (1,), (1,)), "ends at byte"),
        (tensor_of("t", "FloatStorage", "9", 0, (2,), (1,)), "its numbers are missing"),
        (tensor_of("t", "FloatStorage", "0", -1, (2,), (1,)), "damaged"),
        (tensor_of("t", "QInt8Storage", "0", 0, (2,), (1,)), "a call of torch.QInt8Storage"),
    ],
    ids=["beyond", "far", "missing", "negative", "unknown"],
)
def test_tensors_that_do_not_fit(made: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words):
        open_archive(checkpoint(tmp_path / "m.pth", b"}(" + made + b"u.", {"0": bytes(32)}))


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    made = tensor_of("t", "FloatStorage", "0", 0, (8,), (1,))
    path = checkpoint(tmp_path / "m.pth", b"}(" + made + b"u.", {"0": bytes(32)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match="compressed"):
        open_archive(path)


def test_truncated_and_mutated_checkpoints(tmp_path: Path) -> None:
    whole = (DATA / "checkpoint.pth").read_bytes()
    rng, path, said = np.random.default_rng(5), tmp_path / "m.pth", []
    for i in range(200):
        changed = bytearray(whole if i % 2 else whole[: int(rng.integers(5, len(whole)))])
        for at in rng.integers(30, len(changed), 3) if len(changed) > 30 else []:
            changed[at] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            open_archive(path).close()
        except FormatError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all(text.isprintable() for text in said)


def test_zip_files_of_other_programs_are_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    with pytest.raises(FormatError, match="a ZIP archive"):
        open_archive(tmp_path / "a.zip")
