"""Commands that write models or keep texts, killed at any moment, on a full disk, and two at once: all, or nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import llama_builder
import numpy as np
import pytest
from commands import PROGRAM, STORYTELLER, environment, here
from patience import SECONDS

from pacos.formats.gguf_types import F32
from pacos.formats.gguf_write import write_gguf
from pacos.sessions import Sessions

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")]
KILLS = 20
TALKS = 7  # killed; each is gone on with
FEW = (0.15, 0.35, 0.55, 0.75, 0.95)  # moments, as shares of the time that a command takes
FORKS = """
import json, os, signal, stat, sys, time
from pacos.cli.main import main
from pacos.formats import atomic
import MODULES
def slowly(fd):
    end = 2 * time.process_time() * stat.S_ISREG(os.fstat(fd).st_mode)  # not again for its folder
    while time.process_time() < end:
        pass
atomic.os.fsync = slowly
for text in sys.stdin:
    line, moment, home = json.loads(text)
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        sys.stdin = open(os.devnull)
        os.environ["PACOS_HOME"] = home or os.environ["PACOS_HOME"]
        signal.setitimer(signal.ITIMER_PROF, moment)
        main(line)
    _, status, used = os.wait4(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]), flush=True)
"""


class Forks:
    """Runs commands in children of a process that has imported their modules, so that all their time is work.

    Before what is written is complete they compute idly as long as it took to come there. Moments are processor time
    of theirs: what else the machine does changes nothing. The signal of that timer ends a process as a kill does. No
    disk is waited for.
    """

    def __init__(self, modules: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS.replace("MODULES", modules)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def run(self, line: list[str], moment: float = 0.0, home: Path | str = "") -> tuple[int, float]:
        """Run a command, which ends at that moment; its exit code, below 0 for a signal, and the seconds it used.

        `home` is a store of its own.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([line, moment, str(home)]) + "\n")
        self.process.stdin.flush()
        code, seconds = json.loads(self.process.stdout.readline())
        return int(code), float(seconds)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks("pacos.hub.convert, pacos.hub.edit, pacos.hub.parts, pacos.hub.quantize, pacos.hub.weights")
    yield made
    made.process.communicate("", timeout=SECONDS)


@pytest.fixture(scope="module")
def other_forks() -> Iterator[Forks]:
    made = Forks("pacos.hub.bring_in, pacos.hub.export_lora, pacos.hub.importance, pacos.hub.naming, pacos.hub.weights")
    yield made
    made.process.communicate("", timeout=SECONDS)


