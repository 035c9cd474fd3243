"""Row and attention kernels of instruction sets that this machine lacks, in an emulator: the portable table's bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "src" / "pacos"
CPU = PACKAGE / "backends" / "cpu"
FLAGS = (
    *("-std=c++20", "-O1", "-DPACOS_NOT_UNROLLED", "-fno-strict-aliasing", "-ffp-contract=off"),
    *(f"-I{PACKAGE}", f"-I{PACKAGE / 'native'}"),
)


def check(folder: Path, compiler: list[str], table: str, flags: tuple[str, ...], runner: list[str]) -> None:
    """Compile the checks and both tables, run them, and expect no kernel that differs."""
    objects = []
    sources = {
        "checks": HERE / "row_checks.cpp",
        "portable": CPU / "rows_portable.cpp",
        table: CPU / f"rows_{table}.cpp",
    }
    for name, source in sources.items():
        own = flags if name == table else (f"-DPACOS_TESTED_ROWS=rows_{table}",)
        objects.append(str(folder / f"{name}.o"))
        subprocess.run([*compiler, *FLAGS, *own, "-c", str(source), "-o", objects[-1]], check=True)
    program = str(folder / "checks")
    subprocess.run([*compiler, "-static", *objects, "-o", program], check=True)
    done = subprocess.run([*runner, program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
@pytest.mark.oracle
def test_avx512_rows_emulated(tmp_path: Path) -> None:
    if not shutil.which("g++") or not Path("/usr/include/simde/x86/avx512.h").is_file():
        pytest.skip("needs g++ and libsimde-dev")
    flags = ("-mavx2", "-mfma", "-mf16c", "-w", "-include", str(HERE / "emulated_x86.hpp"))
    check(tmp_path, ["g++"], "avx512", flags, [])


@pytest.mark.slow
@pytest.mark.oracle
def test_neon_rows_emulated(tmp_path: Path) -> None:
    compiler, runner = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if not compiler or not runner:
        pytest.skip("needs g++-aarch64-linux-gnu and qemu-user")
    check(tmp_path, [compiler], "neon", (), [runner])
