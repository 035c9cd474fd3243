"""Commands that write models, killed at any moment, on a full disk, and two at once: all is there, or nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_builder
import pytest
from commands import PROGRAM, STORYTELLER, environment, here
from patience import SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")]
KILLS = 20
FORKS = """
import json, os, signal, sys, time
from pacos.cli.main import main
from pacos.formats import atomic
from pacos.hub import convert, edit, parts, quantize, weights
def slowly(fd):
    end = 2 * time.process_time()
    while time.process_time() < end:
        pass
atomic.os.fsync = slowly
for text in sys.stdin:
    line, moment = json.loads(text)
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, moment)
        main(line)
    _, status, used = os.wait4(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]), flush=True)
"""


class Forks:
    """Runs commands in children of a process that has imported everything, so that all their time is work.

    Before what is written is complete they compute idly as long as it took to come there. Moments are processor time
    of theirs: what else the machine does changes nothing. The signal of that timer ends a process as a kill does. No
    disk is waited for.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def run(self, line: list[str], moment: float = 0.0) -> tuple[int, float]:
        """Run a command, which ends at that moment; its exit code, below 0 for a signal, and the seconds it used."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([line, moment]) + "\n")
        self.process.stdin.flush()
        code, seconds = json.loads(self.process.stdout.readline())
        return int(code), float(seconds)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.process.communicate("", timeout=SECONDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some size, in F32; beside it the same in parts, and one in an old format."""
    path = tmp_path_factory.mktemp("model") / "f32.gguf"
    assert here("quantize", STORYTELLER, path, "F32").code == 0
    assert here("split", path, path.with_name("part"), "--max-tensors", "20").code == 0
    llama_builder.save_legacy(path.with_name("old.bin"), llama_builder.random_weights(), "ggjt", 3)
    return path


COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "quantize": lambda model, out: ["quantize", str(model), str(out), "Q4_0", "--force"],
    "convert": lambda model, out: ["convert", str(model.with_name("old.bin")), str(out), "--force"],
    "merge": lambda model, out: ["merge", str(model.with_name("part-00001-of-00002.gguf")), str(out), "--force"],
    "gguf set": lambda model, out: ["gguf", "set", str(out), "general.name", "new"],
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(
    command: str, model: Path, forks: Forks, tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    line = COMMANDS[command](model, out)
    old = STORYTELLER.read_bytes()
    out.write_bytes(old)
    code, seconds = forks.run(line)
    assert code == 0
    new, moments, killed, halves = out.read_bytes(), random.Random(command), 0, 0
    assert new != old
    for _ in range(KILLS):
        out.write_bytes(old)
        code, _ = forks.run(line, moments.uniform(0.001, seconds))
        killed += code == -signal.SIGPROF
        assert out.read_bytes() in (old, new)
        halves += len(list(tmp_path.glob(".out.gguf.*.part"))) > 0
    assert killed > KILLS // 4
    assert halves > 1  # some moments were in the middle of writing
    out.write_bytes(old)
    assert here(*line).code == 0
    assert out.read_bytes() == new
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]  # what the killed ones left is gone


@pytest.mark.parametrize("command", [*COMMANDS, "import"])
def test_a_disk_without_room_keeps_what_was(command: str, model: Path, tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's: writing past it fails in the middle, as on a full disk."""
    out = tmp_path / "out.gguf"
    out.write_bytes(STORYTELLER.read_bytes())
    line = COMMANDS[command](model, out) if command in COMMANDS else ["import", str(model), "--copy", "--alias", "big"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *PROGRAM, *line],
        env=environment(PACOS_HOME=str(tmp_path / "home")),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "the disk is full" in done.stderr
    assert "free some space" in done.stderr
    assert out.read_bytes() == STORYTELLER.read_bytes()
    assert not [path for path in tmp_path.rglob("*.part") if path.is_file()]
    assert not [path for path in tmp_path.rglob("*.gguf") if path.name != "out.gguf"]


def test_three_at_once_leave_one_whole_file(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    line = [*PROGRAM, *COMMANDS["quantize"](model, out)]
    processes = [subprocess.Popen(line, stderr=subprocess.PIPE, env=environment()) for _ in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert here("quantize", model, tmp_path / "alone.gguf", "Q4_0").code == 0
    assert out.read_bytes() == (tmp_path / "alone.gguf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.gguf", "out.gguf"]
