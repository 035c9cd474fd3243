"""Who owns which slot: the states that sequences of recurrent models carry, and checkpoints of them.

A step reads a sequence's state from one slot and leaves the next one in another, so a slot's content never changes
while anyone wants it: a step can be run again, and a checkpoint costs no copy, only a slot. It is named by the page
before it and the tokens since then, as pages are (pages.py). Slots that no sequence holds keep their checkpoints until
they are needed; the least recently used one goes first.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from pacos.engine.sequence import Sequence
from pacos.errors import PacosError

CHECKPOINT_PAGES = 8  # a long text leaves a checkpoint after so many pages each
SLOTS_OF_A_SEQUENCE = 2  # the state before a step, and the one after


class StatePool:
    """The slots of one engine, on its thread alone."""

    def __init__(self, slots: int, page_tokens: int) -> None:
        self.slots = slots
        self._page_tokens = page_tokens
        self._free = list(range(slots - 1, -1, -1))
        self._holders = [0] * slots
        self._names: list[tuple[Hashable, bytes] | None] = [None] * slots
        self._known: dict[Hashable, dict[bytes, int]] = {}  # slots by the page before and the tokens since
        self._cached: dict[int, None] = {}  # held by none, the next to evict first

    @property
    def sequences(self) -> int:
        """How many can run at a time."""
        return self.slots // SLOTS_OF_A_SEQUENCE

    @property
    def cached(self) -> int:
        """Checkpoints that no sequence holds."""
        return len(self._cached)

    def prepare(self, sequence: Sequence) -> None:
        """Have a slot for the state after a sequence's next step; one that was not computed serves again."""
        if sequence.next_state < 0:
            sequence.next_state = self._allocate()

    def advance(self, sequence: Sequence) -> None:
        """Take the state that a step has left; a checkpoint is kept where the sequence wanted one."""
        self._release(sequence.state)
        sequence.state, sequence.next_state = sequence.next_state, -1
        every = CHECKPOINT_PAGES * self._page_tokens
        if sequence.reuse and (sequence.computed == sequence.checkpoint or sequence.computed % every == 0):
            self.keep(sequence)

    def keep(self, sequence: Sequence) -> None:
        """Let others go on from where a sequence is."""
        if sequence.state < 0 or not sequence.reuse:
            return
        tail = sequence.tokens[sequence.published * self._page_tokens : sequence.computed].tobytes()
        siblings = self._known.setdefault(sequence.parent, {})
        if tail in siblings:
            self._touch(siblings[tail])
        elif self._names[sequence.state] is None:
            siblings[tail] = sequence.state
            self._names[sequence.state] = (sequence.parent, tail)
        if not siblings:
            del self._known[sequence.parent]

    def find(self, parent: Hashable, following: bytes) -> tuple[int, bytes] | None:
        """The slot of the longest text after that page which `following` begins with, and that text."""
        fitting = [tail for tail in self._known.get(parent, ()) if following.startswith(tail)]
        tail = max(fitting, key=len, default=None)
        return None if tail is None else (self._known[parent][tail], tail)

    def take(self, sequence: Sequence, slot: int) -> None:
        """Have a sequence go on from a checkpoint."""
        self._cached.pop(slot, None)
        self._holders[slot] += 1
        self._release(sequence.state)
        sequence.state = slot

    def drop(self, sequence: Sequence) -> None:
        """Let go of what a sequence holds."""
        self._release(sequence.state)
        self._release(sequence.next_state)
        sequence.state = sequence.next_state = sequence.checkpoint = -1

    def cut(self, sequence: Sequence, count: int) -> int:
        """How many of `count` tokens to compute until the next checkpoint.

        One lies before the last page of a prompt, which the next turn of a conversation begins with, and one before the
        last token of a prompt that other sequences share.
        """
        if not sequence.reuse:
            return count
        size, last = self._page_tokens, len(sequence.tokens) - 1
        every = CHECKPOINT_PAGES * size
        stops = [(sequence.computed // every + 1) * every, last // size * size]
        if sequence.leads:
            stops.append(last)
        end = sequence.computed + count
        ahead = [stop for stop in stops if sequence.computed < stop <= end]
        sequence.checkpoint = min(ahead, default=-1)
        return min(ahead, default=end) - sequence.computed

    def check(self, sequences: Iterable[Sequence]) -> None:
        """Prove that each slot is in one place and held as often as these sequences say.

        Errors: PacosError naming the first slot that is lost or owned twice.
        """
        holders = [0] * self.slots
        for sequence in sequences:
            for slot in (sequence.state, sequence.next_state):
                if slot >= 0:
                    holders[slot] += 1
        free = set(self._free)
        named = {slot for siblings in self._known.values() for slot in siblings.values()}
        for slot in range(self.slots):
            places = (slot in free) + (slot in self._cached) + (self._holders[slot] > 0)
            if places != 1 or holders[slot] != self._holders[slot]:
                raise PacosError(f"slot {slot}: in {places} places, {self._holders[slot]} of {holders[slot]} holders")
            if (slot in named) != (self._names[slot] is not None) or (slot in self._cached) > (slot in named):
                raise PacosError(f"slot {slot} is a checkpoint in one place only")

    def _allocate(self) -> int:
        if not self._free:
            if not self._cached:
                raise PacosError(f"all {self.slots} slots for states are held")
            slot = next(iter(self._cached))
            del self._cached[slot]
            self._forget(slot)
            self._free.append(slot)
        slot = self._free.pop()
        self._holders[slot] = 1
        return slot

    def _release(self, slot: int) -> None:
        if slot < 0:
            return
        self._holders[slot] -= 1
        if self._holders[slot] == 0:
            if self._names[slot] is None:
                self._free.append(slot)
            else:
                self._cached[slot] = None

    def _touch(self, slot: int) -> None:
        if slot in self._cached:
            del self._cached[slot]
            self._cached[slot] = None

    def _forget(self, slot: int) -> None:
        name = self._names[slot]
        if name is not None:
            self._names[slot] = None
            siblings = self._known[name[0]]
            del siblings[name[1]]
            if not siblings:
                del self._known[name[0]]
