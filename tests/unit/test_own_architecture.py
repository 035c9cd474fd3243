"""A user's own file adds an architecture while Pacos runs: its folders open, convert and run like any other's."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from models import tiny

import pacos
from pacos.models import registry

OWN = '''
import pacos
from pacos.ir import ops
from pacos.models.blocks import attend, logits, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import sizes
from pacos.models.llama import NAMES

@pacos.architecture("unturned", hf=pacos.HuggingFace(("UnturnedForCausalLM",), NAMES, sizes), rope="")
def unturned(inputs, weights, hp):
    """Llama that does not know where its tokens stand."""
    x = ops.embed(inputs.tokens, weights["token_embd"])
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + attend(queries_keys_values(h, w, hp, i), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
'''


@pytest.fixture
def own_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FOUND", dict(registry._FOUND))
    (tmp_path / "unturned.py").write_text(OWN)
    runpy.run_path(str(tmp_path / "unturned.py"))


def test_an_own_architecture_runs_from_folder_and_file(own_family: None, tmp_path: Path) -> None:
    from pacos.hub.convert import convert

    folder = tiny.write_folder("llama", tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["UnturnedForCausalLM"]}))
    convert(folder, tmp_path / "model.gguf", "F32")
    found = []
    for path in (folder, tmp_path / "model.gguf"):
        with pacos.load(path, ctx_size=128) as llm:
            found.append(llm.generate(tiny.prompt(9), n_predict=8, temp=0).token_ids)
    assert found[0] == found[1]
    assert len(found[0]) > 0
