"""llama-server's arguments and variables, translated into ours."""

from __future__ import annotations

import pytest

from pacos.cli.serve import command
from pacos.errors import UsageError
from pacos.server.llama_flags import llama_flags, translated

TRANSLATED = {
    "the everyday line": (
        ["-m", "model.gguf", "-c", "4096", "-ngl", "99", "--port", "9000", "-fa", "on"],
        ["--model", "model.gguf", "--ctx-size", "4096", "--port", "9000"],
    ),
    "automatic numbers": (["-t", "-1", "-np", "-1"], ["--threads", "0", "--parallel", "0"]),
    "values after a sign": (["--ctx-size=64", "--n-gpu-layers=all"], ["--ctx-size", "64"]),
    "an argument left out": (["-fa", "-m", "x"], ["--model", "x"]),
    "a file for a template": (["--chat-template-file", "t.jinja"], ["--chat-template", "t.jinja"]),
    "switched off": (["--no-cache-prompt", "--no-webui", "--no-context-shift"], ["--no-cache-prompt", "--no-ui"]),
    "another page": (
        ["--webui", "--path", "web", "--api-prefix", "/x"],
        ["--ui", "--path", "web", "--api-prefix", "/x"],
    ),
    "a value that looks like an argument": (["-m", "-c"], ["--model", "-c"]),
    "answers": (["--reasoning-budget", "0", "-j", "{}"], ["--reasoning-budget", "0", "--json-schema", "{}"]),
    "a repository": (
        ["-hf", "org/tale:Q8_0", "-hff", "tale.gguf", "--offline"],
        ["--model", "org/tale:Q8_0", "--pull", "--hf-file", "tale.gguf", "--offline"],
    ),
    "an address": (["-mu", "https://host/x.gguf"], ["--model", "https://host/x.gguf", "--pull"]),
    "ours": (["storyteller", "--memory-limit", "8"], ["storyteller", "--memory-limit", "8"]),
    "what follows two dashes": (["--", "-ngl"], ["--", "-ngl"]),
    "another form of log": (["--log-jsonl"], ["--log-format=json"]),
    "a last argument without its value": (["-m"], ["--model"]),
}


@pytest.mark.parametrize(("given", "wanted"), TRANSLATED.values(), ids=TRANSLATED)
def test_arguments(given: list[str], wanted: list[str]) -> None:
    assert translated(given, {})[0] == wanted


def test_what_changes_nothing_is_told() -> None:
    assert translated(["-ngl", "99"], {})[1] == ["-ngl has no effect: there is nothing to offload to"]


@pytest.mark.parametrize("flag", ["-md", "--mmproj", "--tools", "--rpc", "--control-vector"])
def test_refused(flag: str) -> None:
    with pytest.raises(UsageError, match=f"{flag} cannot be used"):
        translated([flag, "x"], {})


def test_variables_come_first_and_ours_win() -> None:
    environment = {"LLAMA_ARG_CTX_SIZE": "64", "LLAMA_ARG_MODEL": "m.gguf", "LLAMA_ARG_N_GPU_LAYERS": "9"}
    assert translated(["-c", "32"], environment)[0] == ["--ctx-size", "64", "--model", "m.gguf", "--ctx-size", "32"]
    assert translated([], {**environment, "PACOS_CTX_SIZE": "16"})[0] == ["--model", "m.gguf"]


def test_switches_in_variables() -> None:
    assert translated([], {"LLAMA_ARG_CACHE_PROMPT": "0"})[0] == ["--no-cache-prompt"]
    assert translated([], {"LLAMA_ARG_CACHE_PROMPT": "on"})[0] == ["--cache-prompt"]
    assert translated([], {"LLAMA_ARG_CONTEXT_SHIFT": "false"})[0] == []
    assert translated([], {"LLAMA_ARG_UI": "0", "LLAMA_ARG_STATIC_PATH": "web"})[0] == ["--path", "web", "--no-ui"]
    assert translated([], {"LLAMA_ARG_CONTEXT_SHIFT": "1"})[0] == ["--context-policy=shift"]
    assert translated([], {"LLAMA_ARG_AGENT": "false"})[0] == []
    with pytest.raises(UsageError, match="LLAMA_ARG_AGENT"):
        translated([], {"LLAMA_ARG_AGENT": "1"})


def test_every_argument_that_is_ours_exists() -> None:
    run = command.commands["run"]
    known = {flag for one in run.params for flag in (*one.opts, *one.secondary_opts)}
    words = {one.word.partition("=")[0] for one in llama_flags() if one.kind in ("same", "pull")} | {"--pull"}
    assert words <= known, words - known
    assert {one.kind for one in llama_flags()} == {"same", "pull", "none", "refuse"}


def test_no_argument_is_there_twice() -> None:
    flags = [flag for one in llama_flags() for flag in one.flags]
    assert len(flags) == len(set(flags))
