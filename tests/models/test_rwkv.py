"""Files of RWKV 6 as older converters made them compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from models import running, tiny

from pacos import backends, quants
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.convert import convert
from pacos.hub.opening import open_model


def write_older(source: Path, target: Path) -> None:
    """Shares apart in the last layer; rows that are halved behind each layer, and so what is added to them."""
    archive = open_model(source)
    metadata = {**archive.metadata, "rwkv6.rescale_every_n_layers": 1}
    tensors = {
        name: quants.dequantize(one.type, archive.data(name), one.shape) for name, one in archive.tensors.items()
    }
    archive.close()
    last = tiny.LAYERS - 1
    fused = tensors.pop(f"blk.{last}.time_mix_lerp_fused.weight")
    tensors |= {f"blk.{last}.time_mix_lerp_{one}.weight": row[0] for one, row in zip("wkvrg", fused, strict=True)}
    for layer in range(tiny.LAYERS):
        for name in ("time_mix_output", "channel_mix_value"):
            tensors[f"blk.{layer}.{name}.weight"] /= 2**layer
    data = [
        TensorData(name, x.shape, "F32", lambda x=x: [x.astype(np.float32).tobytes()]) for name, x in tensors.items()
    ]
    write_gguf(target, metadata, data)


def test_older_files_of_rwkv6_agree(tmp_path: Path) -> None:
    convert(tiny.write_folder("rwkv6", tmp_path / "folder"), tmp_path / "new.gguf", "F32")
    write_older(tmp_path / "new.gguf", tmp_path / "old.gguf")
    found = []
    for name in ("new", "old"):
        archive, backend = open_model(tmp_path / f"{name}.gguf"), backends.backend("cpu")
        found.append(running.logits(archive, backend, [tiny.prompt(64)], tiny.KEPT)[0])
        archive.close()
        backend.close()
    assert running.divergence(*found) < 1e-9
