"""Files and batches on disk: what is written is whole or not there, also after a crash.

A file is two: ID.json, its description, which is written last, and ID.data. A batch is BATCH.json, and while it runs
BATCH.output and BATCH.errors grow line by line; when it ends these become files.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from pacos.log import logger
from pacos.server.dialects.batches.shapes import Batch, File, KeptBatch, KeptFile, new_id, now
from pacos.server.problem import RequestError

FILE_BYTES_MAX = 100 << 20
OWNER_BYTES_MAX = 1 << 30
ALL_BYTES_MAX = 8 << 30
OWNER_FILES_MAX = 2000
OWNER_BATCHES_MAX = 50  # that have not ended
ENDED_BATCHES_MAX = 1000  # of one owner; older ones are forgotten
_PARTS = ("output", "errors")

Kept = TypeVar("Kept", KeptFile, KeptBatch)


class Store:
    """All files and batches of a folder, which belongs to one server at a time. Safe from many threads.

    Errors: RequestError 503 when another server has the folder, or it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._turn = threading.RLock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = _hold(folder / "lock")
        except OSError as error:
            problem = f"files cannot be kept in {folder}: {error.strerror}"
            raise RequestError(problem, status=503, code="storage_unavailable") from error
        self._files = {one.file.id: one for one in self._read("file-*.json", KeptFile)}
        self.batches = {one.batch.id: one for one in self._read("batch_*.json", KeptBatch)}
        self._drop_remains()

    def close(self) -> None:
        """Leave the folder to others, once what is being written is."""
        with self._turn:
            self._held.close()

    def path(self, name: str) -> Path:
        """Where a file's data lies."""
        return self.folder / f"{name}.data"

    def part(self, batch: Batch, kind: str) -> Path:
        """Where the lines of an unfinished batch lie; `kind` is output or errors."""
        return self.folder / f"{batch.id}.{kind}"

    def add(self, source: BinaryIO, filename: str, purpose: str, owner: str, kept_seconds: int | None) -> File:
        """Keep a copy of a file. Errors: RequestError 413 when there is too much already."""
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        with self._turn:
            self._drop_expired()
            self._check_room(owner, size)
            name = new_id("file-")
            fresh = self.path(name).with_suffix(".new")
            with fresh.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                _settle(file)
            fresh.replace(self.path(name))
            return self._describe(name, filename, purpose, owner, kept_seconds)

    def _describe(self, name: str, filename: str, purpose: str, owner: str, kept_seconds: int | None) -> File:
        expires = None if kept_seconds is None else now() + kept_seconds
        size = self.path(name).stat().st_size
        file = File(id=name, bytes=size, created_at=now(), filename=filename, purpose=purpose, expires_at=expires)
        self._files[name] = KeptFile(file, owner)
        self._write(name, self._files[name])
        return file

    def file(self, name: str, owner: str, field: str | None = None) -> File:
        """A file. Errors: RequestError 404 for one that is not there, or another's."""
        with self._turn:
            self._drop_expired()
            kept = self._files.get(name)
            if kept is None or kept.owner != owner:
                raise RequestError(f"no file {name[:80]!a}", status=404, field=field, code="not_found")
            return kept.file

    def files(self, owner: str) -> list[File]:
        """All files of an owner, the latest first."""
        with self._turn:
            self._drop_expired()
            found = [kept.file for kept in self._files.values() if kept.owner == owner]
        return sorted(found, key=lambda file: (file.created_at, file.id), reverse=True)

    def delete(self, name: str, owner: str) -> None:
        """Forget a file. Errors: RequestError 404, and 409 for one that a batch is reading."""
        with self._turn:
            self.file(name, owner)
            for one in self.batches.values():
                if one.batch.input_file_id == name and not one.ended:
                    raise RequestError(f"batch {one.batch.id} is reading it", status=409, code="in_use")
            self._remove(name)

    def add_batch(self, kept: KeptBatch) -> None:
        """Keep a new batch. Errors: RequestError 429 when its owner has too many that have not ended."""
        with self._turn:
            own = [one for one in self.batches.values() if one.owner == kept.owner]
            if sum(not one.ended for one in own) >= OWNER_BATCHES_MAX:
                problem = f"{OWNER_BATCHES_MAX} batches have not ended"
                raise RequestError(problem, status=429, code="too_many_batches", hint="wait, or cancel one")
            ended = sorted((one for one in own if one.ended), key=lambda one: one.batch.created_at)
            for old in ended[: max(0, len(ended) - ENDED_BATCHES_MAX + 1)]:
                del self.batches[old.batch.id]
                (self.folder / f"{old.batch.id}.json").unlink(missing_ok=True)
            self.batches[kept.batch.id] = kept
            self.save(kept)

    def batch(self, name: str, owner: str) -> KeptBatch:
        """A batch. Errors: RequestError 404 for one that is not there, or another's."""
        kept = self.batches.get(name)
        if kept is None or kept.owner != owner:
            raise RequestError(f"no batch {name[:80]!a}", status=404, code="not_found")
        return kept

    def owned_batches(self, owner: str) -> list[Batch]:
        """All batches of an owner, the latest first."""
        with self._turn:
            found = [kept.batch for kept in self.batches.values() if kept.owner == owner]
        return sorted(found, key=lambda batch: (batch.created_at, batch.id), reverse=True)

    def save(self, kept: KeptBatch) -> None:
        """Write a batch as it is now."""
        with self._turn:
            self._write(kept.batch.id, kept)

    def finish(self, kept: KeptBatch, status: str) -> None:
        """End a batch: what it has answered becomes files. Nothing is lost or doubled when this is cut short."""
        batch = kept.batch
        with self._turn:
            if batch.status == "in_progress":
                kept.enter("finalizing")
            kept.ending = status
            self.save(kept)
            for kind, name in zip(_PARTS, (kept.output_id, kept.errors_id), strict=True):
                part = self.part(batch, kind)
                if part.exists() and part.stat().st_size:
                    part.replace(self.path(name))
                part.unlink(missing_ok=True)
                if self.path(name).exists() and name not in self._files:
                    purpose = "batch_output"
                    self._describe(name, f"{batch.id}_{kind}.jsonl", purpose, kept.owner, kept.output_seconds)
            batch.output_file_id = kept.output_id if kept.output_id in self._files else None
            batch.error_file_id = kept.errors_id if kept.errors_id in self._files else None
            kept.enter(status)
            self.save(kept)

    def _check_room(self, owner: str, size: int) -> None:
        own = [kept.file.bytes for kept in self._files.values() if kept.owner == owner]
        every = sum(kept.file.bytes for kept in self._files.values())
        full = sum(own) + size > OWNER_BYTES_MAX or every + size > ALL_BYTES_MAX or len(own) >= OWNER_FILES_MAX
        if full:
            problem = f"there are {len(own)} files of {sum(own)} bytes, no room for {size} more"
            raise RequestError(problem, status=413, code="storage_full", hint="delete files")

    def _drop_expired(self) -> None:
        for name, kept in [*self._files.items()]:
            if kept.file.expires_at is not None and kept.file.expires_at <= now():
                self._remove(name)

    def _remove(self, name: str) -> None:
        del self._files[name]
        (self.folder / f"{name}.json").unlink(missing_ok=True)  # first: data without it is nothing
        self.path(name).unlink(missing_ok=True)

    def _drop_remains(self) -> None:
        """Remove what a crash left half-done."""
        named = {name for one in self.batches.values() for name in (one.output_id, one.errors_id) if not one.ended}
        for path in [*self.folder.glob("*.new"), *self.folder.glob("file-*.data")]:
            if path.suffix == ".new" or path.stem not in {*self._files, *named}:
                path.unlink(missing_ok=True)
        for name in [*self._files]:
            if not self.path(name).exists():
                self._remove(name)

    def _read(self, pattern: str, kind: type[Kept]) -> Iterable[Kept]:
        for path in sorted(self.folder.glob(pattern)):
            try:
                yield msgspec.json.decode(path.read_bytes(), type=kind)
            except (msgspec.DecodeError, OSError) as error:
                logger(__name__).warning("%s is left out: %s", path, error)

    def _write(self, name: str, value: Any) -> None:
        path = self.folder / f"{name}.json"
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(value))
            _settle(file)
        fresh.replace(path)


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _hold(path: Path) -> BinaryIO:
    """The lock of a folder. Errors: RequestError 503 when another server has it."""
    file = path.open("ab")
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        with suppress(OSError):
            file.close()
        problem = "another server keeps this user's files and batches"
        hint = "ask that one, or start this one with another folder in PACOS_HOME"
        raise RequestError(problem, status=503, code="storage_unavailable", hint=hint) from None
    return file
