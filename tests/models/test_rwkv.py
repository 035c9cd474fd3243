"""RWKV 7 computes what its formulas say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import running, rwkv, tiny

from pacos import backends
from pacos.hub.adopt import open_model


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_logits_agree_with_the_formulas(name: str, tmp_path: Path) -> None:
    archive, backend = open_model(rwkv.write_file(tmp_path / "model.gguf")), backends.backend(name)
    prompts = [tiny.prompt(n) for n in (1, 7, 64, 300)]
    found = running.logits(archive, backend, prompts, tiny.KEPT)
    archive.close()
    backend.close()
    expected = [rwkv.by_hand(prompt)[-tiny.KEPT :] for prompt in prompts]
    assert running.divergence(np.concatenate(expected), np.concatenate(found)) < 1e-6
