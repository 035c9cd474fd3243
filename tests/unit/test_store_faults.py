"""The store under faults: kills at any moment, a place that cannot be written, several processes at once."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from commands import PROGRAM, STORYTELLER, here
from fake_hub import FakeHub, Fault
from faults import as_somebody_else
from patience import SECONDS
from pulling import Q4, content, hub

from pacos.hub import hub_cache
from pacos.hub.hub_api import Hub
from pacos.hub.names import find
from pacos.hub.store import Store
from pacos.settings import places

__all__ = ("hub",)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_pull_that_is_killed_at_any_moment_leaves_a_sound_store(hub: FakeHub) -> None:
    """Twenty times, at random moments; what is whole is listed, what is not goes on."""
    for file in hub.repos["org/tale"]:
        hub.repos["org/tale"][file] = content(len(file), 400_000)
    hub.faults["/cdn/"] = [Fault(slow_seconds=0.004)] * 999
    code = (
        "import pacos.hub.fetching as f, pacos.hub.download as d; f.SEGMENT_BYTES = 60_000; d._SAVE_SECONDS = 0.02\n"
        "print('begun', flush=True)\n"
        "from pacos.cli.main import main; main(['pull', 'org/tale', '--all', '--mmproj', '--quiet'])"
    )
    moments = random.Random(1)
    killed = 0
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(moments.uniform(0.05, 0.5))
        except subprocess.TimeoutExpired:
            killed += 1
        process.kill()
        process.communicate()
        checked = here("verify")
        assert checked.code == 0, checked.out
        for model in Store().models():
            assert model.path.read_bytes() == hub.repos["org/tale"][model.path.name]
    assert killed >= 3
    done = here("pull", "org/tale", "--all", "--mmproj", "--json")
    assert {Path(file).name for file in done.data["files"]} == set(hub.repos["org/tale"]) - {"README.md"}
    folder = hub_cache.repo_folder(places.hub_folder(), "org/tale")
    assert not list((folder / "blobs").glob("*.incomplete"))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_store_that_may_only_be_read(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    monkeypatch.setenv("PACOS_HOME", str(folder / "home"))
    commands = (("pull", "org/tale:Q8_0"), ("alias", "name", "org/tale"), ("rm", "name"), ("prune",))
    try:
        for line in (*commands, ("import", str(STORYTELLER), "--copy", "--alias", "own")):
            assert here(*line).code == 0, line
        for path in [folder / "home", *(folder / "home").rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        with as_somebody_else():
            assert find("own").path.read_bytes() == STORYTELLER.read_bytes()
            assert {row["name"] for row in here("list", "--json").data} == {"own", "org/tale:Q8_0", "storyteller"}
            assert here("verify").code == 0
            refused = (("alias", "a", "own"), ("rm", "own"), ("pull", "org/tale"), ("prune",), ("cp", "own", "b"))
            for line in refused:
                done = here(*line)
                assert done.code == 2, (line, done.err)
                assert "PACOS_HOME" in done.err, done.err
    finally:
        for path in (folder / "home").rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


def test_processes_that_change_the_store_together(hub: FakeHub) -> None:
    lines = [["alias", f"name{i % 3}", "storyteller"] for i in range(4)]
    lines += [["import", str(STORYTELLER), "--copy", "--force", "--alias", "one"]] * 2
    processes = [subprocess.Popen([*PROGRAM, *line], stderr=subprocess.PIPE) for line in lines]
    for process in processes:
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert {model.name for model in Store().models()} == {"name0", "name1", "name2", "one"}
    assert here("verify").code == 0


def test_what_is_pulled_is_gone_on_with_from_the_past(hub: FakeHub) -> None:
    """A clock that jumps makes nothing old."""
    path = Path(here("pull", "org/tale", "--json").data["path"])
    blob = Path(os.path.realpath(path))
    os.utime(blob, (0, 0))
    assert here("prune", "--json").data == []
    os.utime(blob, (time.time() + 1e9,) * 2)
    assert here("list").code == 0
    assert find("org/tale").path.read_bytes() == hub.repos["org/tale"][Q4]
    assert Hub.credentials()[hub.url] == {}
