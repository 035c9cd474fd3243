"""One random Llama model in every container of before GGUF, put together byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.formats.llama_files import LlamaShape, gguf_name, vocabulary_metadata

WIDTH, HIDDEN, LAYERS, HEADS, VOCAB, CONTEXT, MULTIPLE = 64, 192, 2, 4, 288, 2048, 32
MAGICS = {"ggml": b"lmgg", "ggmf": b"fmgg", "ggjt": b"tjgg"}
TYPE_IDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8}
SHAPE = LlamaShape(WIDTH, HIDDEN, LAYERS, HEADS, HEADS, CONTEXT, VOCAB)

Weights = Mapping[str, np.ndarray]
Encoder = Callable[[np.ndarray], bytes]


def pieces() -> tuple[list[bytes], list[float]]:
    """A vocabulary: three special pieces, 256 bytes, letters and pairs of letters."""
    found = [" ⁇ ".encode(), b"", b"", *(bytes([byte]) for byte in range(256))]
    letters = " abcdefghijklmnopqrstuvwxyz"
    found += [letter.encode() for letter in letters] + [b" a", b"th"]
    assert len(found) == VOCAB
    return found, [0.0] * 259 + [-float(i) for i in range(VOCAB - 259)]


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors under Meta's names, in F32."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * 0.2).astype(np.float32)

    weights = {"tok_embeddings.weight": matrix(VOCAB, WIDTH), "output.weight": matrix(VOCAB, WIDTH)}
    weights["norm.weight"] = rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
    for i in range(LAYERS):
        for name in ("wq", "wk", "wv", "wo"):
            weights[f"layers.{i}.attention.{name}.weight"] = matrix(WIDTH, WIDTH)
        weights[f"layers.{i}.feed_forward.w1.weight"] = matrix(HIDDEN, WIDTH)
        weights[f"layers.{i}.feed_forward.w2.weight"] = matrix(WIDTH, HIDDEN)
        weights[f"layers.{i}.feed_forward.w3.weight"] = matrix(HIDDEN, WIDTH)
        for name in ("attention_norm", "ffn_norm"):
            weights[f"layers.{i}.{name}.weight"] = rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
    return weights


def save_gguf(path: Path, weights: Weights, epsilon: float) -> Path:
    """Today's container."""
    named = {gguf_name(name): values for name, values in weights.items()}
    tensors = [TensorData(str(name), v.shape, "F32", lambda v=v: iter([v.tobytes()])) for name, v in named.items()]
    write_gguf(path, SHAPE.metadata("built", epsilon) | vocabulary_metadata(*pieces()), tensors)
    return path


def legacy_header(family: str, version: int, **changed: int) -> bytes:
    """Magic, version, sizes and vocabulary; `changed` sizes are lies."""
    sizes = {"vocab": VOCAB, "width": WIDTH, "multiple": MULTIPLE, "heads": HEADS, "layers": LAYERS}
    sizes |= {"rotary": WIDTH // HEADS, "ftype": 0, **changed}
    head = MAGICS[family] + (b"" if family == "ggml" else struct.pack("<I", version))
    head += struct.pack("<7i", *sizes.values())
    for piece, score in zip(*pieces(), strict=True):
        head += struct.pack("<I", len(piece)) + piece + (b"" if family == "ggml" else struct.pack("<f", score))
    return head


def legacy_tensor(at: int, family: str, name: str, shape: tuple[int, ...], type_id: int, data: bytes) -> bytes:
    """A tensor's header and bytes, to stand at byte `at` of the file."""
    head = struct.pack("<3i", len(shape), len(name), type_id)
    head += struct.pack(f"<{len(shape)}i", *reversed(shape)) + name.encode()
    padding = -(at + len(head)) % 32 if family == "ggjt" else 0
    return head + bytes(padding) + data


def save_legacy(
    path: Path, weights: Weights, family: str, version: int, kind: str = "F32", encode: Encoder = np.ndarray.tobytes
) -> Path:
    """GGML, GGMF or GGJT; matrices in `kind`, as `encode` lays them out."""
    content = bytearray(legacy_header(family, version))
    for name, values in weights.items():
        vector = values.ndim == 1
        data = values.tobytes() if vector else encode(values)
        type_id = 0 if vector else TYPE_IDS[kind]
        content += legacy_tensor(len(content), family, name, values.shape, type_id, data)
    path.write_bytes(content)
    return path


def save_llama2c(path: Path, weights: Weights, version: int, group: int = 64) -> Path:
    """llama2.c's file of version 0, 1 or 2, with its vocabulary beside it."""
    sizes = struct.pack("<7i", WIDTH, HIDDEN, LAYERS, HEADS, HEADS, -VOCAB if version == 0 else VOCAB, CONTEXT)
    matrices = ("attention.wq", "attention.wk", "attention.wv", "attention.wo")
    matrices += ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")

    def layers(part: str) -> list[np.ndarray]:
        return [weights[f"layers.{i}.{part}.weight"] for i in range(LAYERS)]

    embedding, norm, output = (weights[f"{name}.weight"] for name in ("tok_embeddings", "norm", "output"))
    if version == 0:
        angles = np.zeros((CONTEXT, WIDTH // HEADS), np.float32)
        order = [embedding, *layers("attention_norm"), *(w for part in matrices[:4] for w in layers(part))]
        order += [*layers("ffn_norm"), *(w for part in matrices[4:] for w in layers(part)), norm, angles, output]
        content = sizes + b"".join(values.tobytes() for values in order)
    else:
        head = b"24ka" + struct.pack("<i", version) + sizes + b"\0"
        head += struct.pack("<i", group) if version == 2 else b""
        vectors = [*layers("attention_norm"), *layers("ffn_norm"), norm]
        rest = [embedding, *(w for part in matrices for w in layers(part)), output]
        encode: Encoder = np.ndarray.tobytes if version == 1 else lambda values: _grouped(values, group)
        content = (
            head.ljust(256, b"\0") + b"".join(values.tobytes() for values in vectors) + b"".join(map(encode, rest))
        )
    path.write_bytes(content)
    words = [f"<0x{i - 3:02X}>".encode() if 3 <= i < 259 else piece for i, piece in enumerate(pieces()[0])]
    words[:3] = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
    listed = b"".join(
        struct.pack("<fi", score, len(word)) + word for word, score in zip(words, pieces()[1], strict=True)
    )
    path.with_name("tokenizer.bin").write_bytes(struct.pack("<i", max(map(len, words))) + listed)
    return path


def _grouped(values: np.ndarray, group: int) -> bytes:
    rows = values.reshape(-1, group)
    scales = np.abs(rows).max(axis=1) / np.float32(127)
    return np.rint(rows / scales[:, None]).astype(np.int8).tobytes() + scales.astype("<f4").tobytes()


def eight_bit(values: np.ndarray, group: int = 64) -> np.ndarray:
    """What a llama2.c file of version 2 makes of weights, its scales in F16."""
    rows = values.reshape(-1, group)
    scales = np.abs(rows).max(axis=1) / np.float32(127)
    codes = np.rint(rows / scales[:, None]).astype(np.float32)
    made: Any = codes * scales.astype(np.float16).astype(np.float32)[:, None]
    return np.asarray(made.reshape(values.shape), np.float32)
