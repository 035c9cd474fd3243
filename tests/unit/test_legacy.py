"""Models from before GGUF: one random model in every container gives the same logits; old blocks; damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import llama_builder as lb
import numpy as np
import pytest
from commands import here
from models import running
from shared_files import shared

import pacos
from pacos import backends, quants
from pacos.errors import FormatError, ModelError, ModelNotFound, UnsupportedModel
from pacos.formats import open_archive
from pacos.formats.legacy_blocks import old_block, todays_blocks

PROMPT = [1, 5, 270, 280, 261, 287, 100]
CONTAINERS = [("ggml", 0), ("ggmf", 1), ("ggjt", 1), ("ggjt", 2), ("ggjt", 3)]
LEGACY_EPSILON, LLAMA2C_EPSILON = 5e-6, 1e-5


def logits(path: Path) -> np.ndarray:
    backend, archive = backends.backend("cpu"), open_archive(path)
    try:
        return running.logits(archive, backend, [PROMPT], 3)[0]
    finally:
        archive.close()
        backend.close()


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return lb.random_weights()


@pytest.fixture(scope="module")
def gguf(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lb.save_gguf(tmp_path_factory.mktemp("gguf") / "built.gguf", weights, LEGACY_EPSILON)


@pytest.mark.parametrize(("family", "version"), CONTAINERS)
def test_one_model_in_every_legacy_container(
    family: str, version: int, weights: dict[str, np.ndarray], gguf: Path, tmp_path: Path
) -> None:
    path = lb.save_legacy(tmp_path / "model.bin", weights, family, version)
    assert np.array_equal(logits(path), logits(gguf))
    with open_archive(path) as old, open_archive(gguf) as new:  # type: ignore[attr-defined]
        for key, value in new.metadata.items():
            assert old.metadata[key] == pytest.approx(value) if key.endswith("epsilon") else key in old.metadata
        for key in ("tokens", "token_type", "scores"):
            found, wanted = (list(one.metadata[f"tokenizer.ggml.{key}"]) for one in (old, new))
            assert found == wanted


@pytest.mark.parametrize("version", [0, 1])
def test_one_model_in_every_llama2c_file(version: int, weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    wanted = lb.save_gguf(tmp_path / "built.gguf", weights, LLAMA2C_EPSILON)
    path = lb.save_llama2c(tmp_path / "model.bin", weights, version)
    assert np.array_equal(logits(path), logits(wanted))
    with open_archive(path) as found, open_archive(wanted) as gguf_file:  # type: ignore[attr-defined]
        assert list(found.metadata["tokenizer.ggml.tokens"]) == list(gguf_file.metadata["tokenizer.ggml.tokens"])


def test_llama2c_groups_are_eight_bit_blocks(weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = lb.save_llama2c(tmp_path / "model.bin", weights, 2)
    with open_archive(path) as archive:  # type: ignore[attr-defined]
        for name in ("tok_embeddings.weight", "layers.1.feed_forward.w2.weight"):
            there = lb.gguf_name(name)
            entry = archive.tensors[there]
            found = quants.dequantize(entry.type, archive.data(there), entry.shape)
            assert np.array_equal(found, lb.eight_bit(weights[name]))


def old_bytes(kind: str, version: int, codes: np.ndarray, floats: np.ndarray) -> bytes:
    """One block as the ggml of that version wrote it, code by code."""
    letter = "f" if kind in ("Q4_0", "Q4_1", "Q8_0") else "e"
    head = struct.pack(f"<{len(floats)}{letter}", *floats)
    if kind == "Q8_0":
        return head + codes.astype(np.int8).tobytes()
    fifth = sum((int(code) >> 4 & 1) << i for i, code in enumerate(codes))
    head += struct.pack("<I", fifth) if kind.startswith("Q5") else b""
    if version < 2:
        return head + bytes(int(codes[i]) & 15 | (int(codes[i + 1]) & 15) << 4 for i in range(0, 32, 2))
    return head + bytes(int(codes[i]) & 15 | (int(codes[i + 16]) & 15) << 4 for i in range(16))


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_old_blocks_hold_the_same_weights(kind: str, version: int) -> None:
    rng = np.random.default_rng(version)
    offset, levels = {"Q4_0": (8, 16), "Q4_1": (0, 16), "Q5_0": (16, 32), "Q5_1": (0, 32), "Q8_0": (0, 127)}[kind]
    raw, wanted = b"", []
    for _ in range(5):
        codes = rng.integers(-levels if kind == "Q8_0" else 0, levels, 32)
        floats = rng.uniform(0.01, 0.1, 2 if kind.endswith("_1") else 1).astype(np.float16)  # scales that F16 can hold
        raw += old_bytes(kind, version, codes, floats)
        values = np.float32(floats[0]) * (codes - offset).astype(np.float32)
        wanted.append(values + np.float32(floats[1]) if len(floats) > 1 else values)
    old = old_block(kind, version)
    if old is None:
        assert kind.startswith("Q5") and version == 2  # laid out as today
        return
    assert old.nbytes * 5 == len(raw)
    made = todays_blocks(memoryview(raw), old)
    found = quants.dequantize(kind, memoryview(made).cast("B"), (5, 32))
    assert np.array_equal(found, np.array(wanted, np.float32))


def test_scales_that_f16_cannot_hold_cost_little(weights: dict[str, np.ndarray], gguf: Path, tmp_path: Path) -> None:
    def encode(values: np.ndarray) -> bytes:
        blocks = values.reshape(-1, 32)
        scales = np.abs(blocks).max(axis=1) / np.float32(127)
        codes = np.rint(blocks / scales[:, None]).astype(np.int8)
        return np.concatenate([scales[:, None].view(np.uint8), codes.view(np.uint8)], axis=1).tobytes()

    path = lb.save_legacy(tmp_path / "model.bin", weights, "ggjt", 2, "Q8_0", encode)
    assert running.divergence(logits(gguf), logits(path)) < 2e-2  # what 8-bit weights and activations cost


@pytest.mark.parametrize("family", ["ggml", "ggmf"])
def test_parts_are_joined(family: str, weights: dict[str, np.ndarray], gguf: Path, tmp_path: Path) -> None:
    version = 0 if family == "ggml" else 1
    for part in range(2):
        halves = {}
        for name, values in weights.items():
            axis = 1 if name.endswith(("tok_embeddings.weight", "wo.weight", "w2.weight")) else 0
            halves[name] = values if values.ndim == 1 else np.ascontiguousarray(np.split(values, 2, axis)[part])
        lb.save_legacy(tmp_path / f"model.bin{'.1' * part}", halves, family, version)
    assert np.array_equal(logits(tmp_path / "model.bin"), logits(gguf))
    (tmp_path / "model.bin.1").unlink()
    with pytest.raises(ModelNotFound, match=r"model\.bin\.1: this part of the model is missing"):
        open_archive(tmp_path / "model.bin")
    lb.save_legacy(tmp_path / "model.bin.1", weights, family, version)
    with pytest.raises(FormatError, match="another than in the first part"):  # K-06
        open_archive(tmp_path / "model.bin")


def damaged(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "damaged.bin"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("family", list(lb.MAGICS))
def test_k01_a_magic_alone(family: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the file ends inside the header"):
        open_archive(damaged(tmp_path, lb.MAGICS[family]))


@pytest.mark.parametrize(
    "changed",
    [{"vocab": -1}, {"vocab": 1 << 30}, {"multiple": 0}, {"heads": 0}, {"rotary": 999}, {"width": 0}, {"layers": -5}],
    ids=str,
)
def test_k02_impossible_sizes(changed: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"damaged\.bin: "):
        open_archive(damaged(tmp_path, lb.legacy_header("ggjt", 1, **changed)))


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 70_000])
def test_k03_impossible_tokens(length: int, tmp_path: Path) -> None:
    head = bytearray(lb.legacy_header("ggmf", 1))
    head[36:40] = struct.pack("<I", length)
    with pytest.raises(FormatError, match="token 0 of 288"):
        open_archive(damaged(tmp_path, bytes(head) + bytes(80_000)))


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        (struct.pack("<3i", 3, 4, 0), FormatError),
        (struct.pack("<3i", 2, -1, 0), FormatError),
        (struct.pack("<5i", 2, 4, 99, 32, 32) + b"name", UnsupportedModel),
        (struct.pack("<5i", 2, 4, 4, 32, 32) + b"name", UnsupportedModel),  # K-08: Q4_2
        (struct.pack("<5i", 2, 4, 12, 256, 1) + b"name", UnsupportedModel),  # K quants came with GGJT 3
        (struct.pack("<5i", 2, 4, 0, 2**31 - 1, 2**31 - 1) + b"name", FormatError),
        (struct.pack("<5i", 2, 4, 2, 31, 1) + b"name" + bytes(64), FormatError),
        (struct.pack("<5i", 2, 4, 0, -8, -8) + b"name" + bytes(512), FormatError),
        (struct.pack("<5i", 2, 4, 0, 8, 8) + b"name", FormatError),  # K-05: the padding passes the end
    ],
)
def test_k04_impossible_tensors(tensor: bytes, error: type[ModelError], tmp_path: Path) -> None:
    with pytest.raises(error):
        open_archive(damaged(tmp_path, lb.legacy_header("ggjt", 1) + tensor))


@pytest.mark.parametrize(("family", "version"), [("ggjt", 4), ("ggmf", 2)])
def test_k08_unknown_versions(family: str, version: int, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=f"version {version}"):
        open_archive(damaged(tmp_path, lb.legacy_header(family, version)))


def test_k07_truncation_anywhere(weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    whole = lb.save_legacy(tmp_path / "model.bin", weights, "ggjt", 3).read_bytes()
    head = len(lb.legacy_header("ggjt", 3))
    rng = np.random.default_rng(7)
    ends = [*range(4, 60), head - 1, *range(head + 1, head + 40), *rng.integers(head, len(whole), 60), len(whole) - 1]
    for end in ends:
        with pytest.raises((FormatError, UnsupportedModel)):
            open_archive(damaged(tmp_path, whole[: int(end)]))


@pytest.mark.parametrize("container", ["ggjt", "ggml", "llama2c-0", "llama2c-1", "llama2c-2"])
def test_mutated_files_load_or_say_why(container: str, weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    family, _, number = container.partition("-")
    path = tmp_path / "model.bin"
    if number:
        lb.save_llama2c(path, weights, int(number))
    else:
        lb.save_legacy(path, weights, family, 3 if family == "ggjt" else 0)
    whole, rng, said = path.read_bytes(), np.random.default_rng(3), list[str]()
    for _ in range(200):
        changed = bytearray(whole)
        for at in rng.integers(0, 64 if rng.random() < 0.5 else 9000, rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        try:
            open_archive(damaged(tmp_path, bytes(changed))).close()
        except ModelError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(text.isprintable() for text in said)


def test_llama2c_of_another_length(weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    whole = lb.save_llama2c(tmp_path / "model.bin", weights, 1).read_bytes()
    for content in (whole[:-4], whole + b"more", whole[:100]):
        with pytest.raises(FormatError, match=r"damaged\.bin"):
            open_archive(damaged(tmp_path, content))


def test_llama2c_without_a_vocabulary_takes_numbers(weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = lb.save_llama2c(tmp_path / "model.bin", weights, 1)
    (tmp_path / "tokenizer.bin").unlink()
    archive = open_archive(path)
    assert archive.metadata["tokenizer.ggml.model"] == "no_vocab"
    assert "no tokenizer.bin beside it" in archive.warnings[0]  # type: ignore[attr-defined]
    archive.close()
    for done in (here("tokenize", path, "Once"), here("run", path, "-p", "Once")):
        assert done.code == 2
        assert "no tokenizer: it takes token ids alone" in done.err
    with pacos.load(path) as llm:
        assert llm.generate([1, 2], n_predict=2, temp=0).token_ids


def test_real_files_of_others(tmp_path: Path) -> None:
    for name, format_name in (("ggml-vocab-432578.bin", "GGML"), ("ggml-vocab-432610.bin", "GGMF 1")):
        archive = open_archive(shared(f"models/{name}"))
        assert archive.format == format_name  # type: ignore[attr-defined]
        assert list(archive.metadata["tokenizer.ggml.tokens"][:4]) == ["<unk>", "<s>", "</s>", "<0x00>"]
        archive.close()
    (tmp_path / "model.bin").write_bytes(shared("models/stories260K.bin").read_bytes())
    (tmp_path / "tokenizer.bin").write_bytes(shared("models/tok512.bin").read_bytes())
    assert np.array_equal(logits(tmp_path / "model.bin"), logits(shared("models/stories260K.gguf")))
