"""The page pool: nothing lost, nothing owned twice, nothing shared that is not the same text."""

from __future__ import annotations

from array import array
from collections.abc import Hashable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pacos.engine.pages import PagePool
from pacos.errors import PacosError

SIZE = 4
LARGE = 8  # large enough that copying part of a page is worth it


def new_pool(count: int, kind: type[PagePool] = PagePool) -> tuple[PagePool, list[tuple[int, int]]]:
    copies: list[tuple[int, int]] = []
    return kind(count, SIZE, lambda source, target: copies.append((source, target))), copies


def fill(pool: PagePool, tokens: list[int], salt: str = "") -> list[int]:
    """Take or make the pages of a text as a sequence does, the last one partly filled."""
    match = pool.match(salt, array("i", tokens), len(tokens))
    pages, parent = match.pages, match.parent
    for start in range(len(pages) * SIZE, len(tokens), SIZE):
        page = pool.allocate()
        assert page is not None
        content = array("i", tokens[start : start + SIZE]).tobytes()
        if len(content) == 4 * SIZE:
            page, parent = pool.publish(parent, content, page)
        else:
            pool.publish_tail(parent, content, page)
        pages.append(page)
    return pages


def test_full_pages_are_shared_without_a_copy() -> None:
    pool, copies = new_pool(8)
    one = fill(pool, [1, 2, 3, 4, 5, 6, 7, 8, 9])
    two = fill(pool, [1, 2, 3, 4, 5, 6, 7, 8, 10])
    assert one[:2] == two[:2]
    assert one[2] != two[2]
    assert copies == []
    pool.check([one, two])
    assert pool.available == 4


def test_pages_serve_after_their_sequence_ended_and_the_oldest_leaf_goes_first() -> None:
    pool, _ = new_pool(3)
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]
    first = fill(pool, text)
    pool.release(first)
    assert (pool.available, pool.cached) == (3, 3)
    taken = pool.allocate()  # evicts the last page of the text, not its beginning
    assert taken == first[2]
    match = pool.match("", array("i", text), len(text))
    assert match.pages == first[:2]
    pool.check([match.pages, [taken]])


def test_the_limit_leaves_tokens_to_compute() -> None:
    pool, _ = new_pool(6)
    held = fill(pool, list(range(2 * SIZE)))
    match = pool.match("", array("i", range(2 * SIZE)), 2 * SIZE - 1)
    assert match.pages == held[:1]
    assert match.copied_page is None  # three tokens are too few to copy
    pool.check([held, match.pages])


def test_a_copy_serves_a_text_that_leaves_inside_a_page() -> None:
    copies: list[tuple[int, int]] = []
    pool = PagePool(5, 16, lambda source, target: copies.append((source, target)))
    page = pool.allocate()
    assert page is not None
    pool.publish_tail(pool.root(""), array("i", range(9)).tobytes(), page)
    pool.release([page])
    match = pool.match("", array("i", [0, 1, 2, 3, 4, 5, 6, 77, 78]), 8)
    assert (match.copied_page, match.copied_tokens) == (page, 7)
    assert match.copied_page is not None
    copy = pool.copy_of(match.copied_page)
    assert copies == [(page, copy)]
    assert copy is not None
    pool.check([[copy]])
    assert pool.match("other", array("i", range(9)), 9).copied_page is None


def test_salts_keep_texts_apart() -> None:
    pool, _ = new_pool(8)
    one = fill(pool, list(range(8)), "a")
    two = fill(pool, list(range(8)), "b")
    assert not set(one) & set(two)
    pool.check([one, two])


def test_equal_hashes_share_nothing() -> None:
    class Colliding(tuple):
        __slots__ = ()

        def __hash__(self) -> int:
            return 1

    class CollidingPool(PagePool):
        @staticmethod
        def _key(parent: Hashable, tokens: bytes) -> Hashable:
            return Colliding((parent, tokens))

    pool, _ = new_pool(8, CollidingPool)
    one, two = fill(pool, [1, 2, 3, 4]), fill(pool, [5, 6, 7, 8])
    assert one != two
    assert fill(pool, [5, 6, 7, 8]) == two
    pool.check([one, two, two])


def test_the_same_text_computed_twice_ends_on_one_page() -> None:
    pool, _ = new_pool(4)
    content, root = array("i", range(SIZE)).tobytes(), pool.root("")
    one, two = pool.allocate(), pool.allocate()
    assert one is not None
    assert two is not None
    kept, name = pool.publish(root, content, one)
    assert (kept, pool.publish(root, content, two)) == (one, (one, name))
    assert pool.publish(root, content, one) == (one, name)  # telling twice changes nothing
    pool.check([[one, one]])
    assert pool.available == 3


def test_forgotten_pages_serve_nobody() -> None:
    pool, _ = new_pool(4)
    pages = fill(pool, list(range(8)))
    pool.forget(pages)
    assert pool.match("", array("i", range(8)), 8).pages == []
    pool.release(pages)
    assert (pool.available, pool.cached) == (4, 0)
    pool.check([])


def test_wrong_accounts_are_found() -> None:
    pool, _ = new_pool(2)
    page = pool.allocate()
    assert page is not None
    with pytest.raises(PacosError, match=f"page {page}"):
        pool.check([])
    pool.release([page])
    with pytest.raises(PacosError, match="more often"):
        pool.release([page])


class PoolMachine(RuleBasedStateMachine):
    """Random sequences come, grow, share, end and fail; the accounts hold and no content is confused."""

    @initialize(count=st.integers(1, 12))
    def start(self, count: int) -> None:
        self.content: dict[int, tuple[int, ...]] = {}  # the whole text that a page's owner computed it for
        self.pool = PagePool(count, LARGE, self._copied)
        self.tables: list[tuple[list[int], list[int]]] = []

    def _copied(self, source: int, target: int) -> None:
        self.content[target] = self.content[source]

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=34))
    def begin(self, tokens: list[int]) -> None:
        match = self.pool.match("", array("i", tokens), len(tokens))
        pages, parent = match.pages, match.parent
        for index, page in enumerate(pages):
            assert self.content[page] == tuple(tokens[: (index + 1) * LARGE])
        copy = None
        if match.copied_page is not None:
            known = len(pages) * LARGE + match.copied_tokens
            assert self.content[match.copied_page][:known] == tuple(tokens[:known])
            copy = self.pool.copy_of(match.copied_page)
        for start in range(len(pages) * LARGE, len(tokens), LARGE):
            page, copy = copy if copy is not None else self.pool.allocate(), None
            if page is None:
                self.pool.release(pages)
                return
            text = tuple(tokens[: start + LARGE])
            content = array("i", text[start:]).tobytes()
            self.content[page] = text
            if len(text) == start + LARGE:
                page, parent = self.pool.publish(parent, content, page)
                assert self.content[page] == text
            else:
                self.pool.publish_tail(parent, content, page)
            pages.append(page)
        if copy is not None:
            self.pool.release([copy])
        self.tables.append((pages, tokens))

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), failed=st.booleans())
    def end(self, data: st.DataObject, failed: bool) -> None:
        pages, _ = self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1)))
        if failed:
            self.pool.forget(pages)
        self.pool.release(pages)

    @invariant()
    def accounts_hold(self) -> None:
        if hasattr(self, "pool"):
            self.pool.check(pages for pages, _ in self.tables)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=30)
