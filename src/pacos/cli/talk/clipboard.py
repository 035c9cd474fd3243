"""Put a text on the clipboard: by the system's program, else through the terminal itself."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys

from pacos.cli import render
from pacos.errors import UsageError

_SECONDS_MAX = 5
_TERMINAL_BYTES_MAX = 74_994  # so much of base64 is what xterm takes: 100,000 characters


def copy(text: str) -> str:
    """Copy; says in words where to. Errors: UsageError where there is no clipboard."""
    for program in _programs():
        if shutil.which(program[0]) is not None:
            try:
                subprocess.run(
                    program,
                    input=text.encode("utf-8", "replace"),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_SECONDS_MAX,
                    check=True,
                )
                return f"to the clipboard, by {program[0]}"
            except (OSError, subprocess.SubprocessError):
                continue
    data = text.encode("utf-8", "replace")
    if not render.stdout_is_terminal() or os.environ.get("TERM") == "dumb" or len(data) > _TERMINAL_BYTES_MAX:
        raise UsageError("there is no clipboard here", hint="/export FILE.md writes the conversation to a file")
    render.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\x07")
    return "through the terminal, if it allows that"


def _programs() -> list[list[str]]:
    """Those of this system, the likeliest first."""
    if sys.platform == "darwin":
        return [["pbcopy"]]
    if sys.platform == "win32":
        return [["clip"]]
    wayland = [["wl-copy"]] if os.environ.get("WAYLAND_DISPLAY") else []
    x11 = [["xclip", "-selection", "clipboard"], ["xsel", "-ib"]] if os.environ.get("DISPLAY") else []
    return [*wayland, *x11]
