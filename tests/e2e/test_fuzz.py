"""A short run of the fuzzer over each format; `scripts/fuzz FORMAT SECONDS` goes on for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import SECONDS

pytest.importorskip("atheris", reason="atheris has no wheel for this machine")
FUZZ = Path(__file__).resolve().parents[2] / "scripts" / "fuzz"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gguf", "safetensors", "ggjt", "llama2c", "torch"])
def test_no_mutated_file_does_harm(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), kind, "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done " in done.stderr
    assert not list(tmp_path.iterdir())  # nothing that failed was kept
