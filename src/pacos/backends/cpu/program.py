"""A native program: one call runs a whole step, without the GIL."""

from __future__ import annotations

import ctypes
import threading
from array import array
from dataclasses import replace
from typing import Any

from pacos import native
from pacos.backends import FIRST_MATRIX, InputSquares, OpTime
from pacos.backends.cpu.compile import Compiled
from pacos.errors import Cancelled, CapacityError, NativeError, ShapeError
from pacos.types import Step

_CANCELLED = 1
_NO_MEMORY = -12
_FAULTS = {
    -1: "a step of {value} tokens, 1 to {last} are possible",
    -2: "sequence_starts are wrong at {at}: {value}; they must rise from 0 to the number of tokens",
    -3: "token {value} at {at} is not one of {bound}",
    -4: "position {value} at {at} is not below {bound}",
    -5: "position {value} at {at} does not follow {bound}; positions rise within a sequence",
    -6: "sequence {at} has pages for {bound} positions, its last one is {value}",
    -7: "sequence {at} uses page {value} of {bound}",
    -8: "output {value} at {at} is not one of the step's {bound} tokens",
    -10: "type {value} of token {at} is not one of {bound}",
    -9: "an index picks from rows whose number is not fixed",
    -11: "sequence {at} uses slot {value} of {bound} for its state",
    -13: "the model has states, and the step says no slots for them",
    -14: "the model reads a source first, and the step does not say how long those of its sequences are",
    -15: "sequence {at} has a source of {value} positions, needed: 1 to {bound}, where its part of the step begins",
    -16: "the model has adapters, and the step says no scales for them",
}


