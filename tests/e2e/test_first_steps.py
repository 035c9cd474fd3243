"""docs/first-steps.md, done: every command and program on the page, in order, as a newcomer would."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import environment

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "first-steps.md"
BLOCK = re.compile(r"^```(sh chat|sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAID = {  # what the output of some blocks has, by how they begin
    "pacos list": "storyteller",
    "pacos serve start": "serving at http://127.0.0.1:",
    "curl": '"finish_reason"',
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32" or shutil.which("curl") is None, reason="no POSIX shell or no curl"),
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a newcomer's shell, whose `pacos` and `python` are those of the tests."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in (("pacos", f'"{sys.executable}" -m pacos'), ("python", f'"{sys.executable}"')):
        (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (programs / name).chmod(0o755)
    base = environment(PACOS_HOME=str(tmp_path / "home"))
    found = {**base, "PATH": f"{programs}:{base['PATH']}"}
    yield found
    subprocess.run(["pacos", "serve", "stop"], env=found, capture_output=True, timeout=60, check=False)


def test_every_step_works(shell: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    blocks = BLOCK.findall(PAGE.read_text())
    assert [kind for kind, _ in blocks].count("python") == 2
    assert len(blocks) >= 10
    for kind, text in blocks:
        text = text.replace("8080", str(port))
        line = [sys.executable, "-c", text] if kind == "python" else ["sh", "-ec", text]
        typed = "Tell me a story about a dragon.\n/help\n/exit\n" if kind == "sh chat" else ""
        done = subprocess.run(
            line, env=shell, cwd=tmp_path, input=typed, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        assert done.stdout.strip(), text
        for start, words in SAID.items():
            assert not text.startswith(start) or words in done.stdout, f"{text}\n{done.stdout}"
