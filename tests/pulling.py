"""A fake hub with a repository of several models, and an empty store that pulls from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, fake_hub
from gguf_builder import two_tensors

from pacos.hub import download as download_module
from pacos.hub import fetching, web

Q4, Q8, BIG, TEXT = "tale-Q4_K_M.gguf", "tale-Q8_0.gguf", "split-Q5_K_M-0000{}-of-00002.gguf", "README.md"


def content(seed: int, size: int) -> bytes:
    """A sound model of that size, unlike every other one."""
    return bytes(two_tensors()) + random.Random(seed).randbytes(size)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(fetching, "SEGMENT_BYTES", 100_000)
    monkeypatch.setattr(download_module, "_POLL_SECONDS", 0.005)
    monkeypatch.setattr(download_module, "_SAVE_SECONDS", 0.02)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fake_hub() as made:
        monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "shared"))
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setenv("PACOS_OLLAMA_REGISTRY", made.url)
        made.repos["org/tale"] = {Q4: content(4, 500_000), Q8: content(8, 30_000), TEXT: b"# Tales\n"}
        made.repos["org/tale"] |= {BIG.format(i): content(i, 20_000) for i in (1, 2)}
        made.repos["org/tale"]["mmproj-F16.gguf"] = content(9, 5000)
        yield made
