"""The program as users start it: pipes, signals, several at once, what it imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import PROGRAM, environment, program
from patience import SECONDS, until

pytestmark = pytest.mark.e2e
posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes are another matter elsewhere")
STORY = ("run", "-p", "Tell me a story about a dragon.", "--seed", "1")
ENDLESS = (*STORY, "--ignore-eos", "-c", "200000", "--rope-scale", "200", "-t", "1")  # minutes of text


def started(arguments: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=more.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        **more,
    )


def test_a_story() -> None:
    first, again = (program(*STORY) for _ in range(2))
    assert (first.code, first.err) == (0, "")
    assert first.out == again.out
    assert len(first.out.split()) > 50
    assert "Traceback" not in first.out


def test_text_is_streamed() -> None:
    with started(ENDLESS) as process:
        assert process.stdout is not None
        assert process.stdout.read(20)  # long before the end
        assert process.poll() is None
        process.kill()


def test_a_prompt_from_a_pipe() -> None:
    piped = program("run", "--seed", "1", stdin="Tell me a story about a dragon.\n")
    assert piped.out == program(*STORY).out


@posix
def test_a_reader_that_leaves_is_no_failure() -> None:
    command = " ".join(f"'{word}'" for word in (*PROGRAM, *ENDLESS))
    done = subprocess.run(
        ["sh", "-c", f"{{ {command}; echo $? >&2; }} | head -c 100"],
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
    )
    assert len(done.stdout) == 100
    assert done.stderr == b"0\n"


@posix
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_interrupt_stops_with_what_was_generated(more: tuple[str, ...]) -> None:
    with started((*ENDLESS, *more)) as process:
        assert process.stdout is not None
        if more:
            wait_for_work(process)  # there is nothing to see before the end
        else:
            process.stdout.read(50)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err == b""
    if more:
        found = json.loads(out)
        assert found["finish_reason"] == "cancelled"
        assert len(found["token_ids"]) > found["prompt_tokens"]
        assert found["text"]


@posix
def test_interrupt_ends_a_wait_for_input() -> None:
    with started(("run",), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"Tell")
        process.stdin.flush()
        wait_for_reading(process.stdin.fileno())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b""
        assert process.stderr.read() == b"\n"


def wait_for_work(process: subprocess.Popen[bytes]) -> None:
    """Until a program that opened the model computed as long again as it took to come there, and some ticks more."""
    system = Path(f"/proc/{process.pid}")
    if not system.exists():
        time.sleep(10)
        return

    def ticks() -> int:
        return sum(map(int, (system / "stat").read_text().rpartition(")")[2].split()[11:13]))

    until(lambda: "storyteller" in (system / "maps").read_text())
    opened = ticks()
    until(lambda: ticks() > 2 * opened + 50)


def wait_for_reading(fd: int) -> None:
    """Until the other side of a pipe took everything out of it."""
    import fcntl
    import struct
    import termios

    until(lambda: not struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, *STORY, "-n", "5"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=SECONDS,
        )
    assert done.returncode == 4
    assert done.stderr == b"error: No space left on device; free some space\n"


@posix
@pytest.mark.parametrize(("closed", "code"), [("<&-", 0), (">&-", 2), ("2>&-", 0)])
def test_closed_streams(closed: str, code: int) -> None:
    command = " ".join(f"'{word}'" for word in (*PROGRAM, *STORY, "-n", "5"))
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_several_programs_at_once() -> None:
    expected = program(*STORY, "-n", "40").out.encode()
    processes = [started((*STORY, "-n", "40")) for _ in range(3)]
    assert [process.communicate(timeout=SECONDS)[0] for process in processes] == [expected] * 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_can_be_written(encoding: str) -> None:
    done = subprocess.run(
        [*PROGRAM, "tokenize", "storyteller", "--json", "naïve 😀"],
        capture_output=True,
        env=environment(PYTHONIOENCODING=encoding),
        timeout=SECONDS,
    )
    assert done.returncode == 0
    assert "".join(json.loads(done.stdout)["pieces"][:3]).startswith("na")


@pytest.mark.parametrize("command", ["run", "chat"])
def test_numpy_is_not_imported(command: str) -> None:
    code = (
        "import sys; from pacos.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'numpy', 'rich', 'prompt_toolkit', 'asyncio', 'tokenizers', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--seed", "1", "-n", "3"],
        input=b"Hello\n",
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_a_script_that_closes_nothing_ends() -> None:
    code = (
        "import pacos; llm = pacos.load('storyteller', threads=2)\n"
        "streams = [llm.stream('Once', ignore_eos=True, seed=seed) for seed in range(4)]\n"
        "print([next(stream).text for stream in streams])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_fault_inside_is_one_line() -> None:
    code = (
        "import sys, pacos.llm; from pacos.cli.main import main\n"
        "def broken(*a, **k): raise RuntimeError('cables\\ncut')\n"
        "pacos.llm.load = broken; main(['run', '-p', 'x'])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=SECONDS, text=True)
    assert done.returncode == 70
    assert "RuntimeError" in done.stderr
    assert done.stderr.count("\n") == 1
    asked = subprocess.run(
        command, capture_output=True, env=environment(PACOS_TRACEBACK="1"), timeout=SECONDS, text=True
    )
    assert "Traceback" in asked.stderr


@posix
def test_sigterm_leaves_no_part(tmp_path: Path) -> None:
    process = started(["bench", str(tmp_path / "m.gguf"), "--make", "1b"])
    until(lambda: any(tmp_path.iterdir()))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    assert not any(tmp_path.iterdir())
