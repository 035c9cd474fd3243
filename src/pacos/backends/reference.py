"""The reference backend: runs a plan node by node with the ops' own numpy bodies, in f32, nothing fused or quantised.

It is the definition that every other backend is tested against.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pacos import quants
from pacos.backends import FIRST_MATRIX, InputSquares
from pacos.errors import Cancelled, CapacityError, ShapeError
from pacos.ir.graph import CacheSlot, Node, StateSlot
from pacos.ir.plan import Plan
from pacos.ir.registry import OPS
from pacos.lazy import need_numpy, np
from pacos.types import Archive, PageLayout, Step


class ReferenceWeights:
    """Tensors dequantised to f32 at first use."""

    def __init__(self, archive: Archive, names: tuple[str, ...]) -> None:
        self._archive = archive
        self._arrays: dict[str, Any] = {}
        self.bytes = sum(archive.tensors[name].nbytes for name in names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._arrays:
            entry = self._archive.tensors[name]
            if entry.type == "I32":
                self._arrays[name] = np.frombuffer(self._archive.data(name), np.int32).reshape(entry.shape)
            else:
                self._arrays[name] = quants.dequantize(entry.type, self._archive.data(name), entry.shape)
        return self._arrays[name]


class ReferencePages:
    """KV pages as numpy arrays of the storage types' blocks, one pair a layer.

    Shapes: keys [pages, page_tokens, bytes of a token's keys] u8, values likewise.
    """

    format = "reference 1"

    def __init__(self, count: int, layout: PageLayout, slots: int = 0) -> None:
        self.count = count
        self.slots = slots
        self.layout = layout
        size = (count, layout.page_tokens)
        try:
            self.keys = [_rows_of(layout.type_k, size, width) for width in layout.key_width]
            self.values = [_rows_of(layout.type_v, size, width) for width in layout.value_width]
            self.states = [np.zeros((slots, width), np.float32) for width in layout.states]
        except MemoryError as error:
            raise CapacityError(f"no memory for {count} pages", hint="use a smaller context") from error
        page_bytes = sum(array.nbytes for array in (*self.keys, *self.values))
        self.bytes = page_bytes + sum(array.nbytes for array in self.states)
        self.page_bytes = page_bytes // count

    def read(self, page: int) -> bytes:
        """The content of a page."""
        return b"".join(array[page].tobytes() for array in (*self.keys, *self.values))

    def fill(self, page: int, read: Callable[[list[memoryview]], bool]) -> bool:
        """Have `read` put what `self.read` gave where the page lies."""
        return read([memoryview(array[page]).cast("B") for array in (*self.keys, *self.values) if array[page].size])

    def copy(self, source: int, target: int) -> None:
        """Copy a whole page."""
        for part in (*self.keys, *self.values):
            part[target] = part[source]


def _rows_of(stored: str, size: tuple[int, int], width: int) -> Any:
    return np.zeros((*size, quants.row_bytes(stored, width)), np.uint8)


@dataclass
class LayerCache:
    """One layer's cache as the attention op sees it during a step."""

    pages: ReferencePages
    layer: int
    step: Step
    heads: int = 0

    def _slots(self, sequence: int, positions: Any) -> tuple[Any, Any]:
        size = self.pages.layout.page_tokens
        table = np.array(self.step.page_tables[sequence], np.int64)
        return table[positions // size], positions % size

    def append(self, k: Any, v: Any) -> None:
        """Store keys [T, K, E] and values [T, K, F] of the step."""
        self.heads = k.shape[1]
        for sequence, rows, positions in self._ranges():
            slots = self._slots(sequence, positions)
            for store, stored, x in self._stores(k, v):
                packed = np.frombuffer(quants.quantize(stored, x[rows], quick=True), np.uint8)
                store[slots] = packed.reshape(len(positions), -1)

    def _stores(self, k: Any, v: Any) -> tuple[tuple[Any, str, Any], ...]:
        layout = self.pages.layout
        return (self.pages.keys[self.layer], layout.type_k, k), (self.pages.values[self.layer], layout.type_v, v)

    def _ranges(self) -> Iterator[tuple[int, slice, Any]]:
        return _ranges(self.step)

    def sequences(self) -> Iterator[tuple[slice, Any, Any, Any, int]]:
        """Rows, positions, keys [N, K, E] and values [N, K, F] of each sequence, and how many are its source's."""
        for sequence, rows, positions in self._ranges():
            slots = self._slots(sequence, np.arange(int(positions.max()) + 1))
            layout = self.pages.layout
            widths = (layout.key_width[self.layer], layout.value_width[self.layer])
            keys, values = (
                quants.dequantize(stored, store[slots], (len(slots[0]), self.heads, width // self.heads))
                for store, stored, width in self._stores(*widths)
            )
            yield rows, positions, keys, values, self.step.sources[sequence] if self.step.sources is not None else 0


@dataclass
class CarriedState:
    """One part of the states as a recurrent op sees it during a step."""

    store: Any  # [slots, width]
    step: Step

    def sequences(self, shape: tuple[int, ...]) -> Iterator[tuple[slice, Any]]:
        """Rows of each sequence, and its state as an array of that shape, to be changed into the next one in place."""
        step = self.step
        if step.states_from is None or step.states_to is None:
            raise ShapeError("the model has states, and the step says no slots for them")
        for sequence, rows, positions in _ranges(step):
            state = np.zeros(shape, np.float32)
            if positions[0]:
                state[:] = self.store[step.states_from[sequence]].reshape(shape)
            yield rows, state
            self.store[step.states_to[sequence]] = state.reshape(-1)


def _ranges(step: Step) -> Iterator[tuple[int, slice, Any]]:
    """Number, rows and positions of each sequence."""
    starts = step.sequence_starts
    positions = np.array(step.positions, np.int64)
    for sequence in range(len(starts) - 1):
        rows = slice(starts[sequence], starts[sequence + 1])
        yield sequence, rows, positions[rows]


def _rows_of_matrix(x: Any, chosen: Any, matrix: int) -> Any:
    """Rows of x [T, K], or [T, U, K], that one of several matrices multiplies: its slots', or those that chose it."""
    if chosen is None:
        return x if x.ndim == 2 else x[:, matrix]
    rows, slots = np.nonzero(chosen == matrix)
    return x[rows] if x.ndim == 2 else x[rows, slots]


class ReferenceProgram:
    """A plan run by numpy."""

    def __init__(self, plan: Plan, weights: ReferenceWeights, pages: ReferencePages, max_tokens: int) -> None:
        self._plan = plan
        self._weights = weights
        self._pages = pages
        self.max_tokens = max_tokens
        self.result_width = int(plan.values[plan.result].shape[-1])
        self.bytes = 0
        self._cancelled = False
        self._squares: dict[tuple[int, ...], InputSquares] | None = None

    def run(self, step: Step) -> memoryview[float]:
        """One forward pass; logits f32 [R * V]. Errors: ShapeError; Cancelled after cancel()."""
        if len(step.tokens) > self.max_tokens:
            raise ShapeError(f"a step of {len(step.tokens)} tokens, at most {self.max_tokens} fit")
        values: dict[int, Any] = {}
        for number, value in enumerate(self._plan.values):
            if value.kind == "input":
                given = getattr(step, value.name)
                if value.name == "scales":
                    values[number] = np.array(given, np.float32).reshape(len(step.tokens), -1)
                    continue
                values[number] = np.zeros(len(step.tokens), np.int64) if given is None else np.array(given, np.int64)
            elif value.kind == "weight":
                values[number] = self._weights[value.name]
        for node in self._plan.nodes:
            if self._cancelled:
                self._cancelled = False
                raise Cancelled("the step was cancelled")
            results = self._run_node(node, values, step)
            values.update(zip(node.outputs, results, strict=True))
        logits: Any = np.ascontiguousarray(values[self._plan.result], np.float32)
        flat: memoryview[float] = memoryview(logits.reshape(-1).view(np.uint8)).cast("f")
        return flat

    def _run_node(self, node: Node, values: dict[int, Any], step: Step) -> tuple[Any, ...]:
        operands = [None if number is None else values[number] for number in node.inputs]
        attributes = dict(node.attributes)
        if isinstance(attributes.get("cache"), CacheSlot):
            attributes["cache"] = LayerCache(self._pages, attributes["cache"].layer, step)
        if isinstance(attributes.get("state"), StateSlot):
            attributes["state"] = CarriedState(self._pages.states[attributes["state"].number], step)
        result = OPS[node.op].body(*operands, **attributes)
        if self._squares is not None and node.op in FIRST_MATRIX:
            self._add_squares(self._squares, node, operands)
        return result if isinstance(result, tuple) else (result,)

    def observe(self, on: bool) -> None:
        """Start adding up the squares of what matrices are multiplied with, from zero, or stop."""
        self._squares = {} if on else None

    def squares(self) -> list[InputSquares]:
        """The sums since observe(True), of each node that multiplies by matrices and has run."""
        return [replace(one, sums=one.sums[:], rows=one.rows[:]) for one in (self._squares or {}).values()]

    def _add_squares(self, sums_of: dict[tuple[int, ...], InputSquares], node: Node, operands: list[Any]) -> None:
        first = FIRST_MATRIX[node.op]
        x, chosen = operands[0], operands[1] if first == 2 else None
        matrices = [number for number in node.inputs[first::2] if number is not None]
        count, columns = len(operands[first]) if first == 2 else 1, operands[first].shape[-1]
        if node.outputs not in sums_of:
            names = tuple(self._plan.values[number].name for number in matrices)
            sums, rows = array("d", bytes(8 * count * columns)), array("q", bytes(8 * count))
            sums_of[node.outputs] = InputSquares(names, sums, rows, chosen is not None)
        seen = sums_of[node.outputs]
        totals, counts = np.frombuffer(seen.sums).reshape(count, columns), np.frombuffer(seen.rows, np.int64)
        for matrix in range(count):
            mine = _rows_of_matrix(x, chosen, matrix) if first == 2 else x
            totals[matrix] += np.square(mine.astype(np.float64)).sum(axis=0)
            counts[matrix] += len(mine)

    def cancel(self) -> None:
        """End the run that is going on, or the next one, between two nodes; from any thread."""
        self._cancelled = True

    def close(self) -> None:
        """Nothing is held."""


class ReferenceBackend:
    """Numpy on this machine's main memory."""

    name = "reference"

    def memory(self) -> int:
        """Bytes free; numpy tells no limit, so the machine's own is for the caller to judge."""
        return 1 << 62

    def upload(self, archive: Archive, names: tuple[str, ...]) -> ReferenceWeights:
        """Dequantise tensors at first use."""
        return ReferenceWeights(archive, names)

    def pages(self, count: int, layout: PageLayout, slots: int = 0) -> ReferencePages:
        """Allocate pages, and slots for states."""
        return ReferencePages(count, layout, slots)

    def compile(
        self, plan: Plan, weights: ReferenceWeights, pages: ReferencePages, max_tokens: int
    ) -> ReferenceProgram:
        """Keep the plan; there is nothing to compile."""
        return ReferenceProgram(plan, weights, pages, max_tokens)

    def close(self) -> None:
        """Nothing is held."""


def open_backend(threads: int = 0, activations: str = "f32") -> ReferenceBackend:
    """The reference backend: numpy decides about threads, and activations are exact whatever is asked.

    Errors: UsageError without numpy.
    """
    need_numpy("the reference backend")
    return ReferenceBackend()
