"""What a prompt is made of: words, files that go with them, a template to put them in, and what is piped in."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence

from pacos.cli import render
from pacos.cli.options import read_text_option
from pacos.errors import UsageError

PLACE = "{{PROMPT}}"  # llama-rs's, in a template


def read_prompt(words: str | None, prompt: str | None, files: Sequence[str], *, raw: bool) -> str | None:
    """The whole prompt; None when there is none. `raw` puts files before it as they are.

    Words come from the argument, --prompt, or standard input. With words, a file with {{PROMPT}} in it is a template
    for them, other files and what is piped in go before them. Without, the files are the prompt.
    Errors: UsageError for words that are given twice, and as `read_text_option`.
    """
    if words is not None and prompt is not None:
        raise UsageError("the prompt is given more than once", hint="use one of PROMPT and --prompt")
    text = words if words is not None else prompt
    texts = [(os.path.basename(file), _file_text(file)) for file in files]
    templates = [content for _, content in texts if PLACE in content]
    contexts = [one for one in texts if PLACE not in one[1]]
    if text == "-":
        text = _standard_input() or None
    elif text is not None and "-" not in files and _is_piped():
        contexts += [("standard input", piped)] if (piped := _standard_input()) else []
    elif text is None and (templates or not files) and "-" not in files and not _is_typed():
        text = _standard_input() or None
    if text is None:
        if templates:
            raise UsageError(f"a file has {PLACE}, and there are no words for it", hint='give -p "TEXT", or --repl')
        return "\n\n".join(content for _, content in contexts) if contexts else None
    return with_files(filled(templates, text), contexts, raw=raw)


def read_template(prompt: str | None, files: Sequence[str]) -> str:
    """What --repl puts each line into: --prompt or the files, with {{PROMPT}} in them, or the line alone.

    Errors: UsageError for several, or one without {{PROMPT}}.
    """
    texts = [*([prompt] if prompt is not None else []), *map(_file_text, files)]
    if len(texts) > 1:
        raise UsageError(f"--repl has {len(texts)} templates", hint="give one of --prompt and --file")
    if texts and PLACE not in texts[0]:
        raise UsageError(f"the template of --repl has no {PLACE}", hint="write it where each line goes")
    return texts[0] if texts else PLACE


def filled(templates: Sequence[str], text: str) -> str:
    """The text in its template, or as it is. Errors: UsageError for several templates."""
    if len(templates) > 1:
        raise UsageError(f"{len(templates)} files have {PLACE}", hint="give one template")
    return templates[0].replace(PLACE, text) if templates else text


def with_files(prompt: str, files: Sequence[tuple[str, str]], *, raw: bool = False) -> str:
    """A prompt behind the files that it is about, each fenced under its name; `raw` adds nothing but blank lines."""
    if raw:
        return "\n\n".join([*(content for _, content in files), prompt])
    return "\n\n".join([*(_fenced(*one) for one in files), prompt])


def _fenced(name: str, content: str) -> str:
    runs = re.findall(r"^`{3,}", content, re.MULTILINE)
    fence = "`" * (1 + max((len(run) for run in runs), default=2))
    return f"{name}:\n{fence}\n{content}{'' if content.endswith(chr(10)) else chr(10)}{fence}"


def _file_text(path: str) -> str:
    """A file without one line break at its end."""
    return read_text_option(path, "--file").removesuffix("\n").removesuffix("\r")


def _standard_input() -> str:
    with render.waiting("reading standard input ..."):
        return read_text_option("-", "standard input").rstrip("\n")


def _is_typed() -> bool:
    return sys.stdin is None or sys.stdin.isatty()


def _is_piped() -> bool:
    """Whether standard input is a file or a pipe; else, as with /dev/null or a socket, nobody means it to be read."""
    if _is_typed():
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return True  # it is no file of the system, but somebody made it
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
