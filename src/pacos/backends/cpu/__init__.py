"""The CPU backend: weights stay in the mapped file, kernels are chosen for this machine at run time."""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from typing import TYPE_CHECKING

from pacos import native, quants
from pacos.errors import CapacityError, FormatError, NativeError, ShapeError, UnsupportedModel, UsageError

if TYPE_CHECKING:
    from pacos.backends.cpu.pages import CpuPages
    from pacos.backends.cpu.program import CpuProgram
    from pacos.ir.graph import Value
    from pacos.ir.plan import Plan
    from pacos.types import Archive, PageLayout

_MOST_THREADS = 1024


class CpuWeights:
    """Tensors where the file is mapped; nothing is copied. They stay mapped while this lives, whoever closes the file.

    Errors: UnsupportedModel naming type and tensor, FormatError when a tensor has not the bytes that its shape needs.
    """

    def __init__(self, archive: Archive, names: tuple[str, ...]) -> None:
        self._archive = archive
        self._views: list[memoryview] = []
        self.bytes = 0
        for name in names:
            entry = archive.tensors[name]
            self.bytes += entry.nbytes
            if entry.type == "I32":
                needed = 4 * math.prod(entry.shape)
            else:
                try:
                    row = quants.row_bytes(entry.type, entry.shape[-1])
                except UnsupportedModel as error:
                    raise UnsupportedModel(f"tensor '{name}' has type {entry.type}", hint=error.hint) from error
                needed = math.prod(entry.shape[:-1]) * row
            if needed != entry.nbytes:
                raise FormatError(f"tensor '{name}' {entry.shape} {entry.type} has {entry.nbytes} bytes, not {needed}")
            self._views.append(archive.data(name))

    def address(self, value: Value) -> int:
        """Address of the weight that a plan names. Errors: ShapeError when the plan was made for another file."""
        entry = self._archive.tensors.get(value.name)
        if entry is None or (tuple(entry.shape), entry.type) != (value.shape, value.dtype):
            raise ShapeError(f"the plan wants '{value.name}' as {value.dtype} {value.shape}, the file has {entry}")
        return self._archive.address(value.name)


class CpuBackend:
    """This machine's cores. `isa` is the instruction set in use, `threads` how many compute a step."""

    name = "cpu"

    def __init__(self, threads: int, isa: str, *, exact: bool = False) -> None:
        self.threads = threads
        self._exact = exact
        self.isa = isa
        create = native.function("pacos_pool_create", ctypes.c_void_p, [ctypes.c_int32])
        self._pool = int(create(threads) or 0)
        self._programs: weakref.WeakSet[CpuProgram] = weakref.WeakSet()
        if not self._pool:
            raise CapacityError(f"the system gives no {threads} threads", hint="use fewer threads (--threads)")

    def memory(self) -> int:
        """Bytes of main memory that are free."""
        from pacos.backends.cpu.resources import free_memory

        return free_memory()

    def upload(self, archive: Archive, names: tuple[str, ...]) -> CpuWeights:
        """Check that kernels can read the tensors where they are."""
        return CpuWeights(archive, names)

    def pages(self, count: int, layout: PageLayout, slots: int = 0) -> CpuPages:
        """Reserve pages, and slots for states. Errors: CapacityError with the bytes needed and free."""
        from pacos.backends.cpu.pages import CpuPages

        return CpuPages(count, layout, slots)

    def compile(self, plan: Plan, weights: CpuWeights, pages: CpuPages, max_tokens: int) -> CpuProgram:
        """Optimise a plan and make a native program of it.

        Errors: UnsupportedModel for what this backend lacks, ShapeError, CapacityError.
        """
        from pacos.backends.cpu.compile import compile_plan
        from pacos.backends.cpu.program import CpuProgram
        from pacos.ir.passes import optimise

        if not 1 <= max_tokens <= 1 << 20:
            raise ShapeError(f"a program for steps of {max_tokens} tokens: 1 to 1048576 are possible")
        if not self._pool:
            raise NativeError("the backend is closed")
        compiled = compile_plan(optimise(plan), weights.address, pages, max_tokens, exact=self._exact)
        program = CpuProgram(compiled, self._pool, self.isa, (weights, pages))
        self._programs.add(program)
        return program

    def close(self) -> None:
        """Close what programs are left and stop the threads."""
        for program in list(self._programs):
            program.close()
        if self._pool:
            native.function("pacos_pool_free", None, [ctypes.c_void_p])(self._pool)
        self._pool = 0


def isas() -> list[str]:
    """Instruction sets that this machine and this build have, best first."""
    found: bytes = native.function("pacos_cpu_isas", ctypes.c_char_p, [])()
    return found.decode().split()


def open_backend(threads: int = 0, isa: str | None = None, activations: str = "q8") -> CpuBackend:
    """The CPU backend; 0 threads means one for each core that this process may use.

    `isa` (or the environment's PACOS_ISA) forces an instruction set. Before quantised matrices `activations` are
    rounded to 8 bits ("q8", fast) or kept ("f32", exact). Errors: UsageError for one that is not here.
    """
    from pacos.backends.cpu.resources import physical_cores

    if not 0 <= threads <= _MOST_THREADS:
        raise UsageError(f"{threads} threads: 0 (one per core) to {_MOST_THREADS} are possible")
    if activations not in ("q8", "f32"):
        raise UsageError(f"activations {activations!r}: q8 and f32 are possible")
    wanted = isa or os.environ.get("PACOS_ISA", "")
    chosen = native.function("pacos_cpu_isa", ctypes.c_char_p, [ctypes.c_char_p])(wanted.encode())
    if chosen is None:
        raise UsageError(f"no instruction set {wanted!r} here", hint=f"this machine has: {', '.join(isas())}")
    return CpuBackend(threads or physical_cores(), chosen.decode(), exact=activations == "f32")
