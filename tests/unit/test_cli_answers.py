"""`pacos run` and `pacos chat`: constrained answers and thoughts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import here

PROPERTIES = '{"kind": {"enum": ["cat", "dog"]}}'
SCHEMA = f'{{"type": "object", "properties": {PROPERTIES}, "required": ["kind"], "additionalProperties": false}}'
THINKER = "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ '<think>\n' }}"


def test_constraints_from_flags_files_and_variables(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(SCHEMA)
    grammar = tmp_path / "words.gbnf"
    grammar.write_text('root ::= "yes" | "no"\n')
    for arguments in (["-j", SCHEMA], ["--json-schema-file", str(file)], ["-jf", str(file), "--raw"]):
        done = here("run", "-p", "A pet.", "--seed", "1", *arguments)
        assert json.loads(done.out)["kind"] in {"cat", "dog"}, done.err
    assert here("run", "-p", "Well?", "--grammar-file", str(grammar)).out.strip() in {"yes", "no"}
    assert here("run", "-p", "Well?", "--choice", "up", "--choice", "down").out.strip() in {"up", "down"}
    assert here("run", "-p", "Well?", "--regex", "[0-9]{4}").out.strip().isdigit()
    assert here("run", "-p", "Well?", "--lark", 'start: "a" "b"').out.strip() == "ab"
    assert here("run", "-p", "Well?", PACOS_REGEX="[0-9]{4}").out.strip().isdigit()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-j", '{"not": {}}'], "'not' cannot be enforced"),
        (["-j", "{"], "is not JSON"),
        (["--grammar", 'start ::= "a"'], "no rule named root"),
        (["--regex", "a", "--choice", "b"], "regex and choice both constrain the answer"),
        (["--grammar", 'root ::= "a"', "--grammar-file", "x"], "--grammar and --grammar-file are both given"),
        (["--grammar-file", "/nowhere/x.gbnf"], "--grammar-file /nowhere/x.gbnf"),
        (["--regex", "a", "--ignore-eos"], "ignore_eos"),
        (["--choice", ""], "--choice has the entry ''"),
        (["--reasoning-budget", "3", "--raw"], "no effect with --raw"),
        (["--reasoning", "perhaps"], "auto, on, off"),
        (["--reasoning-budget", "-2"], "--reasoning-budget is -2"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], words: str) -> None:
    done = here("run", "-p", "A pet.", *arguments)
    assert (done.code, done.out) == (2, "") and words in done.err


def test_thoughts_are_no_part_of_the_answer(tmp_path: Path) -> None:
    template = tmp_path / "thinker.jinja"
    template.write_text(THINKER)
    thinking = ("--chat-template", str(template), "--reasoning-budget", "5", "-n", "30", "--seed", "1", "-p", "A pet.")
    found = here("run", *thinking, "--json").data
    assert found["reasoning"] and found["text"] and "think>" not in found["text"]
    assert here("run", *thinking).out.strip() == found["text"].strip()
    inside = here("run", *thinking, "--reasoning-format", "none").out
    assert "</think>" in inside and found["reasoning"] in inside
    assert "think>" not in here("chat", *thinking[:-2], stdin="A pet.\n").out
