"""Models that are asked for and not here, without a terminal: pulled where the command says so, else told."""

from __future__ import annotations

import os

import pytest
from commands import STORYTELLER, here, program
from fake_hub import FakeHub
from pulling import hub

__all__ = ("hub",)
PROMPT = ("-p", "Tell me a story.", "-n", "4", "--temp", "0")


@pytest.fixture
def tales(hub: FakeHub) -> FakeHub:
    """A hub, a registry and a plain address with models that answer."""
    weights = STORYTELLER.read_bytes()
    hub.repos["org/tale"] = {"tale-Q8_0.gguf": weights, "tale-Q4_0.gguf": weights + b"."}
    hub.add_ollama("small/1b", {"model": weights + b".."})
    hub.plain["/plain.gguf"] = weights + b"..."
    return hub


@pytest.mark.parametrize("command", ["run", "chat", "serve"])
def test_nothing_is_asked_or_pulled_without_a_terminal(command: str, tales: FakeHub) -> None:
    done = here(command, "org/tale")
    assert (done.code, done.out) == (3, "")
    assert done.err == "error: no model 'org/tale' in the store; `pacos pull org/tale` downloads it\n"
    assert tales.asked == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("org/tale:Q4_0", ["run", "org/tale", "--pull"]),
        ("org/tale:Q8_0", ["chat", "-m", "org/tale:q8_0", "--pull"]),
        ("org/tale:Q8_0", ["run", "-hf", "org/tale", "-hff", "tale-Q8_0.gguf"]),
        ("org/tale:Q8_0", ["run", "-m", "org/tale/tale-Q8_0.gguf", "--pull"]),
        ("org/tale:Q8_0", ["run", "-m", "{hub}/org/tale/blob/main/tale-Q8_0.gguf", "--pull"]),
        ("small:1b", ["run", "ollama:small:1b", "--pull"]),
        ("plain", ["run", "-mu", "{hub}/plain.gguf"]),
    ],
)
def test_what_is_not_here_is_pulled_and_answers(name: str, line: list[str], tales: FakeHub) -> None:
    words = [word.replace("{hub}", tales.url) for word in line]
    first = here(*words, *PROMPT)
    assert first.code == 0, first.err
    assert first.out.startswith("Once upon")
    assert [one["name"] for one in here("list", "--json").data] == [name, "storyteller"]
    tales.asked.clear()
    offline = here(*words, *PROMPT, "--offline")
    assert (offline.code, offline.out) == (0, first.out)
    assert tales.asked == []


def test_offline_wins(tales: FakeHub) -> None:
    for more in ({"PACOS_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "1"}):
        assert here("run", "org/tale", "--pull", *PROMPT, **more).code == 3
    done = here("run", "-hf", "org/tale", "--offline", *PROMPT)
    assert done.code == 3 and "`pacos pull org/tale` downloads it" in done.err
    assert here("pull", "org/tale", PACOS_OFFLINE="1").err.startswith("error: PACOS_OFFLINE is set")
    assert tales.asked == []


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["run", "-hf", "org/nosuch"], 3, "org/nosuch: it is private, or does not exist"),
        (["run", "-hf", "org/tale:Q2_K"], 3, "it has Q4_0, Q8_0"),
        (["run", "storyteller", "-hff", "x.gguf"], 2, "'storyteller' is no repository"),
        (["serve", "-hff", "x.gguf"], 2, "--hf-file is given, and not exactly one model"),
        (["run", "-dr", "ai/small"], 2, "--hf-repo ORG/NAME"),
        (["run", "ollama:none", "-p", "Hi"], 3, "`pacos pull ollama:none` downloads it"),
        (["run", "https://host/x.gguf", "-p", "Hi"], 3, "`pacos pull https://host/x.gguf` downloads it"),
    ],
)
def test_what_cannot_be_had_is_told(line: list[str], code: int, words: str, tales: FakeHub) -> None:
    done = here(*line)
    assert done.code == code and words in done.err, done.err


@pytest.mark.skipif(os.name != "posix", reason="a server in the background needs a POSIX system")
def test_a_server_gets_its_model_before_it_goes_to_the_background(tales: FakeHub) -> None:
    try:
        done = program("serve", "start", "-hf", "org/tale:q8_0", "--port", "0")
        assert done.code == 0, done.err
        assert [one["name"] for one in here("list", "--json").data] == ["org/tale:Q8_0", "storyteller"]
    finally:
        assert program("serve", "stop").code == 0
