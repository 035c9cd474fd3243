"""Modelfiles: what they say, what is refused, and Go templates that are recognised."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import STORYTELLER, here
from gguf_builder import two_tensors

from pacos.errors import ModelNotFound, UsageError
from pacos.hub.entries import Entry, write_entry
from pacos.hub.modelfile import entry_from, read_modelfile, written
from pacos.hub.names import find
from pacos.hub.presets import named_by, ollama_options, recognise_go

WHOLE = '''# a comment
FROM storyteller

parameter temperature 0.25
PARAMETER stop "<|end|>"
PARAMETER stop User:
PARAMETER num_ctx 256
PARAMETER num_predict -2
PARAMETER num_gpu 99
SYSTEM """You are brief.
FROM here on."""
TEMPLATE "chatml"
MESSAGE user Is the sky blue?
MESSAGE assistant """Yes.
Always."""
LICENSE one
LICENSE """two
lines"""
'''


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_everything_that_a_modelfile_says(home: Path) -> None:
    (home / "Modelfile").write_text(WHOLE)
    done = here("create", "brief")
    assert done.code == 0, done.err
    assert "num_gpu has no effect" in done.err
    model = find("brief")
    preset = model.preset
    assert model.path == STORYTELLER
    assert preset.options == {"temp": 0.25, "stop": ["<|end|>", "User:"], "ctx_size": 256, "n_predict": -1}
    assert preset.system == "You are brief.\nFROM here on."
    assert preset.template == "chatml"
    assert preset.messages == (
        {"role": "user", "content": "Is the sky blue?"},
        {"role": "assistant", "content": "Yes.\nAlways."},
    )
    assert preset.licence == "one\n\ntwo\nlines"
    again, _ = entry_from("again", read_modelfile(here("show", "brief", "--modelfile").out), None)
    write_entry(again)
    assert find("again").preset == preset
    assert written(find("again")) == written(model)
    assert here("run", "brief", "-p", "Once", "-n", "2", "--json").code == 0


def test_every_option_is_written_so_that_it_is_read_again() -> None:
    options = {
        "temp": 0.5,
        "n_predict": 7,
        "ctx_size": 64,
        "stop": ["a", ' "b"\n'],
        "stop_ids": [5, 6],
        "samplers": ["top_k", "temperature"],
        "dry_sequence_breakers": ["\n", "x"],
        "logit_bias": [[5, -1.0], [6, 0.25]],
        "ignore_eos": True,
        "rope_freq_base": 1e6,
    }
    write_entry(Entry("much", model="storyteller", options=options))
    text = written(find("much"))
    for line in ("temperature 0.5", "num_predict 7", "num_ctx 64"):
        assert f"PARAMETER {line}\n" in text, "Ollama's clients look for Ollama's names"
    again, notes = entry_from("again", read_modelfile(text), None)
    write_entry(again)
    assert find("again").preset.options == find("much").preset.options
    assert not notes


def test_from_a_file_beside_the_modelfile(home: Path) -> None:
    (home / "inner").mkdir()
    two_tensors().save(home / "inner", "m.gguf")
    (home / "inner" / "Model.file").write_text("FROM ./m.gguf\n")
    assert here("create", "mine", "-f", "inner/Model.file").code == 0
    assert find("mine").path == home / "inner" / "m.gguf"
    with pytest.raises(ModelNotFound):
        entry_from("x", read_modelfile("FROM ./inner/m.gguf"), None)
    assert here("create", "mine", "-f", "none").code == 2
    assert here("create", "storyteller", "-f", "-", stdin="FROM storyteller").code == 2
    assert here("create", "a/../b", "-f", "-", stdin="FROM storyteller").code == 2
    missing = here("create", "mine", "-f", "-", stdin="FROM llama3.2")
    assert "pacos pull ollama:llama3.2" in missing.err
    for path in ("./none.gguf", "none.gguf", "../none"):
        missing = here("create", "mine", "-f", "-", stdin=f"FROM {path}")
        assert missing.code == 3
        assert "a path from the Modelfile's folder" in missing.err
        assert "pacos pull" not in missing.err


BAD = {
    "": "names no model",
    "SYSTEM x": "names no model",
    "FROM a\nFROM b": "line 2.*second FROM",
    "FROM a\nQUANTIZE q4": "line 2.*QUANTIZE",
    "FROM a\n\n# c\nPARAMETER temperature": "line 4.*no value",
    'FROM a\nSYSTEM """open': "line 2.*not closed",
    "FROM a\nMESSAGE robot hi": "line 2.*robot",
    "FROM": "line 1.*FROM",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_modelfile(text: str) -> None:
    with pytest.raises(UsageError, match=BAD[text]):
        read_modelfile(text)


def test_what_a_model_cannot_be_given() -> None:
    for text, said in (
        ("ADAPTER ./x.gguf", "ADAPTER names a path"),
        ("PARAMETER lora /x.gguf", "lora names a path"),
        ("PARAMETER prompt_cache_dir /tmp", "prompt_cache_dir names a path"),
        ("PARAMETER warmth 1", "unknown parameter 'warmth'"),
        ("PARAMETER temperature hot", "temperature"),
        ("PARAMETER temperature -1", "temp is -1"),
        ("TEMPLATE {{ .Odd }}<|odd|>", r"in Go's language: \.Odd is not known"),
    ):
        with pytest.raises(UsageError, match=said):
            entry_from("x", read_modelfile(f"FROM storyteller\n{text}"), None)
    write_entry(Entry("own", model="storyteller"))
    own = read_modelfile("FROM own")
    with pytest.raises(UsageError, match="stand for itself"):
        entry_from("own", own, None)


GO = {
    "chatml": "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}<|im_start|>user\n"
    "{{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ .Response }}<|im_end|>\n",
    "llama3": "{{ range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>"
    "{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": "<start_of_turn>user\n{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}<end_of_turn>\n"
    "<start_of_turn>model\n{{ .Response }}<end_of_turn>\n",
    "llama2": "[INST] {{ if .System }}<<SYS>>\n{{ .System }}\n<</SYS>>\n\n{{ end }}{{ .Prompt }} [/INST]",
    "phi3": "<|user|>\n{{ .Prompt }}<|end|>\n<|assistant|>\n{{ .Response }}<|end|>\n",
    "zephyr": "<|system|>\n{{ .System }}</s>\n<|user|>\n{{ .Prompt }}</s>\n<|assistant|>\n{{ .Response }}</s>\n",
    "alpaca": "{{ .System }}\n\n### Instruction:\n{{ .Prompt }}\n\n### Response:\n",
}


@pytest.mark.parametrize("name", GO)
def test_well_known_templates_of_go(name: str) -> None:
    assert recognise_go(GO[name]) == named_by(GO[name]) == name
    assert recognise_go(GO[name] + "Always lie.") is None, "what it would lose is not lost silently"


def test_templates_in_jinja_and_by_name_stay() -> None:
    jinja = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert [named_by(text) for text in (jinja, "zephyr")] == [jinja, "zephyr"]
    options, notes = ollama_options(
        [("repeat_last_n", "64"), ("use_mmap", "true"), ("stop", ["a", "b"]), ("stop", "c")]
    )
    assert options == {"repeat_last_n": 64, "stop": ["a", "b", "c"]}
    assert len(notes) == 1
