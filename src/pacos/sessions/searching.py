"""Find words in titles and messages: with SQLite's full-text index, or without it by reading everything."""

from __future__ import annotations

import re
import sqlite3

_WORDS = re.compile(r'"([^"]+)"?|([^\s"]+)')
_AROUND_CHARACTERS = 60
_WORDS_MAX = 32


def _words(text: str) -> list[tuple[str, bool]]:
    """The words and phrases of a query, and whether each is a phrase."""
    found = [(" ".join((phrase or word).split()), bool(phrase)) for phrase, word in _WORDS.findall(text)]
    return [one for one in found if one[0]][:_WORDS_MAX]


def matching_titles(connection: sqlite3.Connection, owner: str, text: str, limit: int) -> list[tuple[str, str]]:
    """Conversations by title, the latest first: id and title."""
    words = _words(text)
    if not words or limit <= 0:
        return []
    condition = " AND ".join(r"title LIKE ? ESCAPE '\'" for _ in words)
    query = f"SELECT id, title FROM conversations WHERE owner = ? AND {condition} ORDER BY updated DESC LIMIT ?"
    return list(connection.execute(query, (owner, *(_anywhere(word) for word, _ in words), limit)))


def matching_messages(
    connection: sqlite3.Connection, owner: str, text: str, limit: int, *, indexed: bool
) -> list[tuple[str, int, str]]:
    """Messages: the id of the conversation, the message's number, and the text around what was found.

    The index knows beginnings of words; where it finds nothing, as in scripts without blanks, every text is read.
    """
    words = _words(text)
    if not words or limit <= 0:
        return []
    rows = _from_index(connection, owner, words, limit) if indexed else []
    rows = rows or _from_texts(connection, owner, words, limit)
    return [(key, number, excerpt(content, [word for word, _ in words])) for key, number, content in rows]


def _from_index(
    connection: sqlite3.Connection, owner: str, words: list[tuple[str, bool]], limit: int
) -> list[tuple[str, int, str]]:
    wanted = " ".join('"' + word.replace("\0", " ") + ('"' if phrase else '"*') for word, phrase in words)
    query = """SELECT c.id, m.number, m.content FROM texts JOIN messages m ON m.number = texts.rowid
        JOIN conversations c ON c.number = m.conversation
        WHERE texts MATCH ? AND c.owner = ? ORDER BY bm25(texts), m.number DESC LIMIT ?"""
    return list(connection.execute(query, (wanted, owner, limit)))


def _from_texts(
    connection: sqlite3.Connection, owner: str, words: list[tuple[str, bool]], limit: int
) -> list[tuple[str, int, str]]:
    condition = " AND ".join(r"m.content LIKE ? ESCAPE '\'" for _ in words)
    query = f"""SELECT c.id, m.number, m.content FROM messages m JOIN conversations c ON c.number = m.conversation
        WHERE c.owner = ? AND {condition} ORDER BY m.number DESC LIMIT ?"""
    return list(connection.execute(query, (owner, *(_anywhere(word) for word, _ in words), limit)))


def _anywhere(word: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"


def excerpt(content: str, words: list[str]) -> str:
    """The text around the first word that is there, on one line."""
    lowered = content.lower()
    places = [place for word in words if (place := lowered.find(word.lower())) >= 0]
    middle = min(places, default=0)
    start, end = max(0, middle - _AROUND_CHARACTERS), middle + 2 * _AROUND_CHARACTERS
    cut = " ".join(content[start:end].split())
    return ("…" if start else "") + cut + ("…" if end < len(content) else "")
