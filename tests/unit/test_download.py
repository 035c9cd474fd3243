"""The downloader alone: what lies there already, what changes meanwhile, full disks, and who hears how far it is."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Fault
from patience import until
from pulling import content, hub

from pacos.errors import CapacityError, DownloadError
from pacos.hub.download import Content, download
from pacos.hub.ranges import Ranges
from pacos.hub.web import Web

__all__ = ("hub",)


def fetch(hub: FakeHub, target: Path, known: bytes | None = None, **more: Any) -> str:
    digest = hashlib.sha256(known).hexdigest() if known is not None else ""
    with Web() as connection:
        size = len(known) if known is not None else -1
        return download(
            connection, Content(f"{hub.url}/m.gguf", digest, size), target, target.with_name("lock"), **more
        )


def test_what_others_left_and_what_lies(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.plain["/m.gguf"] = content(1, 400_000)
    target, partial = tmp_path / "m", tmp_path / "m.incomplete"
    partial.write_bytes(data[:300_000])  # as huggingface_hub left it before
    fetch(hub, target, data)
    assert target.read_bytes() == data
    assert hub.sent("m.gguf") == len(data) - 300_000
    for left in (b"x" * 300_000, b"x" * 10, data + b"longer"):
        target.unlink()
        partial.write_bytes(left)
        fetch(hub, target, data)
        assert target.read_bytes() == data
    for side in (
        "{",
        '{"bytes": 1}',
        json.dumps({"bytes": len(data), "digest": "", "etag": "", "there": [[0, 10**9]]}),
    ):
        target.unlink()
        partial.write_bytes(b"half")
        partial.with_name("m.incomplete.json").write_text(side)
        fetch(hub, target, data)
        assert target.read_bytes() == data


def test_a_link_that_somebody_planted_is_not_written_through(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.plain["/m.gguf"] = content(1, 4000)
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "m.incomplete").symlink_to(tmp_path / "victim")
    fetch(hub, tmp_path / "m", data)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "m").read_bytes() == data


def test_a_file_that_changes_while_it_is_fetched_is_fetched_anew(hub: FakeHub, tmp_path: Path) -> None:
    old, new = content(1, 400_000), content(2, 400_000)
    hub.plain["/m.gguf"], hub.etag = old, '"old"'
    hub.faults["m.gguf"] = [Fault(), *[Fault(cut_bytes=60_000)] * 4, *[Fault(cut_bytes=0)] * 90]
    with pytest.raises(DownloadError):
        fetch(hub, tmp_path / "m")
    hub.faults.clear()
    hub.plain["/m.gguf"], hub.etag = new, '"new"'
    assert fetch(hub, tmp_path / "m") == hashlib.sha256(new).hexdigest()
    assert (tmp_path / "m").read_bytes() == new


def test_a_full_disk_is_told_before_and_in_the_midst(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.plain["/m.gguf"] = content(1, 4000)
    huge = Content(f"{hub.url}/m.gguf", hashlib.sha256(data).hexdigest(), 1 << 49, "m")
    with Web() as connection, pytest.raises(CapacityError, match=r"are needed in .* are free"):
        download(connection, huge, tmp_path / "m", tmp_path / "lock")
    import resource

    if os.name != "posix":
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(CapacityError, match="the disk is full"):
            fetch(hub, tmp_path / "m", data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    fetch(hub, tmp_path / "m", data)


def test_stretches_come_together() -> None:
    ranges = Ranges([(10, 20), (30, 40)])
    ranges.add(20, 25)
    ranges.add(24, 31)
    ranges.add(5, 5)
    assert ranges.stretches == [(10, 40)]
    assert (ranges.bytes, ranges.prefix) == (30, 0)
    assert list(ranges.missing(100, 25)) == [(0, 10), (40, 65), (65, 90), (90, 100)]
    ranges.add(0, 10)
    assert ranges.prefix == 40
    assert not list(Ranges([(0, 7)]).missing(7, 3))
    rng, there, model = random.Random(1), Ranges(), set()
    for _ in range(300):
        begin = rng.randrange(200)
        end = begin + rng.randrange(12)
        there.add(begin, end)
        model |= set(range(begin, end))
        assert {i for b, e in there.stretches for i in range(b, e)} == model
        assert all(a[1] < b[0] for a, b in zip(there.stretches, there.stretches[1:], strict=False))


def test_progress_is_told_to_whoever_waits(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.plain["/m.gguf"] = content(1, 400_000)
    gate = threading.Event()
    hub.faults["m.gguf"] = [Fault(gate=gate)] * 9
    heard: list[list[int]] = [[], []]
    threads = [
        threading.Thread(target=fetch, args=(hub, tmp_path / "m", data), kwargs={"seen": one.append}) for one in heard
    ]
    for thread in threads:
        thread.start()
    until(lambda: any(0 < count < len(data) for count in heard[1]))
    gate.set()
    for thread in threads:
        thread.join()
    assert [one[-1] for one in heard] == [len(data)] * 2
    assert hub.sent("m.gguf") == len(data)
