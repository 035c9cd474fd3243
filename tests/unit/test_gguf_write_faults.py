"""Writing a file is all or nothing, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pacos.errors import CapacityError, UsageError
from pacos.formats import atomic
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import write_gguf


class Usage(NamedTuple):
    """What shutil.disk_usage gives."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    "fault", [KeyboardInterrupt(), ValueError("no"), SystemExit(1), OSError(errno.EIO, "Input/output error")]
)
def test_a_fault_leaves_the_old_file_and_nothing_else(tmp_path: Path, fault: BaseException) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"old")

    def broken() -> Iterator[bytes]:
        yield b"12"
        raise fault

    with pytest.raises(type(fault)):
        write_gguf(path, {}, [("t", (4,), "I8", broken)])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_matter_of_capacity(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(CapacityError, match=r"the disk is full: .* free .*free some space"):
        write_gguf(tmp_path / "a.gguf", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_free_space_is_checked_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    size = write_gguf(path, {"a": 1}, [("t", (4,), "I8", b"1234")])
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: Usage(0, 0, size))
    assert write_gguf(path, {"a": 1}, [("t", (4,), "I8", b"1234")]) == size
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: Usage(0, 0, size - 1))
    with pytest.raises(CapacityError, match=f"{size} bytes needed, {size - 1} bytes free"):
        write_gguf(path, {"a": 1}, [("t", (4,), "I8", lambda: pytest.fail("data was asked for"))])


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"the folder .*missing does not exist"):
        write_gguf(tmp_path / "missing" / "a.gguf", {"a": 1})
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UsageError, match="no regular file"):
            write_gguf(place, {"a": 1})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic.os, "open", denied)
    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        write_gguf(tmp_path / "a.gguf", {"a": 1})


def test_a_link_is_followed_and_the_umask_holds(tmp_path: Path) -> None:
    (tmp_path / "link.gguf").symlink_to(tmp_path / "real.gguf")
    before = os.umask(0o027)
    try:
        write_gguf(tmp_path / "link.gguf", {"a": 1})
    finally:
        os.umask(before)
    assert (tmp_path / "link.gguf").is_symlink()
    assert stat.S_IMODE((tmp_path / "real.gguf").stat().st_mode) == 0o640
    read_gguf(tmp_path / "link.gguf").close()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere open files cannot be removed")
def test_parts_of_processes_that_are_no_more_are_removed(tmp_path: Path) -> None:
    gone, alive = (tmp_path / f".a.gguf.{owner}.0123456789ab.part" for owner in (4_000_000_000, os.getpid()))
    for part in (gone, alive):
        part.write_bytes(b"x")
    write_gguf(tmp_path / "a.gguf", {"a": 1})
    assert sorted(tmp_path.iterdir()) == [alive, tmp_path / "a.gguf"]


def test_what_another_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"

    def late() -> bytes:
        path.write_bytes(b"theirs")
        return b"1234"

    with pytest.raises(UsageError, match="exists"):
        write_gguf(path, {}, [("t", (4,), "I8", late)], replace=False)
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]
