"""Matrix kernels of instruction sets that this machine lacks, built and run in emulators, against the numpy definition.

x86 sets run on SIMDe's headers (package libsimde-dev, on a CPU with AVX2), NEON sets under qemu-aarch64 (package
qemu-user), compiled with g++-aarch64-linux-gnu or with zig, which builds its C library at the first use.
"""

from __future__ import annotations

import functools
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from linear_reference import Floats, linear, same_bits

from pacos.quants import block_formats, dequantize, quantize, row_bytes

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "build"))
from compile import INCLUDE_FOLDERS, INSTRUCTION_SETS, write_generated, zig_program  # noqa: E402

KERNELS = ROOT / "src" / "pacos" / "backends" / "cpu"
OPS = ROOT / "tests" / "ops"
ON_SIMDE = ("avxvnni", "avx512", "amx")
ON_QEMU = ("neon", "neondot", "neoni8mm")
BORROWS = {  # tables whose functions others take
    "avxvnni": ("avx2",),
    "avx512": ("avx2",),
    "amx": ("avx2", "avx512"),
    "neon": (),
    "neondot": ("neon",),
    "neoni8mm": ("neon",),
}
CROSS = "aarch64-linux-gnu-g++"
ZIG = ("c++", "-target", "aarch64-linux-musl", "-nostdlib++", "-fno-exceptions", "-fno-sanitize=undefined")

# Unoptimised, because SIMDe's loops take minutes to optimise and seconds to run as they are.
FLAGS = (
    *("-std=c++20", "-O0", "-DPACOS_NOT_UNROLLED", "-ffp-contract=off", "-w"),
    *(f"-I{folder}" for folder in INCLUDE_FOLDERS),
)
SHAPES = ((1, 21, 768), (2, 18, 512), (3, 21, 768), (8, 21, 256), (13, 35, 2304), (33, 16, 256))  # n, rows, columns

Case = tuple[str, bytes, list[Floats]]


def missing(isa: str) -> str:
    """What must be installed before an instruction set can be emulated here; empty when nothing."""
    if isa in ON_QEMU:
        lacking = [] if shutil.which(CROSS) or zig_program() else ["g++-aarch64-linux-gnu or ziglang"]
        lacking += [] if shutil.which("qemu-aarch64") else ["qemu-user"]
    else:
        lacking = [] if shutil.which("g++") else ["g++"]
        lacking += [] if Path("/usr/include/simde/x86/avx512.h").is_file() else ["libsimde-dev"]
        lacking += [] if platform.machine() in ("x86_64", "AMD64") else ["an x86 processor"]
    return ", ".join(lacking)


def build(isa: str, folder: Path) -> list[str]:
    """Build the kernels of an instruction set; returns the command that runs them."""
    write_generated()
    program = str(folder / isa)
    flags = [
        *FLAGS,
        f"-DPACOS_TESTED=kernels_{isa}",
        *(str(KERNELS / f"kernels_{name}.cpp") for name in (isa, *BORROWS[isa])),
        str(OPS / "kernel_requests.cpp"),
    ]
    if isa in ON_QEMU:
        _, for_gcc, for_zig = INSTRUCTION_SETS[isa]
        compiler = [CROSS, *for_gcc] if shutil.which(CROSS) else [str(zig_program()), *ZIG, *for_zig]
        _run([*compiler, "-static", *flags, "-o", program])
        return ["qemu-aarch64", "-cpu", "max", program]
    emulated = ["-include", str(OPS / "emulated_x86.hpp"), "-Wno-psabi"]
    _run(["g++", *INSTRUCTION_SETS["avx2"][1], *emulated, *flags, "-o", program])
    return [program]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr[-4000:]}")


@functools.cache
def cases() -> tuple[Case, ...]:
    """Name, request and expected arrays for every format: sane weights and random bytes, with and without bias."""
    return tuple(_cases())


def _cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for fmt in block_formats():
        for n, rows, columns in SHAPES:
            if n in (1, 13):
                data = quantize(fmt.name, rng.normal(size=(rows, columns)))
            else:
                data = rng.bytes(rows * row_bytes(fmt.name, columns))
            x = rng.normal(size=(n, columns)).astype(np.float32)
            bias = rng.normal(size=rows).astype(np.float32) if n == 2 else None
            head = struct.pack("<5i", fmt.type_id, rows, columns, n, bias is not None)
            request = head + data + x.tobytes() + (b"" if bias is None else bias.tobytes())
            expected = [dequantize(fmt.name, data, (rows, columns)), linear(fmt, data, rows, x, bias)]
            yield f"{fmt.name} n={n}", request, expected


def differences(command: Sequence[str], folder: Path) -> list[str]:
    """The cases whose answers differ from the definition in any bit."""
    (folder / "requests").write_bytes(b"".join(request for _, request, _ in cases()))
    _run([*command, str(folder / "requests"), str(folder / "answers")])
    answers, at, wrong = np.fromfile(folder / "answers", np.float32), 0, []
    for name, _, expected in cases():
        for what, array in zip(("dequantize", "linear"), expected, strict=True):
            found = answers[at : at + array.size]
            at += array.size
            if found.size != array.size or not same_bits(found.reshape(array.shape), array):
                wrong.append(f"{what} {name}")
    return wrong if at == answers.size else [*wrong, "length"]
