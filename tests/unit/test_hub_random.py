"""Random models: sound files, the same for the same seed, runnable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models import running

from pacos import backends
from pacos.errors import UsageError
from pacos.formats.gguf import read_gguf
from pacos.hub.random_model import PRESETS, _tokenizer, write_random_model
from pacos.text.tokenizer import Tokenizer


def test_a_seed_is_a_file(tmp_path: Path) -> None:
    shares: list[float] = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_random_model(tmp_path / name, preset="tiny", type="Q4_K_M", seed=seed, progress=shares.append)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    assert 0 <= min(shares) <= max(shares) < 1


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_M"])
def test_the_model_runs(kind: str, tmp_path: Path) -> None:
    write_random_model(tmp_path / "m.gguf", preset="tiny", type=kind)
    backend = backends.backend("reference")
    with read_gguf(tmp_path / "m.gguf") as archive:
        (logits,) = running.logits(archive, backend, [[5, 6, 7]], 1)
        text = "once upon a time"
        tokenizer = Tokenizer.from_metadata(archive.metadata)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert logits.shape == (1, PRESETS["tiny"].vocab_size)
    assert np.isfinite(logits).all()
    assert logits.std() > 0.01


def test_experts_are_stacked_and_quantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "moe", replace(PRESETS["tiny"], experts=4, experts_used=2))
    write_random_model(tmp_path / "m.gguf", preset="moe")
    with read_gguf(tmp_path / "m.gguf") as archive:
        stack = archive.tensors["blk.1.ffn_down_exps.weight"]
        assert (stack.shape, stack.type) == ((4, 256, 512), "Q6_K")
        assert archive.tensors["blk.0.ffn_gate_inp.weight"].type == "F32"
        (logits,) = running.logits(archive, backends.backend("reference"), [[5, 6, 7]], 1)
    assert np.isfinite(logits).all()


def test_the_large_vocabulary_is_sound() -> None:
    form = PRESETS["1b"]
    metadata = _tokenizer(form)
    tokens = metadata["tokenizer.ggml.tokens"].value
    assert len(tokens) == len(set(tokens)) == form.vocab_size
    known = set(tokens)
    merges = metadata["tokenizer.ggml.merges"].value
    assert all(set(merge.split(" ")) <= known and merge.replace(" ", "") in known for merge in merges)


def test_unknown_wishes_are_refused(tmp_path: Path) -> None:
    for wish in ({"preset": "900b"}, {"architecture": "bert"}, {"type": "Q9", "preset": "tiny"}):
        with pytest.raises(UsageError):
            write_random_model(tmp_path / "m.gguf", **wish)
    assert not list(tmp_path.iterdir())
