"""Conversations under faults: kills at any moment, two processes, damaged and foreign files, places that are closed."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import pytest
from faults import as_somebody_else

from pacos.errors import CapacityError, FormatError, UsageError
from pacos.sessions import Sessions, database
from pacos.types import Timings

_WRITER = """
import sys
from pathlib import Path
from pacos.sessions import Sessions
with Sessions(Path(sys.argv[1])) as sessions:
    for turn in range(int(sys.argv[3])):
        made = sessions.create(sys.argv[2] + str(turn))
        question = sessions.append(made.id, "user", "question " * 50, id="q")
        sessions.append(made.id, "assistant", "answer " * 500, after="q")
        print(made.id, flush=True)
"""


def writer(path: Path, name: str, turns: int) -> subprocess.Popen[str]:
    """A process that writes conversations of two messages, and prints the id of each that is whole."""
    command = [sys.executable, "-c", _WRITER, str(path), name, str(turns)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_loses_nothing_that_was_said_before(tmp_path: Path) -> None:
    path, moments, said = tmp_path / "s.sqlite", random.Random(3), []
    for _ in range(6):
        process = writer(path, "k", 100_000)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(moments.randint(1, 25))]
        try:
            process.wait(moments.uniform(0, 0.01))
        except subprocess.TimeoutExpired:
            process.kill()
        said += [
            line.strip() for line in (*lines, *process.communicate()[0].splitlines(keepends=True)) if line[-1:] == "\n"
        ]
        with Sessions(path) as sessions:
            for made in said:
                assert [one.role for one in sessions.path(made)] == ["user", "assistant"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("INSERT INTO texts(texts, rank) VALUES ('integrity-check', 1)")
    with Sessions(path) as sessions:
        assert len(sessions.list()) <= len(said) + 6


def test_two_processes_write_at_once_and_open_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "s.sqlite"
    processes = [writer(path, name, 20) for name in "abc"]
    said = [line for process in processes for line in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0, 0]
    with Sessions(path) as sessions:
        assert sorted(one.id for one in sessions.list()) == sorted(said) and len(said) == 60
        assert all(one.message_count == 2 for one in sessions.list())


def test_nobody_else_may_read(tmp_path: Path) -> None:
    if os.name != "posix":
        return
    before = os.umask(0)
    try:
        with Sessions(tmp_path / "new" / "s.sqlite") as sessions:
            sessions.create("x")
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in sessions.file.parent.iterdir()}
            assert modes == {"s.sqlite": 0o600, "s.sqlite-wal": 0o600, "s.sqlite-shm": 0o600}
            assert stat.S_IMODE(sessions.file.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_damaged_file_is_put_aside_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.sqlite"
    for content in (b"no database at all, but long enough to be one" * 100, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING), Sessions(path) as sessions:
            assert sessions.list() == ()
            sessions.create("new")
        kept = [one for one in tmp_path.iterdir() if "damaged" in one.name and one.read_bytes() == content]
        assert len(kept) == 1 and str(kept[0]) in caplog.text
    with Sessions(path) as sessions:
        assert [one.title for one in sessions.list()] == ["new"]


def test_damage_that_shows_later_is_put_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        made = sessions.create("x")
        for place in range(50):
            sessions.append(made.id, "user", f"{place} " * 500)
    data = bytearray(path.read_bytes())
    data[8192:-4096] = os.urandom(len(data) - 8192 - 4096)  # past the schema
    path.write_bytes(data)
    with Sessions(path) as sessions:
        with pytest.raises(FormatError, match="is damaged: it is kept as"):
            [sessions.messages(made.id), sessions.search("49"), sessions.append(made.id, "user", "y")]
        assert sessions.list() == ()  # a new one has begun
        sessions.create("z")
    assert any(one.read_bytes() == data for one in tmp_path.glob("*.damaged-*"))


def changed(path: Path, *statements: str) -> None:
    """Do to a file what damage does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_damage_within_a_message_leaves_the_rest_readable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        made = sessions.create("x", parameters={"temp": 1})
        for text in ("first", "second"):
            sessions.append(made.id, "user", text, timings=Timings(1, 0, 1.0, 1, 1.0))
    changed(
        path,
        "UPDATE conversations SET parameters = '{', created = 'x'",
        "UPDATE messages SET content = CAST(x'61ff62' AS TEXT), timings = '{\"prompt_tokens\": -1}' WHERE number = 1",
        "UPDATE messages SET attachments = '[1', details = x'00' WHERE number = 2",
    )
    with Sessions(path) as sessions, caplog.at_level(logging.WARNING):
        (one,) = sessions.list()
        assert (one.parameters, one.created) == ({}, 0.0)
        assert [(m.content, m.attachments, m.details) for m in sessions.path(made.id)] == [
            ("a\ufffdb", (), {}),
            ("second", (), {}),
        ]
        assert [m.timings for m in sessions.path(made.id)] == [None, Timings(1, 0, 1.0, 1, 1.0)]
    assert "a part of a conversation is left out" in caplog.text
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE texts_data SET block = zeroblob(length(block))",
        "UPDATE texts_data SET block = x'ffffff' WHERE id = 10",
        "DELETE FROM texts_data WHERE id = 10",
        "DELETE FROM texts_docsize",
    ],
)
def test_a_damaged_index_is_made_anew_and_nothing_is_lost(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        made = sessions.create("x")
        sessions.append(made.id, "user", "hello there")
    changed(path, damage)
    with Sessions(path) as sessions:
        with pytest.raises(FormatError, match="its index for searching was made anew"):
            [sessions.search("hello"), sessions.append(made.id, "user", "more")]
        sessions.append(made.id, "user", "more")
        assert [one.content for one in sessions.path(made.id)] == ["hello there", "more"]
        assert len(sessions.search("hello")) == len(sessions.search("more")) == 1
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sqlite_master SET name = 'mgssages', tbl_name = 'mgssages' WHERE name = 'messages'",
        "UPDATE sqlite_master SET sql = replace(sql, 'CREATE', CAST(x'80' AS TEXT)) WHERE name = 'text_added'",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -7",
    ],
)
def test_a_damaged_head_or_schema_is_put_aside(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        sessions.append(sessions.create("x").id, "user", "hello")
    changed(path, damage)
    for _ in range(2):
        with suppress(FormatError), Sessions(path) as sessions:
            sessions.list()
            sessions.append(sessions.create("new").id, "user", "hello")
    with Sessions(path) as sessions:
        assert "new" in [one.title for one in sessions.list()]
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(FormatError, match="is a database of another program"):
        Sessions(path)
    assert path.read_bytes() == before


def test_older_files_are_brought_up_to_date_and_newer_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        made = sessions.create("kept")
    step = ("ALTER TABLE conversations ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",)
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, step])
        with Sessions(path) as sessions:
            assert sessions.get(made.id).title == "kept"
            with sessions._database.reading() as connection:
                assert connection.execute("SELECT colour FROM conversations").fetchone() == ("red",)
    with pytest.raises(FormatError, match="has version 2, this Pacos knows 1"):
        Sessions(path)
    failing = ("ALTER TABLE conversations ADD COLUMN size TEXT", "INSERT INTO missing VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, step, failing])
        with pytest.raises(Exception, match="no such table: missing"):
            Sessions(path)
    with closing(sqlite3.connect(path)) as connection:  # nothing of the step that failed is left
        assert (
            "size" not in connection.execute("SELECT sql FROM sqlite_master WHERE name='conversations'").fetchone()[0]
        )


def test_without_full_text_search_every_text_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        sessions.append(sessions.create("x").id, "user", "written with the index")
    with monkeypatch.context() as patch:
        patch.setattr(database, "_knows_fts5", lambda connection: False)
        with Sessions(path) as sessions:
            assert not sessions._database.indexed
            sessions.append(sessions.create("x").id, "user", "written without the index")
            assert len(sessions.search("index written")) == 2
    with Sessions(path) as sessions:  # which is made anew
        assert sessions._database.indexed and len(sessions.search("wri index")) == 2


def test_a_full_disk_and_a_busy_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Sessions(path) as sessions:
        made = sessions.create("x")
        with sessions._database.reading() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(CapacityError, match="the disk is full"):
            sessions.append(made.id, "user", "x" * 100_000)
        assert sessions.path(made.id) == ()
        with sessions._database.reading() as connection:
            connection.execute("PRAGMA busy_timeout = 50")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CapacityError, match="another program has held"):
                sessions.create("y")
            assert len(sessions.list()) == 1  # reading waits for nobody
        sessions.create("y")
    with pytest.raises(UsageError, match="the conversations are closed"):
        sessions.list()


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="conversations cannot be kept in"):
        Sessions(tmp_path / "file" / "s.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        Sessions(tmp_path / "folder")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_place_that_is_only_to_be_read_is_read() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "s.sqlite"
    try:
        with Sessions(path) as sessions:
            sessions.append(sessions.create("kept").id, "user", "hello")
        path.chmod(0o444)
        folder.chmod(0o555)
        with as_somebody_else(), Sessions(path) as sessions:
            assert [one.title for one in sessions.list()] == ["kept"] and len(sessions.search("hello")) == 1
            with pytest.raises(UsageError, match="cannot be written"):
                sessions.create("x")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
