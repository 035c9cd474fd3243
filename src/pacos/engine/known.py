"""What sequences need not compute: pages that others have computed since they started, and pages on disk."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial

from pacos.engine.pages import PagePool
from pacos.engine.sequence import Sequence
from pacos.engine.snapshot import PromptCache
from pacos.engine.source import restore_source, save_source

_RESTORES_PER_STEP = 16  # pages read from disk for one sequence


class KnownPages:
    """The pages of one pool and of a prompt cache, if there is one; for models whose text is in their pages alone."""

    def __init__(self, pool: PagePool, cache: PromptCache | None) -> None:
        self._pool = pool
        self._cache = cache

    def keep(self, sequence: Sequence) -> None:
        """Let others have what a sequence computed, those of later processes too."""
        if not sequence.reuse:
            return
        cache, pool, last = self._cache, self._pool, sequence.published
        tail = b""
        if last < len(sequence.pages):
            tail = sequence.tokens[last * pool.page_tokens : sequence.computed].tobytes()
            pool.publish_tail(sequence.parent, tail, sequence.pages[last])
        if cache is None:
            return
        if sequence.source:
            save_source(cache, pool, sequence)
            return
        cache.add_keys(sequence.page_keys, sequence.salt, sequence.tokens)
        keys = sequence.page_keys[:last]
        begun = [(cache.begun_key(keys, sequence.salt), tail)] if tail else []
        named = [*((key, b"") for key in keys), *begun]
        for place, (page, (key, tokens)) in enumerate(zip(sequence.pages, named, strict=False)):
            cache.save(page, partial(pool.has_name, page, pool.name(page)), key, place, tokens)

    def read_source(self, sequence: Sequence) -> bool:
        """Have a sequence go on behind its source, if all of that is on disk."""
        return self._cache is not None and restore_source(self._cache, sequence)

    def skip(self, sequence: Sequence) -> bool:
        """Have a sequence go on behind what is known of its text.

        True when there may be more on disk: others' tokens shall not wait for all of it.
        """
        size, restored = self._pool.page_tokens, 0
        while sequence.reuse and sequence.computed == sequence.published * size:
            end = sequence.computed + size
            if end > sequence.reusable:
                break
            known = self._pool.share(sequence.parent, sequence.tokens[sequence.computed : end].tobytes())
            if known is not None:
                self._pool.release((sequence.pages[sequence.published],))
                self._take_over(sequence, *known)
                continue
            if restored == _RESTORES_PER_STEP:
                return True
            restored = self._restore(sequence)
            if not restored:
                break
        self._restore_begun(sequence)
        return False

    def _take_over(self, sequence: Sequence, page: int, name: Hashable) -> None:
        """Note that a sequence's next page is this one, and full."""
        sequence.pages[sequence.published], sequence.parent = page, name
        sequence.published += 1
        self._go_on(sequence, self._pool.page_tokens)

    def _go_on(self, sequence: Sequence, tokens: int) -> None:
        sequence.computed += tokens
        if not sequence.answered:
            sequence.cached_tokens += tokens

    def _restore(self, sequence: Sequence) -> int:
        """Fill a sequence's next pages from disk, as far as they are there; gives how many."""
        cache, size, first = self._cache, self._pool.page_tokens, sequence.published
        if cache is None:
            return 0
        cache.add_keys(sequence.page_keys, sequence.salt, sequence.tokens)
        end = min(first + _RESTORES_PER_STEP, sequence.reusable // size)
        count = cache.restore(sequence.page_keys[first:end], sequence.pages[first:end], first)
        for place in range(first, first + count):
            tokens = sequence.tokens[place * size : (place + 1) * size].tobytes()
            self._take_over(sequence, *self._pool.publish(sequence.parent, tokens, sequence.pages[place]))
        return count

    def _restore_begun(self, sequence: Sequence) -> None:
        """Begin a sequence's next page with what a text that ended there has left on disk."""
        cache, first, size = self._cache, sequence.computed, self._pool.page_tokens
        wanted = sequence.tokens[first : min(first + size, sequence.reusable)].tobytes()
        if cache is None or not sequence.reuse or first != sequence.published * size or not wanted:
            return
        cache.add_keys(sequence.page_keys, sequence.salt, sequence.tokens)
        key = cache.begun_key(sequence.page_keys[: sequence.published], sequence.salt)
        self._go_on(sequence, cache.restore_begun(key, sequence.pages[sequence.published], sequence.published, wanted))
