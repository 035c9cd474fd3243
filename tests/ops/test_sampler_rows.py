"""The sampler's row kernels: every instruction set gives the bits of the baseline."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "src" / "pacos"
FLAGS = ("-std=c++20", "-O2", "-ffp-contract=off", "-Wno-psabi", f"-I{PACKAGE}", f"-I{PACKAGE / 'native'}")


def printed(folder: Path, compiler: str, table: str, flags: tuple[str, ...] = (), runner: tuple[str, ...] = ()) -> str:
    """What the checks print with a table of kernels."""
    program, kernels = str(folder / f"{table}-{Path(compiler).name}"), str(folder / f"{table}.o")
    subprocess.run(
        [compiler, *FLAGS, *flags, "-c", PACKAGE / "engine" / f"sampler_{table}.cpp", "-o", kernels], check=True
    )
    tested = f"-DPACOS_TESTED_ROWS=rows_{table}"
    command = [compiler, *FLAGS, tested, "-static", HERE / "sampler_checks.cpp", kernels, "-o", program]
    subprocess.run(command, check=True)
    return subprocess.run([*runner, program], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64") or not shutil.which("g++"), reason="needs g++ on x86")
def test_avx2_equals_the_baseline(tmp_path: Path) -> None:
    found = printed(tmp_path, "g++", "avx2", ("-mavx2", "-mfma", "-mf16c", "-mbmi2"))
    assert found == printed(tmp_path, "g++", "baseline")
    assert len(set(found.splitlines())) == 80


@pytest.mark.oracle
def test_aarch64_equals_x86(tmp_path: Path) -> None:
    cross, runner = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if not cross or not runner or not shutil.which("g++"):
        pytest.skip("needs g++, g++-aarch64-linux-gnu and qemu-user")
    assert printed(tmp_path, cross, "baseline", runner=(runner,)) == printed(tmp_path, "g++", "baseline")
