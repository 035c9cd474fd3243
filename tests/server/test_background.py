"""`pacos serve start|stop|status|logs`: one server in the background, and never a signal to what is not ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from patience import until

from pacos.server import background

pytestmark = pytest.mark.skipif(os.name != "posix", reason="servers in the background need a POSIX system")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    return tmp_path / "state"


def run(*arguments: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pacos", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def test_life_of_a_server(state: Path) -> None:
    assert run("status").returncode == 1
    started = run("start", "-m", "storyteller", "--port", "0")
    assert started.returncode == 0, started.stderr
    try:
        told = json.loads(run("status", "--json").stdout)
        assert told["running"]
        assert httpx.get(f"{told['url']}/health").status_code in {200, 503}
        again = run("start", "--port", "0")
        assert again.returncode == 2
        assert f"pid {told['pid']}" in again.stderr
        assert "listening on" in run("logs").stdout
        assert run("logs", "-n", "0").stdout == ""
        assert (state.stat().st_mode & 0o777) == 0o700
    finally:
        stopped = run("stop")
    assert f"pid {told['pid']}" in stopped.stdout
    assert run("status").returncode == 1
    assert "no server is running" in run("stop").stdout


def test_server_that_cannot_start_says_why() -> None:
    for arguments, code, word in (
        (("--prot", "1"), 2, "--prot"),
        (("--port", "99999"), 2, "port"),
        (("no-such-model.gguf", "--port", "0"), 3, "no-such-model.gguf"),
        (("--host", "0.0.0.0"), 2, "API key"),
    ):
        found = run("start", *arguments)
        assert (found.returncode, word in found.stderr) == (code, True), found.stderr


def test_crash_leaves_no_doubt() -> None:
    assert run("start", "--port", "0").returncode == 0
    found = background.running()
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: background.running() is None)
    assert run("status").returncode == 1
    assert run("start", "--port", "0").returncode == 0
    assert run("stop").returncode == 0


def test_foreign_process_is_never_signalled(state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        try:
            with background.held("http://127.0.0.1:1"):  # a server lives, yet the file names another process
                data = {"pid": stranger.pid, "began": "another time", "url": "http://127.0.0.1:1"}
                (state / "server.json").write_text(json.dumps(data))
                assert background.running() is None
                background.send(background.Running(**data), signal.SIGKILL)
                assert background.stop(1, kill=True) is None
            time.sleep(0.05)
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1, "began": "", "url": ""}', "\0"])
def test_pid_file_that_is_none(state: Path, text: str) -> None:
    state.mkdir()
    (state / "server.json").write_text(text)
    assert background.running() is None
    assert background.stop(1) is None


def test_two_servers_cannot_both_be_it() -> None:
    from pacos.errors import UsageError

    with background.held("http://127.0.0.1:1"):
        found = background.running()
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(UsageError, match="is running"), background.held("http://127.0.0.1:2"):
            pass
    assert background.running() is None
