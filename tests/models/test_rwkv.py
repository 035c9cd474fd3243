"""RWKV 6 and 7 compute what their formulas say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from models import running, rwkv, rwkv6, tiny

from pacos import backends
from pacos.hub.adopt import open_model


@pytest.mark.parametrize("family", [rwkv, rwkv6])
@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_logits_agree_with_the_formulas(name: str, family: ModuleType, tmp_path: Path) -> None:
    archive, backend = open_model(family.write_file(tmp_path / "model.gguf")), backends.backend(name)
    prompts = [tiny.prompt(n) for n in (1, 7, 64, 300)]
    found = running.logits(archive, backend, prompts, tiny.KEPT)
    archive.close()
    backend.close()
    expected = [family.by_hand(prompt)[-tiny.KEPT :] for prompt in prompts]
    assert running.divergence(np.concatenate(expected), np.concatenate(found)) < 1e-6
