"""Which parts of a grammar may be lexemes, so that cutting text into the longest ones changes nothing.

A part may when none of its texts begins another of its texts, and no other lexeme begins with a character that it
begins with. The first is proved by reading it with one character of foresight: wherever it could go on or stop, the
next character tells which. Sets of characters are ascending, disjoint ranges of code points.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
_MOST_ITEMS = 64  # of a row that is tried


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the vocabulary, as Lark writes it."""

    lark: str


@dataclass(frozen=True, slots=True)
class Call:
    """Another rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of them."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Several times; without a limit when `most` is None."""

    item: Node
    least: int
    most: int | None


Node = Chars | Token | Call | Row | Choice | Repeat


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in any order, as a set."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def inverted(ranges: Ranges) -> Ranges:
    """All other characters."""
    edges = [-1, *(edge for low, high in ranges for edge in (low - 1, high)), LAST]
    starts = [edge + 1 for edge in edges[0::2]]
    return tuple((low, high) for low, high in zip(starts, edges[1::2], strict=True) if low <= high)


def overlap(one: Ranges, other: Ranges) -> bool:
    """Whether two sets share a character."""
    return any(low <= end and start <= high for low, high in one for start, end in other)


def children(node: Node) -> tuple[Node, ...]:
    """The parts of a node."""
    if isinstance(node, Row | Choice):
        return node.items
    return (node.item,) if isinstance(node, Repeat) else ()


def below(node: Node) -> Iterator[Node]:
    """A node and all in it, other rules apart."""
    yield node
    for child in children(node):
        yield from below(child)


class Lexemes:
    """Finds lexemes in the rules of a grammar."""

    def __init__(self, rules: Mapping[str, Node]) -> None:
        self._rules = rules

    def chosen(self) -> frozenset[Row]:
        """Rows of items that may be lexemes, longest first found; the rest of the grammar goes by characters."""
        found = {run for rule in self._rules.values() for run in self._runs(rule)}
        while True:
            firsts = {run: self._first(run)[0] for run in found}
            plain = merged(self._plain(frozenset(found)))
            clashing = {
                run
                for run, first in firsts.items()
                if overlap(first, plain) or any(overlap(first, firsts[other]) for other in found if other != run)
            }
            if not clashing:
                return frozenset(found)
            found -= clashing

    def _plain(self, lexemes: frozenset[Row]) -> Iterator[tuple[int, int]]:
        """Characters that are lexemes themselves, outside of the lexemes."""
        for rule in self._rules.values():
            yield from self._outside(rule, lexemes)

    def _outside(self, node: Node, lexemes: frozenset[Row]) -> Iterator[tuple[int, int]]:
        if isinstance(node, Chars):
            yield from node.ranges
        for part in split(node, lexemes) if isinstance(node, Row) else children(node):
            if part not in lexemes:
                yield from self._outside(part, lexemes)

    def _runs(self, node: Node) -> Iterator[Row]:
        """The longest rows in a node that are closed and worth it."""
        if not any(isinstance(found, Repeat) for found in below(node)):
            return
        if isinstance(node, Row):
            at = 0
            while at < len(node.items):
                ends = range(min(len(node.items), at + _MOST_ITEMS), at, -1)
                end = next((end for end in ends if self._closed(Row(node.items[at:end]))), at)
                if end == at:
                    yield from self._runs(node.items[at])
                    at += 1
                else:
                    yield Row(node.items[at:end])
                    at = end
            return
        for child in children(node):
            yield from self._runs(child)

    def _closed(self, run: Row) -> bool:
        """Whether a row is regular, has a repetition, and none of its texts begins another."""
        nodes = list(below(run))
        calls = {node.name for node in nodes if isinstance(node, Call)}
        plain = not any(isinstance(node, Token) for node in nodes) and not calls
        return plain and any(isinstance(node, Repeat) for node in nodes) and self._told(run, (), ends=True)

    def _first(self, node: Node) -> tuple[Ranges, bool]:
        """The characters that a node's texts begin with, and whether a text may be empty."""
        if isinstance(node, Chars):
            return node.ranges, False
        if isinstance(node, Repeat):
            first, empty = self._first(node.item)
            return first, empty or node.least == 0
        if isinstance(node, Choice):
            parts = [self._first(item) for item in node.items]
            return merged(pair for first, _ in parts for pair in first), any(empty for _, empty in parts)
        pairs: list[tuple[int, int]] = []
        for item in children(node):
            first, empty = self._first(item)
            pairs += first
            if not empty:
                return merged(pairs), False
        return merged(pairs), True

    def _told(self, node: Node, after: Ranges, *, ends: bool) -> bool:
        """Whether one character of foresight tells the way through a node.

        after: what may follow in the lexeme. ends: the lexeme may be over right after the node.
        """
        if isinstance(node, Row):
            for item in reversed(node.items):
                if not self._told(item, after, ends=ends):
                    return False
                first, empty = self._first(item)
                after, ends = (merged((*first, *after)), ends) if empty else (first, False)
            return True
        if isinstance(node, Choice):
            firsts = [self._first(item) for item in node.items]
            for index, (first, empty) in enumerate(firsts):
                rest = firsts[index + 1 :]
                if any(overlap(first, other) for other, _ in rest):
                    return False
                if empty and (ends or any(other_empty for _, other_empty in rest)):
                    return False
            if any(empty for _, empty in firsts) and any(overlap(first, after) for first, _ in firsts):
                return False
            return all(self._told(item, after, ends=ends) for item in node.items)
        if isinstance(node, Repeat):
            first, empty = self._first(node.item)
            if empty or node.most == 0:
                return False
            if node.least == node.most:
                return self._told(node.item, merged((*first, *after)), ends=ends)
            return (
                not ends and not overlap(first, after) and self._told(node.item, merged((*first, *after)), ends=False)
            )
        return isinstance(node, Chars)


def split(row: Row, lexemes: frozenset[Row]) -> list[Node]:
    """A row's items, with lexemes among them taken together."""
    lengths = sorted({len(lexeme.items) for lexeme in lexemes}, reverse=True)
    found: list[Node] = []
    at = 0
    while at < len(row.items):
        end = next((at + length for length in lengths if Row(row.items[at : at + length]) in lexemes), at)
        found.append(row.items[at] if end == at else Row(row.items[at:end]))
        at = max(end, at + 1)
    return found
