"""Put the parts of a step along one axis: the arrays that a program runs over."""

from __future__ import annotations

from array import array

from pacos.engine.scheduler import Part
from pacos.engine.sequence import Sequence
from pacos.types import Step

_MAX_ROW_BYTES = 64 << 20  # of results in one step, when a sequence wants many


class Batch:
    """Builds steps; while the same sequences generate on, the last step's arrays serve again.

    A step has `least_rows` rows of results at most, or more where they take little memory.
    """

    def __init__(self, row_floats: int, least_rows: int = 1) -> None:
        self._rows_max = max(least_rows, _MAX_ROW_BYTES // (4 * row_floats))
        self._generating: list[Sequence] = []
        self._step: Step | None = None

    def build(self, parts: list[Part]) -> tuple[Step, list[Part], list[int]]:
        """The step, its parts (those that want many rows may be cut shorter), and rows of each part."""
        step = self._step
        if step is not None and len(parts) == len(self._generating) and self._again(step, parts):
            return step, parts, [1] * len(parts)
        return self._fresh(parts)

    def _again(self, step: Step, parts: list[Part]) -> bool:
        tokens, positions, tables = step.tokens, step.positions, step.page_tables
        for place, (sequence, count) in enumerate(parts):
            if sequence is not self._generating[place] or count != 1 or sequence.pages is not tables[place]:
                return False
            positions[place] = sequence.computed
            if step.states_from is not None and step.states_to is not None:
                step.states_from[place], step.states_to[place] = sequence.state, sequence.next_state
            tokens[place] = sequence.tokens[sequence.computed]
        return True

    def _fresh(self, parts: list[Part]) -> tuple[Step, list[Part], list[int]]:
        tokens, positions, outputs, starts = array("i"), array("i"), array("i"), array("i", (0,))
        kept: list[Part] = []
        rows: list[int] = []
        for sequence, wanted_count in parts:
            places, count = self._outputs(sequence, wanted_count, self._rows_max - len(outputs))
            if count == 0:
                continue
            first = sequence.computed
            outputs.extend(len(tokens) + place - first for place in places)
            tokens.extend(sequence.tokens[first : first + count])
            positions.extend(range(first, first + count))
            starts.append(len(tokens))
            kept.append((sequence, count))
            rows.append(len(places))
        tables = tuple(sequence.pages for sequence, _ in kept)
        more = (_types(kept), *_slots(kept), _sources(kept), _scales(kept))
        step = Step(tokens, positions, starts, tables, outputs, *more)
        generating = all(count == 1 and sequence.sampler is not None for sequence, count in kept) and all(rows)
        self._step, self._generating = (step, [sequence for sequence, _ in kept]) if generating else (None, [])
        return step, kept, rows

    @staticmethod
    def _outputs(sequence: Sequence, count: int, free_rows: int) -> tuple[list[int], int]:
        """Places in the sequence whose rows are wanted, and how many tokens to compute for at most `free_rows`."""
        end = sequence.computed + count
        if sequence.sampler is not None:
            return ([end - 1] if end == len(sequence.tokens) else []), count
        if sequence.sink is None:
            return [], count
        wanted = sequence.sink.wanted
        last = sequence.rows_done
        while last < len(wanted) and wanted[last] < end:
            last += 1
        places = list(wanted[sequence.rows_done : last])
        if len(places) > free_rows:
            places = places[: max(0, free_rows)]
            count = places[-1] + 1 - sequence.computed if places else 0
        return places, count


def _slots(parts: list[Part]) -> tuple[array[int], array[int]] | tuple[None, None]:
    """Slots of the states before and after the step; who begins reads none, and names the one that it writes."""
    sequences = [sequence for sequence, _ in parts if sequence.next_state >= 0]
    if not sequences:
        return None, None
    written = array("i", (sequence.next_state for sequence in sequences))
    read = (sequence.state if sequence.computed else sequence.next_state for sequence in sequences)
    return array("i", read), written


def _sources(parts: list[Part]) -> array[int] | None:
    """How many tokens of each sequence an encoder reads, None when there is none."""
    lengths = array("i", (sequence.source for sequence, _ in parts))
    return lengths if any(lengths) else None


def _scales(parts: list[Part]) -> array[float] | None:
    """How strongly each adapter acts on each token, None when there are no adapters."""
    if not any(sequence.adapter_scales for sequence, _ in parts):
        return None
    found = array("f")
    for sequence, count in parts:
        found.extend(sequence.adapter_scales * count)
    return found


def _types(parts: list[Part]) -> array[int] | None:
    """Which of its two texts each token belongs to, None when all sequences have but one."""
    if not any(sequence.second for sequence, _ in parts):
        return None
    return array(
        "i",
        (
            int(0 < sequence.second <= place)
            for sequence, count in parts
            for place in range(sequence.computed, sequence.computed + count)
        ),
    )
