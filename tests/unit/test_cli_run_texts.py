"""`pacos run` with files, standard input, --repl, and texts that are kept in files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from commands import PROGRAM, STORYTELLER, Outcome, environment, here

from pacos.llm import load

GREEDY = ("--temp", "0", "-n", "12")


def answer(*arguments: object, **given: str) -> Outcome:
    done = here("run", *arguments, *GREEDY, **given)
    assert done.code == 0, done.err
    return done


def prompt_of(*arguments: object, **given: str) -> str:
    """The text that the model sees, without its template."""
    return here("run", "--raw", *arguments, "--dump-prompt-tokens", **given).out


def test_files_and_what_is_piped_in_are_what_a_prompt_is_about(tmp_path: Path) -> None:
    report, other = tmp_path / "report.txt", tmp_path / "other.md"
    report.write_text("A fox.\n")
    other.write_text("A `code`\n```\nblock\n```\n")
    fenced = "report.txt:\n```\nA fox.\n```\n\nother.md:\n````\nA `code`\n```\nblock\n```\n````\n\nShort."
    assert answer("Short.", "--file", report, "-f", other, "-m", "storyteller").out == answer("-p", fenced).out
    piped = "standard input:\n```\nA fox.\n```\n\nShort."
    assert answer("storyteller", "Short.", stdin="A fox.\n").out == answer("-p", piped).out
    assert prompt_of("-p", "Go on.", "-f", report) == prompt_of("-p", "A fox.\n\nGo on.")
    both = prompt_of("-f", report, "-f", report)
    assert both == prompt_of("-p", "A fox.\n\nA fox.")


def test_a_real_pipe_and_a_real_file_are_read_and_dev_null_is_not(tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    file.write_text("A fox.")
    command = [*PROGRAM, "run", "-p", "Go on.", "--raw", "--dump-prompt-tokens"]
    with file.open() as given:
        from_file = subprocess.run(command, stdin=given, capture_output=True, env=environment()).stdout
    piped = subprocess.run(command, input=b"A fox.", capture_output=True, env=environment()).stdout
    nothing = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment()).stdout
    assert from_file.decode() == piped.decode() == prompt_of("-p", "A fox.\n\nGo on.")
    assert nothing.decode() == prompt_of("-p", "Go on.")


def test_a_template_takes_the_prompt(tmp_path: Path) -> None:
    template = tmp_path / "template.txt"
    template.write_text("Instruction: {{PROMPT}}\n\nResponse:\r\n")
    wanted = prompt_of("-p", "Instruction: Go.\n\nResponse:")
    assert prompt_of("-p", "Go.", "-f", template) == prompt_of("-f", template, stdin="Go.\n") == wanted
    done = here("run", "-f", template)
    assert done.code == 2 and "there are no words for it" in done.err
    done = here("run", "-p", "x", "-f", template, "-f", template)
    assert done.code == 2 and "2 files have {{PROMPT}}" in done.err


def test_tokens_of_the_prompt_are_dumped() -> None:
    out = here("run", "--raw", "-p", "A fox", "--dump-prompt-tokens").out.splitlines()
    with load("storyteller", vocab_only=True) as llm:
        tokens = llm.tokenize("A fox")
    assert out[0] == str(tokens) and out[1].endswith(f": {tokens[0]}") and len(out) == 1 + len(tokens)


def test_a_text_goes_on_where_its_file_ended(tmp_path: Path) -> None:
    file = tmp_path / "text"
    first = answer("--raw", "-p", "Once upon a time", "--persist-session", file, "--json").data
    assert os.name != "posix" or file.stat().st_mode & 0o777 == 0o600
    second = answer("--raw", "-p", " The end", "--persist-session", file, "--json").data
    with load("storyteller") as llm:
        more = llm.tokenize(" The end", add_special=False)
        whole = [*first["token_ids"], *more]
        assert second["token_ids"][: second["prompt_tokens"]] == whole
        assert second["timings"]["cached_tokens"] == len(first["token_ids"]) - 1  # the last one was not computed
        expected = llm.generate(whole, temp=0, n_predict=12)
    assert second["text"] == expected.text
    other = tmp_path / "other"
    answer("--raw", "-p", ".", "--load-session", file, "--save-session", other)
    third = answer("--raw", "-p", ".", "--load-session", file, "--persist-session", other, "--json").data
    assert third["prompt_tokens"] > len(second["token_ids"]) + 12  # the persistent one that is there wins


def test_a_chat_goes_on_too_and_its_system_message_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "text"
    first = answer("-p", "Hi.", "--system", "Be kind.", "--save-session", file, "--json").data
    second = answer("-p", "And?", "--system", "Be kind.", "--load-session", file, "--json").data
    with load("storyteller") as llm:
        end = llm.tokenizer.eos
        asked = llm.prompt_tokens([{"role": "user", "content": "And?"}])
    assert second["token_ids"][: second["prompt_tokens"]] == [*first["token_ids"], end, *asked]
    assert second["timings"]["cached_tokens"] >= len(first["token_ids"]) - 1


def test_only_the_prompt_is_kept_with_no_tokens_to_generate(tmp_path: Path) -> None:
    file = tmp_path / "text"
    prompt = "Once upon a time there was a girl who had a red dog. One day, she went to the park and"
    assert here("run", "--raw", "-p", prompt, "-n", 0, "--save-session", file).out == ""
    found = here("run", "--raw", "-n", 4, "--load-session", file, "--json").data
    assert found["timings"]["cached_tokens"] == found["prompt_tokens"] - 1 > 15


@pytest.mark.parametrize("part", ["pages", "kind", "head", "model", "absent"])
def test_a_damaged_file_is_computed_again_and_a_foreign_one_refused(tmp_path: Path, part: str) -> None:
    file = tmp_path / "text"
    first = answer("--raw", "-p", "Once upon a time", "--save-session", file, "--json").data
    data = bytearray(file.read_bytes())
    data[{"pages": -9, "head": 60}.get(part, 0)] ^= part in {"pages", "head"}
    file.write_bytes(data)
    before = file.read_bytes()
    more = {"kind": ("--cache-type-k", "f32"), "model": ("--rope-freq-base", "5e5")}.get(part, ())
    file = tmp_path / "absent" if part == "absent" else file
    done = here(
        "run", "--raw", "-p", " there", "--load-session", file, "--save-session", file, "--json", *GREEDY, *more
    )
    if part in {"pages", "kind"}:
        assert {"pages": "damaged: page 0", "kind": "has pages of f16 keys"}[part] in done.err
        assert f"{len(first['token_ids'])} tokens are computed again" in done.err
        assert done.code == 0 and done.data["token_ids"][: len(first["token_ids"])] == first["token_ids"]
        assert done.data["timings"]["cached_tokens"] == 0
        return
    words = {
        "head": "head does not fit its checksum",
        "model": "is a text of another model",
        "absent": "cannot be read",
    }
    assert done.code in (2, 3) and words[part] in done.err and done.out == ""
    assert part == "absent" or file.read_bytes() == before


def test_lines_are_answered_one_after_another_in_one_text(tmp_path: Path) -> None:
    template, file = tmp_path / "alpaca.txt", tmp_path / "text"
    template.write_text("### {{PROMPT}}\n")
    done = answer("--repl", "-f", template, "--save-session", file, "--json", stdin="One\n\nTwo\n")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert second["token_ids"][: len(first["token_ids"])] == first["token_ids"]
    with load("storyteller") as llm:
        assert "### Two" in llm.detokenize(second["token_ids"])
    again = answer("-p", "x", "--load-session", file, "--json").data
    assert again["token_ids"][: len(second["token_ids"])] == second["token_ids"]
    plain = answer("-R", stdin="One\n")
    assert plain.out == answer("-p", "One").out
    for wrong, words in (
        (("-p", "no place"), "has no {{PROMPT}}"),
        (("-p", "{{PROMPT}}", "-f", template), "2 templates"),
    ):
        refused = here("run", "--repl", *wrong, stdin="x")
        assert refused.code == 2 and words in refused.err


def test_a_full_context_is_an_error_line_and_not_the_end() -> None:
    done = here("run", "--repl", "--raw", "-n", 4, "--ctx-size", 64, stdin="word " * 70 + "\nShort.\n")
    assert done.code == 0 and done.err.count("error: ") == 1 and "Ctrl-D ends" in done.err
    assert done.out != ""


def test_verbose_tells_the_model_and_llama_cpps_times() -> None:
    done = answer("-p", "A cat.", "-v")
    for words in (
        "architecture = llama",
        "load time =",
        "prompt eval time =",
        "ms per token",
        "eval time =",
        "total time =",
    ):
        assert words in done.err
    assert " = " not in done.out


def test_the_models_file_may_be_named_in_other_words() -> None:
    assert answer("-m", STORYTELLER, "-p", "A cat.").out == answer("--model-path", STORYTELLER, "-p", "A cat.").out
