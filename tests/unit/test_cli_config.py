"""`pacos config`: the user's own defaults, and what `run` makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import here

GREEDY = ("-p", "A cat.", "-n", "6", "--json")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    return tmp_path / "config.json"


def test_values_are_set_shown_and_taken_away(file: Path) -> None:
    assert here("config", "path").out == f"{file}\n"
    assert here("config", "show", "--json").data == {}
    assert here("config", "init").code == 0 and file.read_text() == "{}\n"
    assert here("config", "init").code == 2
    for line in (("temperature", "0.5"), ("max_tokens", "7"), ("context_size", "auto"), ("-m", "small", "top_k", "3")):
        assert here("config", "set", *line).code == 0, line
    wanted = {"temp": 0.5, "n_predict": 7, "ctx_size": 0, "models": {"small": {"top_k": 3}}}
    assert here("config", "show", "--json").data == wanted == json.loads(file.read_text())
    assert ["small", "top_k", "3"] in [line.split() for line in here("config", "show").out.splitlines()]
    assert here("config", "set", "temp", "--rm").code == 0
    assert here("config", "set", "-m", "small", "top_k", "--rm").code == 0
    assert here("config", "show", "--json").data == {"n_predict": 7, "ctx_size": 0}


def test_run_follows_them_where_nothing_else_says_otherwise(file: Path) -> None:
    values = {"temp": 0, "n_predict": 3, "system_prompt": "Be kind.", "quiet": True}
    file.write_text(json.dumps({**values, "default_model": "own", "models": {"own": {"n_predict": 4}}}))
    assert here("alias", "own", "storyteller").code == 0
    found = here("run", "-p", "A cat.", "--json").data
    assert found["timings"]["generated_tokens"] == 4, "of the model that answers by default"
    assert here("run", "storyteller", "-p", "A cat.", "--json").data["timings"]["generated_tokens"] == 3
    assert here("run", "-p", "A cat.", "-n", 5, "--json").data["timings"]["generated_tokens"] == 5
    assert here("run", "-p", "A cat.", "--json", PACOS_N_PREDICT="2").data["timings"]["generated_tokens"] == 2
    spoken = here("run", "-p", "A cat.", "--json", "--system", "Be kind.").data
    assert spoken["token_ids"] == found["token_ids"]
    assert here("run", "-p", "A cat.", "--json", "--system", "").data["prompt_tokens"] < found["prompt_tokens"]


def test_what_a_name_gives_stands_between(file: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM storyteller\nPARAMETER num_predict 5\nSYSTEM Speak up.\n")
    assert here("create", "own", "-f", tmp_path / "Modelfile").code == 0
    named = here("run", "own", "-p", "A cat.", "--json").data
    file.write_text('{"n_predict": 3, "system_prompt": "Be kind and say what you think of it."}')
    found = here("run", "own", "-p", "A cat.", "--json").data
    assert found["timings"]["generated_tokens"] == 5 and found["prompt_tokens"] == named["prompt_tokens"]
    file.write_text('{"models": {"own": {"n_predict": 3, "system_prompt": "Be kind and say what you think of it."}}}')
    found = here("run", "own", "-p", "A cat.", "--json").data
    assert found["timings"]["generated_tokens"] == 3 and found["prompt_tokens"] > named["prompt_tokens"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no object"),
        ('{"temperatur": 1}', "unknown key 'temperatur'; did you mean temp"),
        ('{"temp": "hot"}', "temp is 'hot'"),
        ('{"temp": 1, "temperature": 1}', "temperature says again what temp says"),
        ('{"gpu_layers": 3}', "gpu_layers has no effect"),
        ('{"models": []}', "models is []"),
        ('{"models": {"a": {"default_model": "b"}}}', "a: unknown key 'default_model'"),
        ('{"top_k": -5}', "top_k is -5"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_wrong_file_is_told_and_nothing_runs(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    for line in (("run", *GREEDY), ("config", "show"), ("config", "set", "temp", "1")):
        done = here(*line)
        assert done.code == 2 and words in done.err and str(file) in done.err, done.err
    assert file.read_text() == text


def test_a_wrong_value_is_not_set(file: Path) -> None:
    for line, words in (
        (("temp", "hot"), "temp is 'hot'"),
        (("frob", "1"), "unknown key 'frob'"),
        (("temp",), "give KEY and VALUE"),
        (("template", "chatmll"), "no chat template named 'chatmll'; did you mean chatml?"),
        (("-m", "a", "default_model", "b"), "unknown key 'default_model'"),
    ):
        done = here("config", "set", *line)
        assert done.code == 2 and words in done.err, done.err
    assert not file.exists()


def test_names_of_models_are_listed_given_and_taken() -> None:
    assert here("config", "alias", "small", "storyteller").code == 0
    assert here("config", "alias", "--json").data == {"small": "storyteller"} == here("alias", "--json").data
    assert "small" in here("config", "alias").out
    assert here("config", "alias", "small", "rm").code == 0
    assert here("config", "alias", "--json").data == {}
