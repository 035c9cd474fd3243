"""Files from before DeepSeek's matrices were split for latent attention compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import running, tiny

import pacos
from pacos import backends, quants
from pacos.errors import UsageError
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.convert import convert
from pacos.hub.opening import open_model

CASE = "deepseek2"


def write_older(source: Path, target: Path) -> None:
    """The same model with one matrix for keys and values, and whole keys in the cache."""
    archive = open_model(source)
    key = "deepseek2.attention."
    metadata = dict(archive.metadata)
    for name in ("key_length", "value_length"):
        metadata[key + name] = metadata.pop(f"{key}{name}_mla")
    metadata[f"{key}head_count_kv"] = metadata[f"{key}head_count"]
    tensors = {
        name: quants.dequantize(one.type, archive.data(name), one.shape) for name, one in archive.tensors.items()
    }
    for i in range(metadata["deepseek2.block_count"]):
        keys, values = tensors.pop(f"blk.{i}.attn_k_b.weight"), tensors.pop(f"blk.{i}.attn_v_b.weight")
        both = np.concatenate([keys.swapaxes(1, 2), values], axis=1)
        tensors[f"blk.{i}.attn_kv_b.weight"] = both.reshape(-1, both.shape[-1])
    archive.close()
    data = [TensorData(name, x.shape, "F32", lambda x=x: x.astype(np.float32).tobytes()) for name, x in tensors.items()]
    write_gguf(target, metadata, data)


def test_older_files_of_deepseek_agree(tmp_path: Path) -> None:
    convert(tiny.write_folder(CASE, tmp_path / CASE), tmp_path / "new.gguf", "F32")
    write_older(tmp_path / "new.gguf", tmp_path / "old.gguf")
    prompts = [tiny.prompt(64)]
    found = []
    for name in ("new", "old"):
        archive, backend = open_model(tmp_path / f"{name}.gguf"), backends.backend("cpu")
        found.append(running.logits(archive, backend, prompts, tiny.KEPT)[0])
        archive.close()
        backend.close()
    assert running.divergence(*found) < 1e-9


def test_a_context_beyond_what_an_indexer_leaves_whole_is_refused(tmp_path: Path) -> None:
    path = tiny.write_gguf("deepseek32", tmp_path)
    with pytest.raises(UsageError, match="ctx_size is 513; beyond 512 an indexer picks keys"):
        pacos.load(path, ctx_size=513)
    with pacos.load(path, ctx_size=512, threads=1) as llm:
        assert len(llm.generate([3, 4, 5], n_predict=2, ignore_eos=True).token_ids) == 2
