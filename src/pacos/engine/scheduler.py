"""Who computes what in the next step: generating sequences first, then pieces of prompts, within a token budget.

A sequence gets all pages of its prompt when it starts, and further pages one at a time. When none is left, the least
urgent sequence gives its pages back and is computed again later, with the same result. Of prompts the most urgent
comes first (queue.py); now and then, who waits longest, so that nobody waits for ever.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Hashable, Iterator
from itertools import chain

from pacos.engine.known import KnownPages
from pacos.engine.pages import PagePool
from pacos.engine.queue import Queue
from pacos.engine.sequence import Sequence
from pacos.engine.snapshot import PromptCache
from pacos.engine.states import StatePool

Part = tuple[Sequence, int]  # a sequence and how many of its tokens to compute

_READERS_WEIGHT = 3  # those who read answers count as much as so many who wait for a first token
_OLDEST_TURN = 16  # of so many starts one is the longest waiting sequence's, whatever its priority


class Scheduler:
    """The sequences of one engine, on its thread alone but for `queue`.

    `running` ones hold pages: the highest priority first, then the oldest, so the last one gives way. `whole` prompts
    are never cut: one that does not fit the rest of a step waits for the next.
    """

    def __init__(
        self,
        pool: PagePool,
        step_tokens: int,
        queue: Queue | None = None,
        *,
        whole: bool = False,
        prompt_cache: PromptCache | None = None,
        states: StatePool | None = None,
    ) -> None:
        self.pool = pool
        self.states = states
        self._known = KnownPages(pool, prompt_cache)
        self.step_tokens = step_tokens
        self.whole = whole
        self.queue = Queue() if queue is None else queue
        self.running: list[Sequence] = []
        self._source_room = step_tokens  # what an encoder may still read in this step
        self.preemptions = 0
        self.starts = 0
        self.shifts = 0
        self.tokens_computed = self.tokens_reused = self.prompts_reused = self.sequences = 0

    def __iter__(self) -> Iterator[Sequence]:
        return chain(self.running, self.queue)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.running and not len(self.queue)

    def next_parts(self) -> list[Part]:
        """The next step, at most `step_tokens` tokens. Who was cancelled or is late ends here.

        Empty when idle, while pages come from disk, or when consumers are too far behind.
        """
        self._drop_ended()
        self._make_way()
        parts: list[Part] = []
        budget = self._source_room = self.step_tokens
        for sequence in self.running[:]:
            ready = budget and sequence.remaining == 1 and sequence.pages and not sequence.stalled
            if ready and self._reserve(sequence):
                parts.append((sequence, 1))
                budget -= 1
        self._add_prompts(min(budget, self._beside_answers()) if parts else budget, parts)
        if self.states is not None:
            for sequence, _ in parts:
                self.states.prepare(sequence)
        return parts

    def _beside_answers(self) -> int:
        """Tokens of prompts in a step whose end answers wait for: the more prompts there are, the more of the step."""
        prompts = sum(one.remaining > 1 for one in self.running) + len(self.queue)
        return self.step_tokens if self.whole else -(-self.step_tokens * prompts // (prompts + _READERS_WEIGHT))

    def computed(self, sequence: Sequence, count: int) -> None:
        """Note that `count` more tokens of a sequence have their keys and values; full pages become known."""
        sequence.computed += count
        self.tokens_computed += count
        self.queue.served(sequence, count)
        if sequence.reuse:
            self._publish(sequence)
        if self.states is not None:
            self.states.advance(sequence)

    def _publish(self, sequence: Sequence) -> None:
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
        else:
            self.queue.take(sequence)
        if keep:
            self._keep(sequence)
        else:
            self.pool.forget(sequence.pages)
        self._release(sequence)
        self.queue.left(sequence)
        self.sequences += 1
        self.tokens_reused += sequence.cached_tokens
        self.prompts_reused += sequence.cached_tokens > 0

    def _keep(self, sequence: Sequence) -> None:
        self._known.keep(sequence)
        if self.states is not None:
            self.states.keep(sequence)

    def shift(self, sequence: Sequence) -> None:
        """Go on with a text that has filled its context."""
        self._release(sequence)
        sequence.shift()
        self.shifts += 1
        if not self._start(sequence):
            self._give_way(sequence)

    def _drop_ended(self) -> None:
        now = time.perf_counter()
        for sequence in chain(self.running[:], self.queue.due(now)):
            if sequence.cancelled or sequence.deadline <= now:
                sequence.finish("cancelled" if sequence.cancelled else "deadline")
                self.retire(sequence)

    def _add_prompts(self, budget: int, parts: list[Part]) -> None:
        prompts = sorted((one for one in self.running if one.remaining > 1), key=self.queue.urgency)
        starting = True
        while budget and (prompts or starting):
            head = self._next() if starting else None
            if head is not None and (not prompts or self.queue.urgency(head) < self.queue.urgency(prompts[0])):
                starting = self._admit(head)
                if starting:
                    budget -= self._add_prompt(head, budget, parts)
            elif prompts:
                budget -= self._add_prompt(prompts.pop(0), budget, parts)
            else:
                starting = False

    def _next(self) -> Sequence | None:
        """Who starts next. The longest waiting one's turn lifts it to the highest priority, which it keeps."""
        if self.starts % _OLDEST_TURN != _OLDEST_TURN - 1:
            return self.queue.head()
        oldest, urgent = self.queue.head(oldest=True), self.queue.head()
        if oldest is not None and urgent is not None and oldest.rank < urgent.rank:
            self.queue.lift(oldest, urgent.rank)
        return oldest

    def _make_way(self) -> None:
        """Let the least important sequences wait for a more important one that has no room, or stalled ones for any."""
        head = self.queue.head()
        while head is not None and self.running and self.running[-1].rank < head.rank and not self._has_room(head):
            self._preempt(self.running[-1])
        while head is not None and not self._has_room(head):
            stalled = next((one for one in reversed(self.running) if one.stalled), None)
            if stalled is None:
                break
            self._preempt(stalled)

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether there are pages for its prompt, and one more for each running sequence."""
        if not self.running:
            return True
        most = self.step_tokens if self.states is None else min(self.step_tokens, self.states.sequences)
        if len(self.running) >= most:
            return False
        needed = self._pages_of(sequence) + len(self.running)
        if self.pool.available >= needed:
            return True
        shared = self.pool.shared(sequence.salt, sequence.tokens, sequence.reusable) if sequence.reuse else 0
        return self.pool.available >= needed - shared

    def _pages_of(self, sequence: Sequence) -> int:
        return -(-len(sequence.tokens) // self.pool.page_tokens)

    def _admit(self, sequence: Sequence) -> bool:
        """Start a sequence; false when there is no room."""
        if not self._has_room(sequence) or not self._start(sequence):
            return False
        self.queue.take(sequence)
        sequence.interrupted = False
        place = sum(one.rank >= sequence.rank for one in self.running)
        self.running.insert(place, sequence)
        self.starts += 1
        return True

    def _reserve(self, sequence: Sequence) -> bool:
        """Make room for the next token; false when the sequence itself had to give way."""
        while sequence.computed >= len(sequence.pages) * self.pool.page_tokens:
            page = self.pool.allocate()
            if page is not None:
                sequence.pages.append(page)
                continue
            last = self.running[-1]
            self._preempt(last)
            if last is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        if self.states is not None:
            self._keep(sequence)  # its pages alone could not be gone on from
        self._release(sequence)
        self._give_way(sequence)
        self.preemptions += 1

    def _give_way(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        sequence.interrupted = True
        self.queue.put_back(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.pages)
        sequence.pages = sequence.pages[:0]
        sequence.computed = sequence.published = 0
        if self.states is not None:
            self.states.drop(sequence)

    def _start(self, sequence: Sequence) -> bool:
        """Take known pages and allocate the rest of the prompt's; false, with nothing taken, when they are too many."""
        needed = self._pages_of(sequence)
        sequence.parent = self.pool.root(sequence.salt)
        if sequence.reuse and self.states is not None:
            self._take_checkpoint(sequence, self.states)
        elif sequence.reuse:
            self._take_known(sequence)
        while len(sequence.pages) < needed:
            page = self.pool.allocate()
            if page is None:
                self._release(sequence)
                return False
            sequence.pages.append(page)
        if not sequence.answered:
            sequence.cached_tokens = sequence.computed
        sequence.started()
        return True

    def _take_known(self, sequence: Sequence) -> None:
        least = (1,) if sequence.source else ()  # a source is read whole, or not at all
        match = self.pool.match(sequence.salt, sequence.tokens, sequence.reusable, *least)
        sequence.pages.extend(match.pages)
        sequence.parent = match.parent
        sequence.published = len(match.pages)
        sequence.computed = len(match.pages) * self.pool.page_tokens
        source, tokens = match.copied_page, match.copied_tokens
        led = sequence.led(self.pool.page_tokens)
        if led > tokens and sequence.leader is not None:
            source, tokens = sequence.leader.pages[len(match.pages)], led
        page = self.pool.copy_of(source) if source is not None else None
        if page is not None:
            sequence.pages.append(page)
            sequence.computed += tokens
        if sequence.computed < sequence.source:
            self._release(sequence)
            sequence.parent = self.pool.root(sequence.salt)

    def _take_checkpoint(self, sequence: Sequence, states: StatePool) -> None:
        """Go on from the last state that is known of a text, with the pages up to there."""
        size, limit = self.pool.page_tokens, sequence.reusable
        pages = self.pool.match(sequence.salt, sequence.tokens, limit).pages
        for count in range(len(pages), -1, -1):
            parent = self.pool.name(pages[count - 1]) if count else self.pool.root(sequence.salt)
            following = sequence.tokens[count * size : min(limit, (count + 1) * size)].tobytes()
            found = states.find(parent, following)
            source = self._page_with(sequence, parent, count, found[1]) if found is not None and found[1] else None
            if found is None or (found[1] and source is None):
                continue
            states.take(sequence, found[0])
            page = self.pool.copy_of(source) if source is not None else None
            if source is not None and page is None:
                states.drop(sequence)
                continue
            sequence.parent, sequence.published = parent, count
            sequence.pages.extend(pages[:count])
            sequence.pages.extend(() if page is None else (page,))
            sequence.computed = count * size + len(found[1]) // sequence.tokens.itemsize
            break
        self.pool.release(pages[sequence.published :])

    def _skip_to_checkpoint(self, sequence: Sequence, states: StatePool) -> None:
        """Take over what others computed since this sequence started, up to the last state that is known."""
        size, pool, first = self.pool.page_tokens, self.pool, sequence.published
        if not sequence.reuse or sequence.computed != first * size:
            return
        pages: list[int] = []
        parent, best, slot = sequence.parent, 0, -1
        while (first + len(pages) + 1) * size <= sequence.reusable:
            start = (first + len(pages)) * size
            known = pool.share(parent, sequence.tokens[start : start + size].tobytes())
            if known is None:
                break
            pages.append(known[0])
            parent = known[1]
            if (found := states.find(parent, b"")) is not None:
                best, slot, sequence.parent = len(pages), found[0], parent
        if best:
            states.take(sequence, slot)
            pool.release(sequence.pages[first : first + best])
            sequence.pages[first : first + best] = array("i", pages[:best])
            sequence.published += best
            sequence.computed += best * size
            sequence.cached_tokens += 0 if sequence.answered else best * size
        pool.release(pages[best:])

    def _page_with(self, sequence: Sequence, parent: Hashable, place: int, tokens: bytes) -> int | None:
        """A page of these tokens and perhaps more; the leader's is known to none but those that it leads."""
        leader, end = sequence.leader, place * self.pool.page_tokens + len(tokens) // sequence.tokens.itemsize
        if leader is not None and leader.tokens is leader.text and leader.parent == parent and leader.computed >= end:
            return leader.pages[place]
        return self.pool.beginning_with(parent, tokens)

    def _add_source(self, sequence: Sequence, parts: list[Part]) -> None:
        """Have an encoder read, in a program of its own: its tokens take none of the decoder's places in a step."""
        if self._known.read_source(sequence):
            return
        if sequence.source <= self._source_room:
            self._source_room -= sequence.source
            parts.append((sequence, sequence.source))

    def _add_prompt(self, sequence: Sequence, budget: int, parts: list[Part]) -> int:
        if sequence.computed < sequence.source:
            self._add_source(sequence, parts)
            return 0
        if self.states is not None:
            self._skip_to_checkpoint(sequence, self.states)
        elif self._known.skip(sequence):
            return 0
        count = min(budget, sequence.remaining)
        if self.whole and count < sequence.remaining:
            return 0
        if self.states is not None:
            count = self.states.cut(sequence, count)
        parts.append((sequence, count))
        return count
