"""docs/coming-from.md and docs/sessions.md, done: every line on these pages, those of other programs with our name."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import llama_builder
import pytest
from commands import PROGRAM, STORYTELLER, environment, here, program
from fake_hub import FakeHub
from pulling import hub

from pacos.sessions import Sessions

__all__ = ("hub",)

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOUND = [block for page in ("coming-from", "sessions") for block in BLOCK.findall((DOCS / f"{page}.md").read_text())]
BLOCKS = [text for kind, text in FOUND if kind == "sh"]
PROGRAMS = [text for kind, text in FOUND if kind == "python"]
SAID = {  # what the output of some lines has
    "pacos -v": "pacos ",
    "pacos list": "org/tale:Q8_0",
    "pacos info -m models/7B/ggml-model-q4_0.bin -t": "token_embd.weight",
    "pacos config show": "Be brief.",
    "pacos config alias": "copied",
    "pacos serve status": "serving at",
    "pacos serve logs": "listening on",
}
SECONDS = 60


@pytest.fixture
def desk(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the lines name, and a hub to pull from."""
    hub.repos["org/tale"] = {"tale-Q8_0.gguf": STORYTELLER.read_bytes()}
    folder = tmp_path / "desk"
    (folder / "models" / "7B").mkdir(parents=True)
    (folder / "examples").mkdir()
    weights = llama_builder.random_weights()
    llama_builder.save_legacy(folder / "models" / "7B" / "ggml-model-q4_0.bin", weights, "ggmf", 1)
    (folder / "model.gguf").write_bytes(STORYTELLER.read_bytes())
    (folder / "examples" / "prompt.txt").write_text("Tell me a story.\n")
    (folder / "examples" / "text.txt").write_text("Once there was a fox. " * 40)
    (folder / "examples" / "alpaca_prompt.txt").write_text("### Instruction:\n{{PROMPT}}\n\n### Response:\n")
    (folder / "yes.gbnf").write_text('root ::= "yes" | "no"')
    with Sessions() as sessions:
        sessions.append(sessions.create("mine").id, "user", "Tell me a story.")
    monkeypatch.chdir(folder)
    yield folder
    program("serve", "stop")


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_every_line_of_other_programs_works(block: int, desk: Path) -> None:
    for line in filter(None, BLOCKS[block].splitlines()):
        name, *words = shlex.split(line)
        assert name == "pacos"
        if words[0] in ("api", "serve") and os.name != "posix":
            continue  # a server in the background needs a POSIX system
        if words[0] == "api" or words[:2] == ["serve", "start"]:
            words = [word for word in words if word not in ("3000", "8081", "--port")] + ["--port", "0"]
        if words[0] == "api":
            served(line, words)
            continue
        call = program if words[0] in ("serve", "server") else here  # the process that starts a server ends before it
        done = call(*words, stdin=typed(words))
        assert done.code == 0, (line, done.err)
        assert SAID.get(line, "") in done.out, (line, done.out)


def test_the_program_on_the_page_about_sessions_runs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in PROGRAMS:
        exec(text, {})
    assert "another story" in capsys.readouterr().out
    assert "Tell me a story." in here("sessions", "list").out


def typed(words: list[str]) -> str:
    """What is piped into a program that reads lines."""
    if words[0] == "chat" and "-p" not in words:
        return "Tell me a story.\n/tokens\n/sessions\n/exit\n"
    return "One\nTwo\n" if {"repl", "--repl", "-R"} & set(words) else ""


def served(line: str, words: list[str]) -> None:
    """Start a server, wait until it listens, and end it."""
    process = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stderr is not None
        until = time.monotonic() + SECONDS
        said = []
        while not any("listening on" in one for one in said):
            assert time.monotonic() < until and process.poll() is None, (line, said)
            said.append(process.stderr.readline())
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-m model.gguf -p x --tokenizer-path other", "--tokenizer-path cannot be used"),
        ("-m model.gguf -p x --token-bias 5", "--token-bias is '5'"),
        ("-m model.gguf -p x --token-bias", "--token-bias requires an argument"),
        ("-m model.gguf -p x --sampler nosuch:k=1", "--sampler has 'nosuch'"),
        ("-m model.gguf -p x --sampler topk:q=1", "--sampler topk has 'q=1'"),
        ("-m model.gguf -p x --rpc host", "--rpc cannot be used"),
        ("-m model.gguf -p x --host here", "No such option '--host'"),
        ("run -g json --json-schema {} -p x", "grammar json and json_schema are both given"),
    ],
)
def test_what_cannot_be_had_is_told(line: str, words: str, desk: Path) -> None:
    done = here(*shlex.split(line))
    assert done.code == 2 and words in done.err, done.err
