"""Shell completion: what a shell asks, and the answer in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def asked(line: str, home: Path) -> list[str]:
    """The words that complete the line, whose end is what is being typed."""
    words = line.split()
    position = len(words) if line.endswith(" ") else len(words) - 1
    told = {"COMP_WORDS": line, "COMP_CWORD": str(position), "_PACOS_COMPLETE": "bash_complete"}
    environment = os.environ | told | {"PACOS_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "pacos"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.stderr
    return [word for word in done.stdout.splitlines() if word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pacos quan", ["plain,quantize"]),
        ("pacos gguf d", ["plain,dump"]),
        ("pacos run --context-pol", ["plain,--context-policy"]),
        ("pacos run --context-policy s", ["plain,shift"]),
        ("pacos run story", ["file,story", "plain,storyteller"]),
        ("pacos chat -m story", ["file,story", "plain,storyteller"]),
        ("pacos serve --slot-save-path x", ["dir,x"]),
        ("pacos perplexity m --file x", ["file,x"]),
        ("pacos completion z", ["plain,zsh"]),
        ("pacos run -p wo", []),
    ],
)
def test_a_line_is_completed(line: str, words: list[str], tmp_path: Path) -> None:
    assert asked(line, tmp_path) == words


def test_names_of_the_store_complete(tmp_path: Path) -> None:
    from pacos.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACOS_HOME", str(tmp_path))
        with pytest.raises(SystemExit) as ended:
            main(["alias", "dragonteller", "storyteller"])
        assert ended.value.code == 0
    assert asked("pacos show drag", tmp_path) == ["file,drag", "plain,dragonteller"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    program = tmp_path / "pacos"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pacos "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(pacos completion bash)"
        COMP_WORDS=(pacos per) COMP_CWORD=1
        _pacos_completion pacos per pacos
        echo "${COMPREPLY[@]}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": path, "PACOS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["perplexity"], done.stderr


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef pacos"), ("fish", "complete --no-files --command pacos")]
)
def test_other_shells_get_their_script(shell: str, mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    from pacos.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])
    assert ended.value.code == 0
    assert mark in capsys.readouterr().out
