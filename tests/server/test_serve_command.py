"""`pacos serve` as a process: it answers, it drains, it refuses to be reached by strangers."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from serving import served

CHAT = {"messages": [{"role": "user", "content": "Tell me a story."}], "temperature": 0}
posix = pytest.mark.skipif(os.name != "posix", reason="signals and unix sockets as POSIX has them")


def test_answers_the_same_as_the_library() -> None:
    import pacos

    with pacos.load("storyteller") as llm:
        wanted = llm.chat(CHAT["messages"], temp=0, n_predict=30).text  # type: ignore[arg-type]
    with served() as server:
        server.wait_until_ready()
        reply = httpx.post(f"{server.url}/v1/chat/completions", json={**CHAT, "max_tokens": 30})
    assert reply.json()["choices"][0]["message"]["content"] == wanted


def test_same_seed_same_text_alone_and_among_others() -> None:
    body = {**CHAT, "temperature": 1.0, "seed": 11, "max_tokens": 40}
    with served() as server:
        server.wait_until_ready()
        alone = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
        texts: list[str] = []

        def ask(seed: int) -> None:
            reply = httpx.post(f"{server.url}/v1/chat/completions", json={**body, "seed": seed}, timeout=60)
            if seed == 11:
                texts.append(reply.json()["choices"][0]["message"]["content"])

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == [alone]


@posix
def test_term_lets_running_answers_end() -> None:
    with served("--drain", "60") as server:
        server.wait_until_ready()
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json={**CHAT, "stream": True, "max_tokens": 400}, timeout=60
        ) as reply:
            lines = reply.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line.startswith("data: ")]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] in {"stop", "length"}
        assert server.wait() == 0
    assert any("stopping" in line for line in server.log)


@posix
def test_second_signal_ends_at_once() -> None:
    body = {**CHAT, "stream": True, "ignore_eos": True, "context_policy": "shift", "max_tokens": 10**6}  # endless
    with served("--drain", "600") as server:
        server.wait_until_ready()
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as reply:
            next(reply.iter_lines())
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("stopping")  # two signals at once are one: the system keeps no count of them
            server.process.send_signal(signal.SIGTERM)
            assert server.wait() == 143


@posix
def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "pacos.sock"
    with served("--host", str(path)) as server:
        assert server.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://pacos") as client:
            assert client.get("/health").status_code in {200, 503}
    assert not path.exists()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pacos", "serve", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


REFUSED = {
    "no key": (("--host", "0.0.0.0"), 2, "API key"),
    "no model": (("no-such-model.gguf",), 3, "no-such-model.gguf"),
    "half of TLS": (("--ssl-key-file", "key.pem"), 2, "--ssl-cert-file"),
    "same name twice": (("storyteller", "storyteller"), 2, "two models"),
    "no key file": (("--api-key-file", "no-such-file"), 2, "no-such-file"),
    "no folder for responses": (("--responses-dir", __file__), 2, "responses cannot be kept"),
    "no template": (("--chat-template", "nosuch"), 2, "no chat template named 'nosuch'"),
    "no presets": (("--models-preset", "no-such-file"), 2, "no-such-file"),
    "no models file": (("--models-file", "no-such-file"), 2, "no-such-file"),
    "H-25-address": (("--host", "256.1.1.1", "--api-key", "k"), 2, "cannot listen"),
    "H-25-address-of-another": (("--host", "192.0.2.1", "--api-key", "k"), 2, "cannot listen"),
    "H-25-long-socket": (("--host", "./" + "x" * 200 + ".sock"), 2, "cannot listen"),
    "H-25-socket-without-a-folder": (("--host", "/no/such/folder/x.sock"), 2, "cannot listen"),
}


def test_refuses_a_place_for_conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    (tmp_path / "state").write_text("no folder")
    found = _run("storyteller", "--conversations")
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("error: conversations cannot be kept in ")


@pytest.mark.parametrize(("arguments", "code", "word"), REFUSED.values(), ids=REFUSED)
def test_refuses(arguments: tuple[str, ...], code: int, word: str) -> None:
    found = _run(*arguments)
    assert found.returncode == code, found.stderr
    assert word in found.stderr
    assert "Traceback" not in found.stderr


@posix
def test_h_25_file_in_the_place_of_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    path.write_text("mine")
    found = _run("--host", str(path))
    assert (found.returncode, "cannot listen" in found.stderr) == (2, True)
    assert path.read_text() == "mine"


def test_h_25_port_that_is_taken() -> None:
    with served() as server:
        found = _run("--port", server.url.rpartition(":")[2])
    assert found.returncode == 2
    assert "stop the other server" in found.stderr


def test_model_that_cannot_be_opened_ends_the_server(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(64))
    found = _run(str(damaged), "--port", "0")
    assert found.returncode == 3
    assert "damaged.gguf" in found.stderr
    assert "Traceback" not in found.stderr
