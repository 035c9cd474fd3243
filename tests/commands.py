"""Run `pacos` commands: as a program of its own, or in this process where only its words count."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from patience import SECONDS

import pacos
from pacos.cli.main import main

STORYTELLER = Path(pacos.__file__).parent / "data" / "storyteller.gguf"
PROGRAM = [sys.executable, "-m", "pacos"]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


def environment(**variables: str) -> dict[str, str]:
    """This process's variables without those that would change what a command does."""
    ours = ("PACOS_HOME", "PACOS_NATIVE_LIBRARY", "PACOS_OLLAMA_REGISTRY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACOS_") or name in ours}
    return {**kept, "NO_COLOR": "1", **variables}


def program(*arguments: object, stdin: str = "", **variables: str) -> Outcome:
    """Run the program in a process of its own, without a terminal."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin.encode(),
        capture_output=True,
        env=environment(**variables),
        timeout=SECONDS,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def here(*arguments: object, stdin: str | bytes = "", **variables: str) -> Outcome:
    """Run a command in this process."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    code = 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8")),
        patch.dict(os.environ, environment(**variables), clear=True),
    ):
        try:
            main([str(one) for one in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Outcome(code, *texts)
