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
_INDEX_TABLES = ("texts_data", "texts_idx", "texts_docsize", "texts_config")  # SQLite's own, of FTS5
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
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not self._shows_damage(_code(error)):
                raise
            self._mend()
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
        connection.text_factory = _text
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
        if ours and version < 1:
            error = sqlite3.DatabaseError(f"version {version}")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
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

    def _mend(self) -> str:
        """Index a damaged file anew where that is enough, else keep it under another name; tells what was done."""
        from filelock import FileLock

        with FileLock(self.path.with_name(self.path.name + ".lock"), mode=0o600):
            if self._is_sound():
                return "another process put it aside, a new one begins"
            if self._is_sound(index=False) and self._index_anew():
                done = "its index for searching was made anew"
            else:
                done = f"it is kept as {self._put_aside()}, a new one begins"
        logger(__name__).warning("the file of the conversations is damaged: %s", done)
        return done

    def _put_aside(self) -> Path:
        name = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        for ending in ("-wal", "-shm", ""):
            part = self.path.with_name(self.path.name + ending)
            if part.exists():
                os.replace(part, self.path.with_name(name + ending))
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        return self.path.with_name(name)

    def _index_anew(self) -> bool:
        """Make the index for searching of the messages; whether the file is sound then."""
        try:
            with closing(sqlite3.connect(self.path, timeout=self._busy_seconds, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                for trigger in _TRIGGERS:
                    connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
                connection.execute("PRAGMA writable_schema = ON")  # a damaged index cannot be asked to remove itself
                connection.execute("DELETE FROM sqlite_master WHERE name = 'texts'")
                connection.execute("PRAGMA writable_schema = RESET")
                for table in _INDEX_TABLES:
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                for statement in _INDEX:
                    connection.execute(statement)
                connection.execute("COMMIT")
        except (sqlite3.Error, UnicodeDecodeError):
            return False
        return self._is_sound()

    def _is_sound(self, *, index: bool = True) -> bool:
        """Whether SQLite finds no fault and all is there under its name; without the index, in all but that."""
        try:
            with closing(sqlite3.connect(self.path, timeout=self._busy_seconds)) as connection:
                index = index and _knows_fts5(connection)
                if not _is_whole(connection, index=index):
                    return False
                checks = ("",) if index else ("(conversations)", "(messages)")
                if any(connection.execute(f"PRAGMA integrity_check{check}").fetchone() != ("ok",) for check in checks):
                    return False
                if index:
                    connection.execute("INSERT INTO texts(texts, rank) VALUES ('integrity-check', 1)")
                return True
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            return _code(error) not in {*_DAMAGED, sqlite3.SQLITE_ERROR}

    def _shows_damage(self, code: int) -> bool:
        """Whether an error comes from a damaged file: a name that is missing or misspelt is one, too."""
        if code == sqlite3.SQLITE_CONSTRAINT:  # as a damaged index says; ours are told before
            return not self._is_sound()
        if code != sqlite3.SQLITE_ERROR:
            return code in _DAMAGED
        try:
            with closing(sqlite3.connect(self.path, timeout=self._busy_seconds)) as connection:
                return not _is_whole(connection, index=_knows_fts5(connection))
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            return _code(error) in _DAMAGED

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, and get a damaged file out of the way."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            code = _code(error)
            if self._connection is None or not self._shows_damage(code):
                raise self._error(error, code) from error
            self._connection.close()
            self._connection = None
            done = self._mend()
            self._open()
            raise FormatError(f"the file of the conversations is damaged: {done}", hint="try again") from error

    def _error(self, error: Exception, code: int) -> PacosError:
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


def _code(error: Exception) -> int:
    """SQLite's primary code; 0 where Python itself complains."""
    if isinstance(error, UnicodeDecodeError):  # it is about what SQLite says of a damaged schema
        return sqlite3.SQLITE_CORRUPT
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _text(data: bytes) -> str:
    """A text as it is kept; what damage left of a letter is shown as such."""
    return data.decode("utf-8", "replace")


def _is_whole(connection: sqlite3.Connection, *, index: bool) -> bool:
    """Whether tables and indices are written in the file as this Pacos writes them; not where it has yet to."""
    version = _number(connection, "user_version")
    if version != len(MIGRATIONS):
        return version >= 1 or _number(connection, "application_id") != _OURS
    with closing(sqlite3.connect(":memory:")) as wanted:
        for statement in (*(one for step in MIGRATIONS for one in step), *(_INDEX if index else ())):
            wanted.execute(statement)
        needed, found = _written(wanted), _written(connection)
    return found == needed if index else needed.items() <= found.items()


def _written(connection: sqlite3.Connection) -> dict[str, str]:
    """How tables, indices and triggers are made, by name; not those that SQLite makes of its own."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"
    made = connection.execute(query).fetchall()
    return {name: sql for name, sql in made if not name.startswith(("texts_", "sqlite_"))}


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _has(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def _knows_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite can search in full texts."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
