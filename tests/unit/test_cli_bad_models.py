"""Unusable model files: one line that says what, where and what to do; never a crash, a hang, a traceback."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import STORYTELLER, here
from gguf_builder import u32, u64
from patience import SECONDS

from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import TensorData, write_gguf

GOOD = STORYTELLER.read_bytes()
with read_gguf(STORYTELLER) as _archive:
    DATA_START = min(entry.offset for entry in _archive.tensors.values())
    DATA_END = max(entry.offset + entry.nbytes for entry in _archive.tensors.values())
TENSOR_LIST = GOOD.index(b"token_embd.weight") - 8


def refused(path: Path | str, *more: object, code: int = 3, command: str = "run") -> str:
    """The one line that a command must say about the model."""
    given = {"run": ("-p", "x", "-n", "1"), "show": (), "tokenize": ("x",), "perplexity": ("-f", __file__)}[command]
    start = time.monotonic()
    done = here(command, path, *given, *more)
    assert time.monotonic() - start < SECONDS, "a hang"
    assert done.code == code, done.err
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert lines[0].isprintable()
    assert "; " in lines[0], "there is no hint what to do"
    assert len(lines[0]) < 1500
    return lines[0]


def saved(folder: Path, content: bytes, name: str = "bad.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "size",
    [
        *(0, 1, 3, 4, 7, 8, 15, 16, 23, 24, 31, 40, 1000, TENSOR_LIST - 1, TENSOR_LIST, TENSOR_LIST + 30),
        *(DATA_START - 1, DATA_START, DATA_START + 1, (DATA_START + DATA_END) // 2, DATA_END - 1),
    ],
)
@pytest.mark.parametrize("command", ["run", "show"])
def test_truncated_at_every_section(size: int, command: str, tmp_path: Path) -> None:
    assert "bad.gguf" in refused(saved(tmp_path, GOOD[:size]), command=command)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"FUGG" + GOOD[4:5000], "bad.gguf"),
        (b"GGML" + GOOD[4:5000], "bad.gguf"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + bytes(100), "zip"),
        (b"\x7fELF" + bytes(100), "bad.gguf"),
        (b"<!DOCTYPE html><html>404</html>", "page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "lfs"),
        (GOOD[:4] + struct.pack(">I", 3) + GOOD[8:5000], "tensors, at most"),
        (GOOD[:4] + u32(1) + GOOD[8:5000], "tensor name"),
        (GOOD[:4] + u32(4) + GOOD[8:5000], "version 4"),
        (bytes(5000), "bad.gguf"),
        (b"Once upon a time" * 100, "bad.gguf"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:4].hex(),
)
def test_something_else_than_a_model(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in refused(saved(tmp_path, content)).lower()


@pytest.mark.parametrize("count", [2**64 - 1, 2**63, 2**60, 2**32])
@pytest.mark.parametrize("place", [8, 16], ids=["tensors", "metadata"])
def test_absurd_counts(count: int, place: int, tmp_path: Path) -> None:
    refused(saved(tmp_path, GOOD[:place] + u64(count) + GOOD[place + 8 :]))


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, TensorData]], object]) -> Path:
    """The storyteller with other metadata or tensors."""
    with read_gguf(STORYTELLER) as archive:
        metadata: dict[str, Any] = dict(archive.typed_metadata())
        tensors = {
            one.name: TensorData(one.name, one.shape, one.type, bytes(archive.data(one.name)))
            for one in archive.tensors.values()
        }
        change(metadata, tensors)
        write_gguf(path, metadata, tensors.values())
    return path


def metadata(**values: Any) -> Callable[[dict[str, Any], dict[str, TensorData]], object]:
    return lambda found, tensors: found.update({name.replace("__", "."): value for name, value in values.items()})


def without(name: str) -> Callable[[dict[str, Any], dict[str, TensorData]], object]:
    return lambda found, tensors: tensors.pop(name)


def without_key(name: str) -> Callable[[dict[str, Any], dict[str, TensorData]], object]:
    return lambda found, tensors: found.pop(name)


def tensor(name: str, shape: tuple[int, ...], kind: str, size: int) -> Callable[[dict[str, Any], Any], object]:
    return lambda found, tensors: tensors.update({name: TensorData(name, shape, kind, bytes(size))})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (metadata(general__architecture="alien"), "architecture 'alien' is not supported"),
        (metadata(general__architecture="lama"), "nearest: llama"),
        (without_key("general.architecture"), "general.architecture"),
        (without_key("llama.block_count"), "llama.block_count"),
        (metadata(llama__block_count=0), "llama.block_count"),
        (metadata(llama__block_count=2**32 - 1), "llama.block_count"),
        (metadata(llama__block_count="four"), "llama.block_count"),
        (metadata(llama__attention__head_count=7), "head_count"),
        (metadata(llama__embedding_length=2**31), "embedding_length"),
        (metadata(llama__rope__freq_base=-1.0), "freq_base"),
        (metadata(llama__expert_count=8), "expert"),
        (without("blk.0.attn_q.weight"), "blk.0.attn_q.weight"),
        (without("token_embd.weight"), "token_embd.weight"),
        (without("output_norm.weight"), "output_norm.weight"),
        (tensor("blk.1.attn_q.weight", (256, 128), "F32", 256 * 128 * 4), "shape"),
        (tensor("blk.1.attn_q.weight", (256, 256), "Q8_1", 256 * 8 * 36), "Q8_1"),
        (tensor("blk.1.attn_norm.weight", (256,), "F16", 512), "blk.1.attn_norm.weight"),
        (metadata(tokenizer__ggml__model="wordcloud"), "wordcloud"),
        (metadata(tokenizer__ggml__pre="nosuch"), "nosuch"),
        (without_key("tokenizer.ggml.tokens"), "tokenizer.ggml.tokens"),
        (without_key("tokenizer.ggml.model"), "tokenizer.ggml.model"),
        (metadata(tokenizer__ggml__tokens=["a", "b"]), "token"),
        (metadata(tokenizer__ggml__suppress_tokens=5), "suppress_tokens"),
        (metadata(tokenizer__ggml__suppress_tokens=[5000]), "suppress_tokens"),
        (metadata(general__architecture="\x1b[31mred"), "\\x1b[31mred"),
    ],
)
def test_a_sound_file_with_an_unusable_model(change: Any, words: str, tmp_path: Path) -> None:
    line = refused(rewritten(tmp_path / "odd.gguf", change))
    assert words in line
    assert "odd.gguf" in line


def test_an_unknown_tensor_type(tmp_path: Path) -> None:
    name = b"blk.0.attn_q.weight"
    place = GOOD.index(name) + len(name) + 4 + 2 * 8
    for number in (4, 200, 2**32 - 1):
        line = refused(saved(tmp_path, GOOD[:place] + u32(number) + GOOD[place + 4 :]))
        assert "blk.0.attn_q.weight" in line
        assert str(number) in line


@pytest.mark.parametrize("command", ["run", "show", "tokenize", "perplexity"])
def test_things_that_are_no_files(command: str, tmp_path: Path) -> None:
    assert "needed is a file" in refused(tmp_path, command=command) or "without a model" in refused(tmp_path)
    assert "no model" in refused(tmp_path / "missing.gguf", command=command)
    assert "did you mean storyteller" in refused("storyteler", command=command)
    saved(tmp_path, GOOD[:5000], "one.gguf")
    assert "one.gguf" in refused(tmp_path, command=command)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", command=command)
        refused("/dev/zero", command=command)


@pytest.mark.skipif(os.name != "posix", reason="permissions are another matter elsewhere")
def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, GOOD[:5000], "secret.gguf")
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything
        real = os.open

        def denied(name: Any, *more: Any, **given: Any) -> int:
            if os.fspath(name) == str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(name, *more, **given)

        monkeypatch.setattr(os, "open", denied)
    assert "secret.gguf" in refused(path)
    assert "permission" in refused(path).lower()


def test_a_context_larger_than_memory() -> None:
    line = refused("storyteller", "-c", "2000000000", code=4)
    assert "2000000000 tokens" in line
    assert "--ctx-size" in line


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "architectures" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["AlienForCausalLM"]}')
    assert "AlienForCausalLM" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": "' + "a" * 5000 + '"}')
    refused(tmp_path)
    (tmp_path / "config.json").write_text("{ broken")
    assert "config.json" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    refused(tmp_path)


def test_quantize_and_convert_leave_nothing_behind(tmp_path: Path) -> None:
    bad = saved(tmp_path, GOOD[: DATA_START + 1000])
    for arguments in (("quantize", bad, tmp_path / "out.gguf", "q8_0"), ("convert", tmp_path, tmp_path / "out.gguf")):
        done = here(*arguments)
        assert done.code == 3
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]