@pytest.fixture(scope="module")
def talking_forks() -> Iterator[Forks]:
    made = Forks("pacos.cli.chat, pacos.cli.run, pacos.cli.talk.room, pacos.engine.load, pacos.llm, pacos.sessions")
    yield made
    made.process.communicate("", timeout=SECONDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some size, in F32; beside it the same in parts, and one in an old format."""
    path = tmp_path_factory.mktemp("model") / "f32.gguf"
    assert here("quantize", STORYTELLER, path, "F32").code == 0
    assert here("split", path, path.with_name("part"), "--max-tensors", "20").code == 0
    llama_builder.save_legacy(path.with_name("old.bin"), llama_builder.random_weights(), "ggjt", 3)
    _save_adapter(path.with_name("lora.gguf"))
    path.with_name("text.txt").write_text("Once there was a fox. " * 200)
    path.with_name("Modelfile").write_text(f"FROM {path}\nSYSTEM Be brief.\n")
    return path


def _save_adapter(path: Path) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    tensors = []
    for layer in range(4):
        for half, shape in (("a", (4, 256)), ("b", (768, 4))):
            values = random.standard_normal(shape, np.float32)
            tensors.append((f"blk.{layer}.ffn_up.weight.lora_{half}", shape, "F32", values.tobytes()))
    metadata = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama"}
    write_gguf(path, {**metadata, "adapter.lora.alpha": F32(8.0)}, tensors)


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


def _export(model: Path, out: Path) -> list[str]:
    return ["export-lora", str(model), "--lora", str(model.with_name("lora.gguf")), "-o", str(out), "--force"]


def _imatrix(model: Path, out: Path) -> list[str]:
    text = str(model.with_name("text.txt"))
    return ["imatrix", str(model), "-f", text, "-o", str(out), "-c", "64", "--chunks", "2", "--force"]


@pytest.mark.parametrize("line", [_export, _imatrix], ids=["export-lora", "imatrix"])
def test_a_kill_at_a_few_moments_leaves_the_old_file_or_the_new_one(
    line: Callable[[Path, Path], list[str]], model: Path, other_forks: Forks, tmp_path: Path
) -> None:
    out, old = tmp_path / "out.gguf", STORYTELLER.read_bytes()
    words = line(model, out)
    out.write_bytes(old)
    code, seconds = other_forks.run(words)
    new = out.read_bytes()
    assert code == 0 and new != old
    for share in FEW:
        out.write_bytes(old)
        other_forks.run(words, share * seconds)
        assert out.read_bytes() in (old, new)
    assert other_forks.run(words)[0] == 0
    assert out.read_bytes() == new
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


@pytest.mark.parametrize("kind", ["import", "create"])
def test_a_kill_leaves_a_store_without_the_model_or_with_all_of_it(
    kind: str, model: Path, other_forks: Forks, tmp_path: Path
) -> None:
    words = {
        "import": ["import", str(model), "--copy", "--alias", "big"],
        "create": ["create", "big", "-f", str(model.with_name("Modelfile"))],
    }[kind]
    code, seconds = other_forks.run(words, home=tmp_path / "whole")
    assert code == 0
    for number, share in enumerate(FEW):
        home = tmp_path / str(number)
        other_forks.run(words, share * seconds, home)
        listed = [one["name"] for one in here("list", "--json", PACOS_HOME=str(home)).data]
        assert listed in (["storyteller"], ["big", "storyteller"])
        assert here("verify", PACOS_HOME=str(home)).code == 0
        assert listed != ["storyteller"] or other_forks.run(words, home=home)[0] == 0
        assert here("verify", "big", PACOS_HOME=str(home)).code == 0


LONG = "Tell me a story about a dragon and a cat and a dog and a bird. " * 12
GREEDY = ("-n", "6", "--temp", "0", "--threads", "1")


def test_a_kill_while_a_text_is_saved_leaves_the_old_one_or_the_new_one(talking_forks: Forks, tmp_path: Path) -> None:
    file = tmp_path / "text"
    assert here("run", "storyteller", "--raw", *GREEDY, "-p", LONG, "--save-session", file).code == 0
    old, halves = file.read_bytes(), 0
    line = ["run", "storyteller", "--raw", *GREEDY, "-p", " A cat.", "--persist-session", str(file), "--hide-prompt"]
    code, seconds = talking_forks.run(line)
    assert code == 0
    new, moments = file.read_bytes(), random.Random(5)
    assert len(new) > len(old)
    for _ in range(TALKS):
        file.write_bytes(old)
        talking_forks.run(line, moments.uniform(0.4 * seconds, seconds))
        assert file.read_bytes() in (old, new)
        halves += len(list(tmp_path.glob("*.part"))) > 0
    assert halves > 0
    file.write_bytes(old)
    assert here(*line).code == 0
    assert file.read_bytes() == new
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_kill_while_a_talk_is_kept_leaves_it_before_or_after_the_turn(talking_forks: Forks, tmp_path: Path) -> None:
    """What was computed is kept too: the answer to the next question tells whether any of it is false."""
    home, whole = tmp_path / "home", tmp_path / "whole"
    line = ["chat", "--continue", *GREEDY, "-p", f"{LONG} Now about a fox."]
    then = ["chat", "--continue", *GREEDY, "--no-save", "-p", "And then?"]
    assert here("chat", *GREEDY, "-p", LONG, PACOS_HOME=str(home)).code == 0
    shutil.copytree(home, whole)
    code, seconds = talking_forks.run(line, home=whole)
    assert code == 0
    said = messages(whole)
    assert [role for role, _ in said] == ["user", "assistant"] * 2
    answers = {2: here(*then, PACOS_HOME=str(home)).out, 4: here(*then, PACOS_HOME=str(whole)).out}
    answers[3] = answers[2]  # a question without an answer gives way to the next one
    moments, found = random.Random(6), set()
    for number in range(TALKS):
        copy = shutil.copytree(home, tmp_path / str(number))
        talking_forks.run(line, moments.uniform(seconds / 2, seconds) if number else 0.001, copy)
        kept = messages(copy)
        assert kept == said[: len(kept)]
        assert here(*then, PACOS_HOME=str(copy)).out == answers[len(kept)]
        found.add(len(kept))
    assert len(found) > 1
    assert not list(tmp_path.rglob("*.damaged-*"))


def messages(home: Path) -> list[tuple[str, str]]:
    """Who said what in the one conversation there is; the file is sound."""
    with Sessions(home / "state" / "sessions.sqlite") as sessions:
        (talk,) = sessions.list()
        found = [(one.role, one.content) for one in sessions.path(talk.id)]
    with closing(sqlite3.connect(home / "state" / "sessions.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return found


_MAY_MOUNT = shutil.which("unshare") is not None and (
    subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, check=False
    ).returncode
    == 0
)


@pytest.mark.skipif(not _MAY_MOUNT, reason="no file system may be mounted; the limit of a file's size is tested below")
@pytest.mark.parametrize("command", [*COMMANDS, "import"])
def test_a_small_disk_that_is_full_keeps_what_was(command: str, model: Path) -> None:
    """A file system of 5 MB has room for the old file of 4 MB, and not for a second one of any command."""
    out = Path("/mnt/out.gguf")
    line = COMMANDS[command](model, out) if command in COMMANDS else ["import", str(model), "--copy", "--alias", "big"]
    steps = (
        'mount -t tmpfs -o size=5m small /mnt && cp "$0" /mnt/out.gguf && head -c 900000 /dev/zero > /mnt/x || exit 9\n'
        '"$@"; code=$?\ncmp "$0" /mnt/out.gguf || exit 98\nfind /mnt -name "*.part" | grep . && exit 97\nexit $code'
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", steps, str(STORYTELLER), *PROGRAM, *line],
        env=environment(PACOS_HOME="/mnt/home"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 4, (done.returncode, done.stderr)
    assert "the disk is full" in done.stderr or "free some space" in done.stderr


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
