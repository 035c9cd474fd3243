"""The native code under AddressSanitizer and UBSan, and its threads under ThreadSanitizer, on small shapes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lacking(runtime: str) -> str:
    """What this machine has not, in words; nothing when the sanitizer can run."""
    if sys.platform != "linux":
        return "sanitizers run on Linux"
    if shutil.which("g++") is None:
        return "g++ is not installed"
    asked = subprocess.run(["g++", f"-print-file-name={runtime}"], capture_output=True, text=True, check=True)
    return "" if Path(asked.stdout.strip()).is_absolute() else f"g++ has no {runtime}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kind", "runtime"), [("address", "libasan.so"), ("thread", "libtsan.so")])
def test_native_code_is_clean_under(kind: str, runtime: str) -> None:
    """`scripts/sanitize` builds the library anew where it changed and runs the tests of native code against it."""
    if reason := lacking(runtime):
        pytest.skip(reason)
    environment = {**os.environ, "CXX": "g++"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "scripts" / "sanitize", kind], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert " passed" in done.stdout
