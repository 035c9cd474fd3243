"""Sequences that wait for their turn: by priority, then in fair shares for each owner, then in order of arrival.

An owner's share is measured in tokens computed for it. One that comes back after a pause starts level with the least
served of those that are here: it neither pays for the past nor saves up for later.
Source: the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models", 2024.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from pacos.engine.sequence import Sequence
from pacos.errors import CapacityError

_OWNERS_MAX = 4096  # whose shares are remembered after they left, while others go on
Urgency = tuple[int, bool, int, int]


class Queue:
    """Any thread adds, cancels, and asks for a position, the engine's alone takes out.

    `places` bounds how many wait of those that generate, 0 not: one call may score or embed thousands of texts.
    """

    def __init__(self, places: int = 0, on_cancel: Callable[[], None] | None = None) -> None:
        self.places = places
        self._on_cancel = on_cancel
        self._disturbed = False
        self._next_deadline = math.inf
        self._levels: dict[int, dict[str, deque[Sequence]]] = {}  # by rank, by owner
        self._served: dict[str, int] = {}
        self._present: dict[str, int] = {}  # sequences of each owner, waiting or running
        self._arrivals = 0
        self._count = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sequence]:
        with self._lock:
            return iter(sorted(self._waiting(), key=self.urgency))

    def add(self, sequences: Iterable[Sequence]) -> None:
        """Let new sequences wait, all or none. Errors: CapacityError when there are not enough places."""
        sequences = tuple(sequences)
        with self._lock:
            self._check_places(sequences)
            for sequence in sequences:
                self._arrivals += 1
                sequence.arrival, sequence.line = self._arrivals, self
                self._disturbed |= sequence.cancelled
                self._next_deadline = min(self._next_deadline, sequence.deadline)
                self._enter_owner(sequence.owner)
                self._line(sequence).append(sequence)
                self._count += 1

    def put_back(self, sequence: Sequence) -> None:
        """Let a sequence wait that was running, before the others of its owner."""
        with self._lock:
            self._line(sequence).appendleft(sequence)
            self._count += 1

    def head(self, *, oldest: bool = False) -> Sequence | None:
        """Whose turn it is, or who waits longest; None when nobody can start."""
        if not self._count:
            return None
        with self._lock:
            lines = [line for owners in self._levels.values() for line in owners.values()]
            heads = [one for line in lines if (one := next(filter(_can_start, line), None)) is not None]
        return min(heads, key=_arrival if oldest else self.urgency, default=None)

    def take(self, sequence: Sequence) -> None:
        """Take a sequence out of the queue."""
        with self._lock:
            owners = self._levels[sequence.rank]
            line = owners[sequence.owner]
            line.remove(sequence)
            self._count -= 1
            if not line:
                del owners[sequence.owner]
            if not owners:
                del self._levels[sequence.rank]

    def lift(self, sequence: Sequence, rank: int) -> None:
        """Give a waiting sequence another rank."""
        self.take(sequence)
        sequence.rank = rank
        self.put_back(sequence)

    def cancelled(self, sequence: Sequence) -> None:
        """Note that a sequence was cancelled, which may be waiting."""
        self._disturbed = True
        if self._on_cancel is not None:
            self._on_cancel()

    def due(self, now: float) -> list[Sequence]:
        """Waiting sequences that were cancelled or are late."""
        if not self._disturbed and now < self._next_deadline:
            return []
        with self._lock:
            self._disturbed = False  # before the look: who is cancelled during it sets it again
            waiting = self._waiting()
            self._next_deadline = min((one.deadline for one in waiting if one.deadline > now), default=math.inf)
        return [one for one in waiting if one.cancelled or one.deadline <= now]

    def left(self, sequence: Sequence) -> None:
        """Note that a sequence ended, wherever it was."""
        with self._lock:
            rest = self._present[sequence.owner] - 1
            if rest:
                self._present[sequence.owner] = rest
            else:
                del self._present[sequence.owner]

    def served(self, sequence: Sequence, tokens: int) -> None:
        """Count tokens computed for a sequence's owner."""
        with self._lock:
            self._served[sequence.owner] += tokens

    def urgency(self, sequence: Sequence) -> Urgency:
        """Orders sequences, the most urgent first: by rank, those that had to give way, by share, by arrival."""
        return (-sequence.rank, not sequence.interrupted, self._served.get(sequence.owner, 0), sequence.arrival)

    def position(self, sequence: Sequence) -> int:
        """Place in the queue, 1 is next, as things stand: owners take turns. 0 when it does not wait."""
        with self._lock:
            owners = self._levels.get(sequence.rank, {})
            own = owners.get(sequence.owner, deque())
            if sequence not in own:
                return 0
            turn = list(own).index(sequence)
            above = [line for rank in self._levels if rank > sequence.rank for line in self._levels[rank].values()]
            urgency = self.urgency(own[0])
            beside = [(line, turn + (self.urgency(line[0]) < urgency)) for line in owners.values() if line is not own]
        return 1 + turn + sum(map(len, above)) + sum(min(len(line), turns) for line, turns in beside)

    def _check_places(self, sequences: Iterable[Sequence]) -> None:
        asked = sum(one.sink is None for one in sequences)
        if not self.places or not asked:
            return
        taken = sum(one.sink is None for one in self._waiting())
        if taken + asked > self.places:
            problem = f"the queue is full: {taken} of {self.places} places are taken, {asked} asked for"
            raise CapacityError(problem, hint="try again later")

    def _waiting(self) -> list[Sequence]:
        return [one for owners in self._levels.values() for line in owners.values() for one in line]

    def _line(self, sequence: Sequence) -> deque[Sequence]:
        return self._levels.setdefault(sequence.rank, {}).setdefault(sequence.owner, deque())

    def _enter_owner(self, owner: str) -> None:
        if owner not in self._present:
            if not self._present or len(self._served) > _OWNERS_MAX:
                self._served = {other: self._served[other] for other in self._present}
            level = min(map(self._served.__getitem__, self._present), default=0)
            self._served[owner] = max(self._served.get(owner, 0), level)
        self._present[owner] = self._present.get(owner, 0) + 1


def _can_start(sequence: Sequence) -> bool:
    led = sequence.leader is not None and not sequence.leader.answered and not sequence.leader.finished
    return not led and not sequence.stalled


def _arrival(sequence: Sequence) -> Urgency:
    return (sequence.arrival, False, 0, 0)
