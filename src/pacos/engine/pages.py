"""Who owns which page of the KV cache.

A page is in exactly one place: free, held by one or more sequences, or cached (held by none, but its content is known
and may serve again). The keys and values in a page are a pure function of all tokens up to its end, so a page is named
by the name of the page before it and its own token ids; the index compares those ids, its hash alone decides nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from pacos.errors import PacosError

_TOKEN_BYTES = 4
_SCAN_MAX = 16  # pages compared when a prompt leaves the known text inside a page
_COPY_MIN_TOKENS = 4  # copying a page for less is not worth the scan's result


@dataclass(frozen=True, slots=True)
class PageContent:
    """What a page holds: token ids as bytes, after the text that `parent` names. A full page has a name of its own."""

    parent: Hashable
    tokens: bytes
    name: int


@dataclass(frozen=True, slots=True)
class Match:
    """Pages that a sequence may take over: shared ones, then perhaps a copy of a page's first `copied` tokens."""

    pages: list[int]
    parent: Hashable
    copied_page: int | None = None
    copied_tokens: int = 0


def common_bytes(a: bytes, b: bytes) -> int:
    """Length of what two texts begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class PagePool:
    """The pages of one cache, on the engine's thread alone."""

    def __init__(self, count: int, page_tokens: int, copy: Callable[[int, int], None]) -> None:
        self.count = count
        self.page_tokens = page_tokens
        self._copy = copy
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count
        self._contents: list[PageContent | None] = [None] * count
        self._index: dict[Hashable, int] = {}  # full pages by parent and tokens
        self._children: dict[Hashable, dict[int, None]] = {}  # pages by parent, the newest last
        self._cached: dict[int, None] = {}  # held by none, the next to evict first
        self._names = 0

    @property
    def available(self) -> int:
        """Pages that an allocation can get."""
        return len(self._free) + len(self._cached)

    @property
    def cached(self) -> int:
        """Pages that no sequence holds, kept for their content."""
        return len(self._cached)

    def allocate(self) -> int | None:
        """A page for one holder, evicting the least recently used cached one; None when every page is held."""
        if not self._free:
            if not self._cached:
                return None
            self._forget(next(iter(self._cached)))
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def release(self, pages: Iterable[int]) -> None:
        """Let go of a sequence's pages, given in order of position.

        The last ones become the first to evict, so a page never outlives the one that its name builds on.
        """
        for page in reversed(list(pages)):
            if self._holders[page] < 1:
                raise PacosError(f"page {page} is released more often than it was taken")
            self._holders[page] -= 1
            if self._holders[page] == 0:
                if self._contents[page] is None:
                    self._free.append(page)
                else:
                    self._cached[page] = None

    def match(self, salt: str, tokens: array[int], limit: int, least: int = _COPY_MIN_TOKENS) -> Match:
        """Take the known pages of a prompt's first `limit` tokens at most; the caller now holds the shared ones.

        A copied page, of which `least` tokens must be known, is to be taken next, by `copy_of`. Texts of different
        salts never meet.
        """
        size, parent = self.page_tokens, self.root(salt)
        pages: list[int] = []
        while (len(pages) + 1) * size <= limit:
            start = len(pages) * size
            found = self.share(parent, tokens[start : start + size].tobytes())
            if found is None:
                break
            pages.append(found[0])
            parent = found[1]
        start = len(pages) * size
        page, copied = self._longest(parent, tokens[start : min(limit, start + size)].tobytes())
        if copied < least:
            return Match(pages, parent)
        return Match(pages, parent, page, copied)

    def shared(self, salt: str, tokens: array[int], limit: int) -> int:
        """How many pages of a prompt's first `limit` tokens other sequences hold now, so that they cost nothing."""
        size, parent, count = self.page_tokens, self.root(salt), 0
        while (count + 1) * size <= limit:
            page = self._index.get(self._key(parent, tokens[count * size : (count + 1) * size].tobytes()))
            content = self._contents[page] if page is not None else None
            if page is None or content is None or not self._holders[page]:
                break
            count, parent = count + 1, content.name
        return count

    def _longest(self, parent: Hashable, wanted: bytes) -> tuple[int | None, int]:
        best, best_tokens = None, 0
        children = self._children.get(parent, {})
        for _, page in zip(range(_SCAN_MAX), reversed(children), strict=False):
            content = self._contents[page]
            common = common_bytes(wanted, content.tokens if content else b"") // _TOKEN_BYTES
            if common > best_tokens:
                best, best_tokens = page, common
        return best, best_tokens

    def beginning_with(self, parent: Hashable, tokens: bytes) -> int | None:
        """A known page that begins with these tokens."""
        page, common = self._longest(parent, tokens)
        return page if common * _TOKEN_BYTES == len(tokens) else None

    def copy_of(self, source: int) -> int | None:
        """A page with another's content, for one holder; None when every page is held."""
        self._take(source)
        target = self.allocate()
        if target is not None:
            self._copy(source, target)
        self.release((source,))
        return target

    def hold(self, page: int) -> None:
        """Hold a known page once more."""
        self._take(page)

    def share(self, parent: Hashable, tokens: bytes) -> tuple[int, Hashable] | None:
        """Hold the full page with this content, if there is one; gives it and its name."""
        page = self._index.get(self._key(parent, tokens))
        content = self._contents[page] if page is not None else None
        if page is None or content is None:
            return None
        self._take(page)
        return page, content.name

    def publish(self, parent: Hashable, tokens: bytes, page: int) -> tuple[int, Hashable]:
        """Make a full page known; gives the page to use from now on, and its name.

        When another page has that content already, the holder changes to it and its own is let go.
        """
        known = self.share(parent, tokens)
        if known is not None:
            if known[0] == page:
                self._holders[page] -= 1
            else:
                self.release((page,))
            return known
        self._register(page, parent, tokens)
        self._index[self._key(parent, tokens)] = page
        return page, self._names

    def publish_tail(self, parent: Hashable, tokens: bytes, page: int) -> None:
        """Make a page known that is only partly filled; others may copy it."""
        if self._contents[page] is None and tokens:
            self._register(page, parent, tokens)

    def name(self, page: int) -> int | None:
        """What a page's content is called, if it is known."""
        content = self._contents[page]
        return content.name if content is not None else None

    def has_name(self, page: int, name: int | None) -> bool:
        """Whether a page still holds the content of that name."""
        return name is not None and self.name(page) == name

    def forget(self, pages: Iterable[int]) -> None:
        """Make pages unknown, so that nobody takes their content over; who holds them keeps them."""
        for page in pages:
            self._unregister(page)
            if page in self._cached:
                del self._cached[page]
                self._free.append(page)

    def check(self, tables: Iterable[Iterable[int]]) -> None:
        """Prove that each page is in one place and held as often as these page tables say.

        Errors: PacosError naming the first page that is lost or owned twice.
        """
        holders = [0] * self.count
        for table in tables:
            for page in table:
                holders[page] += 1
        free, cached = set(self._free), set(self._cached)
        if len(free) != len(self._free):
            raise PacosError("a page is free twice")
        for page in range(self.count):
            places = (page in free) + (page in cached) + (self._holders[page] > 0)
            if places != 1 or holders[page] != self._holders[page]:
                raise PacosError(f"page {page}: in {places} places, {self._holders[page]} of {holders[page]} holders")
            if page in cached and self._contents[page] is None:
                raise PacosError(f"page {page} is cached without content")
        if sum(len(children) for children in self._children.values()) != sum(b is not None for b in self._contents):
            raise PacosError("the index of pages disagrees with the pages")

    @staticmethod
    def root(salt: str) -> Hashable:
        """The name of the empty text."""
        return ("root", salt)

    @staticmethod
    def _key(parent: Hashable, tokens: bytes) -> Hashable:
        return (parent, tokens)

    def _take(self, page: int) -> None:
        self._cached.pop(page, None)
        self._holders[page] += 1

    def _register(self, page: int, parent: Hashable, tokens: bytes) -> None:
        self._names += 1
        self._contents[page] = PageContent(parent, tokens, self._names)
        self._children.setdefault(parent, {})[page] = None

    def _unregister(self, page: int) -> None:
        content = self._contents[page]
        if content is None:
            return
        self._contents[page] = None
        key = self._key(content.parent, content.tokens)
        if self._index.get(key) == page:
            del self._index[key]
        siblings = self._children[content.parent]
        del siblings[page]
        if not siblings:
            del self._children[content.parent]

    def _forget(self, page: int) -> None:
        del self._cached[page]
        self._unregister(page)
        self._free.append(page)
