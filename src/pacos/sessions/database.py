"""The SQLite file of the conversations: opened, brought up to date, and its faults in words.

Write-ahead logging and short transactions: a kill at any moment leaves the last whole one. A damaged file is put
aside, never thrown away; one of a newer Pacos or of another program is left alone.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pacos.errors import CapacityError, FormatError, PacosError, UsageError
from pacos.log import logger

BUSY_SECONDS = 10.0
_OURS = 0x5061636F  # "Paco"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_CLOSED_PLACE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_LITTLE_SPACE_BYTES = 1 << 20
_ELSEWHERE = "choose another folder with PACOS_HOME"

# Each entry leads from the version before it to its own; what was released never changes.
MIGRATIONS: list[tuple[str, ...]] = [
    (
        """CREATE TABLE conversations (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            owner TEXT NOT NULL,
            id TEXT NOT NULL,
            title TEXT NOT NULL,
            model TEXT NOT NULL,
            system TEXT NOT NULL,
            parameters TEXT NOT NULL,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            active INTEGER REFERENCES messages(number) DEFERRABLE INITIALLY DEFERRED,
            UNIQUE (owner, id)
        )""",
        """CREATE TABLE messages (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation INTEGER NOT NULL REFERENCES conversations(number) DEFERRABLE INITIALLY DEFERRED,
            id TEXT NOT NULL,
            parent INTEGER REFERENCES messages(number) DEFERRABLE INITIALLY DEFERRED,
            role TEXT NOT NULL,
            content TEXT NOT NULL,
            reasoning TEXT NOT NULL,
            attachments TEXT NOT NULL,
            timings TEXT,
            details TEXT NOT NULL,
            created REAL NOT NULL,
            UNIQUE (conversation, id)
        )""",
        "CREATE INDEX by_update ON conversations(owner, updated)",
        "CREATE INDEX by_parent ON messages(parent)",
        "CREATE INDEX by_active ON conversations(active)",
    ),
]
_INDEX = (
    """CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5
        (content, content='messages', content_rowid='number', tokenize='unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER text_added AFTER INSERT ON messages BEGIN
        INSERT INTO texts(rowid, content) VALUES (new.number, new.content); END""",
    """CREATE TRIGGER text_removed AFTER DELETE ON messages BEGIN
        INSERT INTO texts(texts, rowid, content) VALUES ('delete', old.number, old.content); END""",
    """CREATE TRIGGER text_changed AFTER UPDATE OF content ON messages BEGIN
        INSERT INTO texts(texts, rowid, content) VALUES ('delete', old.number, old.content);
        INSERT INTO texts(rowid, content) VALUES (new.number, new.content); END""",
    "INSERT INTO texts(texts) VALUES ('rebuild')",
)
_TRIGGERS = ("text_added", "text_removed", "text_changed")


class Database:
    """One connection, for many threads in turn.

    Errors: FormatError for a file of a newer Pacos or another program; UsageError for a place that cannot be read.
    """

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self.indexed = False
        self._busy_seconds = busy_seconds
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._make_place()
        with self._explained():
            self._open()

    def close(self) -> None:
        """Leave the file; safe to call twice."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one look at the file."""
        with self._turn, self._explained():
            if self._connection is None:
                raise UsageError("the conversations are closed", hint="open them again")
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, for changes that happen together or not at all."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _make_place(self) -> None:
        """The folder and the file, for this user alone: SQLite would let others read what was said."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            problem = f"conversations cannot be kept in {self.path.parent}: {error.strerror}"
            raise UsageError(problem, hint=_ELSEWHERE) from None

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGED:
                raise
            self._put_aside()
            self._connect()

    def _connect(self) -> None:
        try:
            self._connection = self._prepared(str(self.path))
        except sqlite3.OperationalError as error:
            if _code(error) not in _CLOSED_PLACE or not os.access(self.path, os.R_OK):
                raise
        else:
            return
        try:  # a place that is only to be read
            self._connection = self._prepared(self.path.absolute().as_uri() + "?mode=ro", readable=True)
        except sqlite3.OperationalError:  # nor can others' unfinished changes be seen there
            self._connection = self._prepared(self.path.absolute().as_uri() + "?immutable=1", readable=True)

    def _prepared(self, name: str, *, readable: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            name, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False, uri=readable
        )
        try:
            self._check_ours(connection)
            if not readable:
                self._log_ahead(connection)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("PRAGMA foreign_keys = ON")
                self._migrate(connection)
            self.indexed = _has(connection, "texts") and _knows_fts5(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        ours = _number(connection, "application_id")
        version = _number(connection, "user_version")
        if ours != _OURS and (ours or version or _number(connection, "schema_version")):
            raise FormatError(f"{self.path} is a database of another program", hint="move it away")
        if version > len(MIGRATIONS):
            problem = f"{self.path} has version {version}, this Pacos knows {len(MIGRATIONS)}"
            raise FormatError(problem, hint=f"update Pacos, or {_ELSEWHERE}")

    def _log_ahead(self, connection: sqlite3.Connection) -> None:
        """Switch to write-ahead logging, for which SQLite does not wait while others open the file."""
        until = time.monotonic() + self._busy_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        fts5 = _knows_fts5(connection)
        fresh = _number(connection, "user_version") == len(MIGRATIONS)
        if fresh and _has(connection, _TRIGGERS[0]) == fts5:
            return
        connection.execute("BEGIN IMMEDIATE")
        self._check_ours(connection)  # another may have been first
        for version in range(_number(connection, "user_version"), len(MIGRATIONS)):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {_OURS}")
        if not fts5:  # else nothing could be written; whoever has it indexes anew
            for trigger in _TRIGGERS:
                connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        elif not _has(connection, _TRIGGERS[0]):
            for statement in _INDEX:
                connection.execute(statement)
        connection.execute("COMMIT")

    def _put_aside(self) -> Path | None:
        """Keep a damaged file under another name; None when another process was first."""
        from filelock import FileLock

        with FileLock(self.path.with_name(self.path.name + ".lock"), mode=0o600):
            if not self._is_damaged():
                return None
            name = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            kept = self.path.with_name(name)
            for ending in ("-wal", "-shm", ""):
                part = self.path.with_name(self.path.name + ending)
                if part.exists():
                    os.replace(part, self.path.with_name(name + ending))
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        logger(__name__).warning("the file of the conversations is damaged: it is kept as %s, a new one begins", kept)
        return kept

    def _is_damaged(self) -> bool:
        try:
            with closing(sqlite3.connect(self.path, timeout=self._busy_seconds)) as connection:
                return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
        except sqlite3.DatabaseError as error:
            return _code(error) in _DAMAGED

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, and get a damaged file out of the way."""
        try:
            yield
        except sqlite3.Error as error:
            code = _code(error)
            if code not in _DAMAGED or self._connection is None:
                raise self._error(error, code) from error
            self._connection.close()
            self._connection = None
            kept = self._put_aside()
            self._open()
            where = f"it is kept as {kept}" if kept is not None else "another process put it aside"
            problem = f"the file of the conversations is damaged: {where}, a new one begins"
            raise FormatError(problem, hint="try again") from error

    def _error(self, error: sqlite3.Error, code: int) -> PacosError:
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._free() < _LITTLE_SPACE_BYTES):
            problem = f"the disk is full: {self._free()} bytes are free for {self.path}"
            return CapacityError(problem, hint="free some space")
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            problem = f"another program has held {self.path} for {self._busy_seconds:g} seconds"
            return CapacityError(problem, hint="try again")
        if code in _CLOSED_PLACE:
            return UsageError(f"{self.path} cannot be written: {error}", hint=_ELSEWHERE)
        return PacosError(f"{self.path}: {error}", hint=_ELSEWHERE)

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:
            return _LITTLE_SPACE_BYTES


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code; 0 where Python itself complains."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _has(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def _knows_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite can search in full texts."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