class CStep(ctypes.Structure):
    """pacos_step of pacos.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("tokens", "positions", "sequence_starts", "outputs", "types")),
        *((name, ctypes.c_void_p) for name in ("states_from", "states_to", "sources", "scales")),
        *((name, ctypes.c_void_p) for name in ("page_tables", "page_table_lengths")),
        *((name, ctypes.c_int32) for name in ("tokens_count", "sequences_count", "outputs_count")),
    )


class CFault(ctypes.Structure):
    """pacos_fault of pacos.h."""

    _fields_ = (("at", ctypes.c_int64), ("value", ctypes.c_int64), ("bound", ctypes.c_int64))


def _fault_text(code: int, fault: CFault) -> str:
    text = _FAULTS.get(code, f"the native program failed with code {code}")
    return text.format(at=fault.at, value=fault.value, bound=fault.bound, last=fault.bound - 1)


class CpuProgram:
    """A compiled plan; steps run one at a time.

    Units: `bytes` counts activations and scratch, and sixteen rows of logits; further rows take memory when used.
    """

    def __init__(self, compiled: Compiled, pool: int, isa: str, owners: tuple[Any, ...]) -> None:
        self._compiled = compiled
        self._owners = owners  # weights and pages whose addresses the program holds
        self._lock = threading.Lock()
        self.max_tokens: int = compiled.plan.max_tokens
        self.result_width = compiled.result_width
        self._handle = self._create(pool, isa)
        call = native.function("pacos_program_bytes", ctypes.c_int64, [ctypes.c_void_p])
        rows = max(1, compiled.logits_bytes // (4 * self.result_width))
        self.bytes = int(call(self._handle)) - compiled.logits_bytes // rows * (rows - min(rows, 16))
        self._run = native.function(
            "pacos_program_run", ctypes.c_int32, [ctypes.c_void_p, ctypes.POINTER(CStep), ctypes.POINTER(CFault)]
        )
        result = native.function("pacos_program_result", ctypes.c_void_p, [ctypes.c_void_p])(self._handle)
        floats = (ctypes.c_float * (rows * self.result_width)).from_address(result)
        self._logits: memoryview = memoryview(floats).cast("B").cast("f")  # type: ignore[assignment]

    def _create(self, pool: int, isa: str) -> int:
        arguments = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int32)]
        create = native.function("pacos_program_create", ctypes.c_void_p, arguments)
        code = ctypes.c_int32(0)
        handle = create(ctypes.addressof(self._compiled.plan), pool, isa.encode(), ctypes.byref(code))
        if handle:
            return int(handle)
        if code.value == _NO_MEMORY:
            size = self._compiled.plan.arena_bytes
            raise CapacityError(f"no memory for {size / 1e9:.2f} GB of activations", hint="use a smaller --batch-size")
        raise ShapeError(_fault_text(code.value, CFault()))

    def run(self, step: Step) -> memoryview:
        """One forward pass; logits f32 [R * V], valid until the next run.

        Errors: ShapeError saying what is wrong with the step; Cancelled after cancel().
        """
        lengths = [len(table) for table in step.page_tables]
        arrays = (step.tokens, step.positions, step.sequence_starts, step.outputs, *step.page_tables)
        types = step.tokens if step.types is None else step.types
        slots = [one for one in (step.states_from, step.states_to) if one is not None]
        sources = [] if step.sources is None else [step.sources]
        sequences = len(step.sequence_starts) - 1
        if any(array.typecode != "i" for array in (*arrays, types, *slots, *sources)):
            raise ShapeError('the arrays of a step must be array("i")')
        if not len(step.positions) == len(step.tokens) == len(types) or sequences != len(lengths) or sequences < 1:
            raise ShapeError(
                f"a step of {len(step.tokens)} tokens has {len(step.positions)} positions, {len(types)} types, "
                f"{len(step.sequence_starts)} sequence starts and {len(lengths)} page tables"
            )
        if slots and [len(one) for one in slots] != [sequences, sequences]:
            raise ShapeError(f"a step of {sequences} sequences has slots for {[len(one) for one in slots]}")
        if sources and len(sources[0]) != sequences:
            raise ShapeError(f"a step of {sequences} sequences has {len(sources[0])} sources")
        scales = self._scales(step)
        tables = (ctypes.c_void_p * sequences)(*(table.buffer_info()[0] for table in step.page_tables))
        c_lengths = (ctypes.c_int32 * sequences)(*lengths)
        addresses = [array.buffer_info()[0] for array in arrays[:4]]
        address = None if step.types is None else types.buffer_info()[0]
        states = [one.buffer_info()[0] for one in slots] or (None, None)
        source = sources[0].buffer_info()[0] if sources else None
        others = (*states, source, scales, ctypes.addressof(tables), ctypes.addressof(c_lengths))
        made = CStep(*addresses, address, *others)
        made.tokens_count, made.sequences_count = len(step.tokens), sequences
        made.outputs_count = len(step.outputs)
        fault = CFault()
        with self._lock:
            if not self._handle:
                raise NativeError("the program is closed")
            code = self._run(self._handle, ctypes.byref(made), ctypes.byref(fault))
        if code == _CANCELLED:
            raise Cancelled("the step was cancelled")
        if code:
            raise ShapeError(_fault_text(code, fault))
        rows = self._compiled.result_rows
        count = rows if isinstance(rows, int) else len(step.outputs) if rows == "R" else len(step.tokens)
        return self._logits[: count * self.result_width]

    def _scales(self, step: Step) -> int | None:
        """The address of a step's scales. Errors: ShapeError when it has other ones than the program's adapters."""
        wanted = len(step.tokens) * self._compiled.scales_width
        if step.scales is None or not wanted:
            return None
        if step.scales.typecode != "f" or len(step.scales) != wanted:
            raise ShapeError(f"a step has {len(step.scales)} scales of adapters, needed are {wanted} f32")
        return step.scales.buffer_info()[0]

    def cancel(self) -> None:
        """End the run that is going on, or the next one, early; from any thread."""
        if self._handle:
            native.function("pacos_program_cancel", None, [ctypes.c_void_p])(self._handle)

    def profile(self, on: bool) -> None:
        """Start timing every instruction from zero, or stop."""
        call = native.function("pacos_program_profile", None, [ctypes.c_void_p, ctypes.c_int32])
        with self._lock:
            call(self._handle, int(on))

    def times(self) -> list[OpTime]:
        """Each instruction, and its seconds since profile(True)."""
        times = self._compiled.times
        seconds = (ctypes.c_double * max(1, len(times)))()
        call = native.function("pacos_program_seconds", None, [ctypes.c_void_p, ctypes.c_void_p])
        with self._lock:
            call(self._handle, ctypes.addressof(seconds))
        return [replace(one, seconds=took) for one, took in zip(times, seconds, strict=False)]

    def observe(self, on: bool) -> None:
        """Start adding up the squares of what matrices are multiplied with, from zero, or stop."""
        call = native.function("pacos_program_observe", ctypes.c_int32, [ctypes.c_void_p, ctypes.c_int32])
        with self._lock:
            if call(self._handle, int(on)):
                raise CapacityError("no memory for the sums of what each matrix is multiplied with")

    def squares(self) -> list[InputSquares]:
        """The sums since observe(True), of each instruction that multiplies by matrices."""
        arguments = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p]
        call = native.function("pacos_program_squares", None, arguments)
        found = []
        for number, one in enumerate(self._compiled.times):
            first = FIRST_MATRIX.get(one.op)
            if first is None:
                continue
            matrices = [value for value in one.operands[first::2] if value is not None]
            shape = matrices[0].shape
            count, columns = int(shape[0]) if first == 2 else 1, int(shape[-1])
            sums, rows = array("d", bytes(8 * count * columns)), array("q", bytes(8 * count))
            with self._lock:
                call(self._handle, number, sums.buffer_info()[0], rows.buffer_info()[0])
            routed = first == 2 and one.operands[1] is not None
            found.append(InputSquares(tuple(value.name for value in matrices), sums, rows, routed))
        return found

    def close(self) -> None:
        """Free the program's memory; logits handed out are dead."""
        with self._lock:
            if self._handle:
                native.function("pacos_program_free", None, [ctypes.c_void_p])(self._handle)
            self._handle = 0
            self._owners = ()
