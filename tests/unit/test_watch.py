"""A mapped model file that becomes shorter: one line and an exit code, and every other fault goes where it went."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import STORYTELLER, environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file becomes shorter there while it is mapped")

OPEN = "import mmap, os, signal, sys, pacos\nfrom pacos.formats import open_archive\npath = sys.argv[1]\n"


def run(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code with a file's path as its argument."""
    command = [sys.executable, "-c", OPEN + code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(STORYTELLER, tmp_path / "model.gguf"))


@pytest.mark.parametrize("size", [0, 4096])
def test_a_file_cut_while_it_computes_ends_with_a_line(model: Path, size: int) -> None:
    done = run(f"llm = pacos.load(path)\nos.truncate(path, {size})\nprint(llm.generate('Once', n_predict=9))", model)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"pacos: {model}: the file became shorter, or its disk failed")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_file_cut_while_python_reads_it_ends_with_a_line(model: Path) -> None:
    code = "archive = open_archive(path)\nos.truncate(path, 0)\nfor name in archive.tensors: bytes(archive.data(name))"
    done = run(code, model)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


OTHER = """
open(path + ".other", "wb").write(bytes(8192))
with open(path + ".other", "r+b") as file:
    other = mmap.mmap(file.fileno(), 8192)
os.truncate(path + ".other", 0)
"""


def test_other_files_fault_as_before(model: Path) -> None:
    done = run(f"archive = open_archive(path)\n{OTHER}\nprint(other[4096])", model)
    assert done.returncode == -signal.SIGBUS
    assert "pacos:" not in done.stderr


def test_a_handler_that_was_there_gets_other_faults(model: Path) -> None:
    done = run(f"import faulthandler; faulthandler.enable()\nopen_archive(path)\n{OTHER}\nprint(other[4096])", model)
    assert done.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in done.stderr
    own = "signal.signal(signal.SIGBUS, lambda *_: print(7))\nopen_archive(path)\nos.kill(os.getpid(), signal.SIGBUS)"
    done = run(own, model)
    assert (done.returncode, done.stdout) == (0, "7\n")


def test_a_closed_file_is_watched_no_longer(model: Path) -> None:
    code = f"""
first = open_archive(path)
first.close()
{OTHER}
again = open_archive(path)
os.truncate(path, 0)
bytes(again.data(next(iter(again.tensors))))
"""
    done = run(code, model)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)


def test_a_signal_sent_by_hand_still_ends_a_process(model: Path) -> None:
    assert run("open_archive(path); os.kill(os.getpid(), signal.SIGBUS)", model).returncode == -signal.SIGBUS
