"""Who computes what in the next step: generating sequences first, then pieces of prompts, within a token budget.

A sequence gets all pages of its prompt when it starts, and further pages one at a time. When none is left, the
newest sequence gives its pages back and is computed again later, with the same result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from pacos.engine.pages import PagePool
from pacos.engine.sequence import Sequence

Part = tuple[Sequence, int]  # a sequence and how many of its tokens to compute


class Scheduler:
    """The sequences of one engine, on its thread alone; `running` ones hold pages, oldest first.

    `whole` prompts are never cut: one that does not fit the rest of a step waits for the next.
    """

    def __init__(self, pool: PagePool, step_tokens: int, *, whole: bool = False) -> None:
        self.pool = pool
        self.step_tokens = step_tokens
        self.whole = whole
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0

    def __iter__(self) -> Iterator[Sequence]:
        return chain(self.running, self.waiting)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.running and not self.waiting

    def next_parts(self) -> list[Part]:
        """The next step, at most `step_tokens` tokens; empty only when idle. Cancelled sequences end here."""
        self._drop_cancelled()
        parts: list[Part] = []
        budget = self.step_tokens
        for sequence in self.running[:]:
            if budget and sequence.remaining == 1 and sequence.pages and self._reserve(sequence):
                parts.append((sequence, 1))
                budget -= 1
        for sequence in self.running:
            if budget and sequence.remaining > 1:
                budget -= self._add_prompt(sequence, budget, parts)
        while budget and self.waiting and len(self.running) < self.step_tokens and self._start(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.running.append(sequence)
            budget -= self._add_prompt(sequence, budget, parts)
        return parts

    def computed(self, sequence: Sequence, count: int) -> None:
        """Note that `count` more tokens of a sequence have their keys and values; full pages become known."""
        sequence.computed += count
        if not sequence.reuse:
            return
        size = self.pool.page_tokens
        while (sequence.published + 1) * size <= sequence.computed:
            place = sequence.published
            tokens = sequence.tokens[place * size : (place + 1) * size].tobytes()
            page, sequence.parent = self.pool.publish(sequence.parent, tokens, sequence.pages[place])
            sequence.pages[place] = page
            sequence.published += 1

    def retire(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Give back the pages of a sequence that ended; `keep` its computed content for others, or make it unknown."""
        if sequence in self.running:
            self.running.remove(sequence)
        if not keep:
            self.pool.forget(sequence.pages)
        elif sequence.reuse and sequence.published < len(sequence.pages):
            start = sequence.published * self.pool.page_tokens
            tail = sequence.tokens[start : sequence.computed].tobytes()
            self.pool.publish_tail(sequence.parent, tail, sequence.pages[sequence.published])
        self._release(sequence)

    def _drop_cancelled(self) -> None:
        for sequence in [one for one in self.running if one.cancelled]:
            sequence.finish("cancelled")
            self.retire(sequence)
        if self.waiting and any(one.cancelled for one in self.waiting):
            for sequence in self.waiting:
                if sequence.cancelled:
                    sequence.finish("cancelled")
            self.waiting = deque(one for one in self.waiting if not one.finished)

    def _reserve(self, sequence: Sequence) -> bool:
        """Make room for the next token; false when the sequence itself had to give way."""
        while sequence.computed >= len(sequence.pages) * self.pool.page_tokens:
            page = self.pool.allocate()
            if page is not None:
                sequence.pages.append(page)
                continue
            newest = self.running[-1]
            self._preempt(newest)
            if newest is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.pages)
        sequence.pages = sequence.pages[:0]
        sequence.computed = sequence.published = 0

    def _start(self, sequence: Sequence) -> bool:
        """Take known pages and allocate the rest of the prompt's; false, with nothing taken, when they are too many."""
        size = self.pool.page_tokens
        needed = -(-len(sequence.tokens) // size)
        if self.running and self.pool.available < needed + len(self.running):
            return False  # known pages might do, but the running ones will need some soon
        sequence.started()
        sequence.parent = self.pool.root(sequence.salt)
        if sequence.reuse:
            self._take_known(sequence)
        while len(sequence.pages) < needed:
            page = self.pool.allocate()
            if page is None:
                self._release(sequence)
                return False
            sequence.pages.append(page)
        if sequence.prompt_tokens == len(sequence.tokens):
            sequence.cached_tokens = sequence.computed
        return True

    def _take_known(self, sequence: Sequence) -> None:
        match = self.pool.match(sequence.salt, sequence.tokens, self._reusable(sequence))
        sequence.pages.extend(match.pages)
        sequence.parent = match.parent
        sequence.published = len(match.pages)
        sequence.computed = len(match.pages) * self.pool.page_tokens
        page = self.pool.copy_of(match.copied_page) if match.copied_page is not None else None
        if page is not None:
            sequence.pages.append(page)
            sequence.computed += match.copied_tokens

    @staticmethod
    def _reusable(sequence: Sequence) -> int:
        """Tokens that need not be computed: all before the first whose logits are wanted."""
        last = len(sequence.tokens) - 1
        sink = sequence.sink
        return min(last, sink.wanted[sequence.rows_done]) if sink is not None and sink.wanted else last

    def _add_prompt(self, sequence: Sequence, budget: int, parts: list[Part]) -> int:
        self._skip_known(sequence)
        count = min(budget, sequence.remaining)
        if self.whole and count < sequence.remaining:
            return 0
        parts.append((sequence, count))
        return count

    def _skip_known(self, sequence: Sequence) -> None:
        """Take over full pages that others computed since this sequence started."""
        size = self.pool.page_tokens
        while sequence.reuse and sequence.computed == sequence.published * size:
            end = sequence.computed + size
            if end > self._reusable(sequence):
                return
            known = self.pool.share(sequence.parent, sequence.tokens[sequence.computed : end].tobytes())
            if known is None:
                return
            self.pool.release((sequence.pages[sequence.published],))
            sequence.pages[sequence.published], sequence.parent = known
            sequence.published += 1
            sequence.computed = end
            if sequence.prompt_tokens == len(sequence.tokens):
                sequence.cached_tokens += size
