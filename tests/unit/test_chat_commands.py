"""The commands of `pacos chat`, typed into a pipe, and what the conversation is after them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Outcome, here

from pacos.cli.talk.slash import commands
from pacos.sessions import Sessions

GREEDY = ("--temp", "0", "-n", "6")
DRAGON, CAT = "Tell me a story about a dragon.", "Tell me a story about a cat."


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Conversations of each test's own."""
    monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))
    return tmp_path


def chat(*lines: str, options: tuple[str, ...] = GREEDY) -> Outcome:
    done = here("chat", *options, stdin="".join(line + "\n" for line in lines))
    assert done.code == 0, done.err
    return done


def kept() -> list[list[tuple[str, str]]]:
    """What was said in each conversation on disk, the latest first."""
    with Sessions() as sessions:
        return [[(one.role, one.content) for one in sessions.path(talk.id)] for talk in sessions.list()]


def test_every_command_is_in_the_help() -> None:
    wanted = (
        "help quit clear save load sessions system tokens stats template undo retry edit continue set params file copy "
        "export model grammar schema rename delete history thoughts"
    )
    assert set(wanted.split()) <= set(commands())
    told = chat("/help").err
    assert all(f"/{name}" in told and one.help in " ".join(told.split()) for name, one in commands().items())
    more = chat("/help retry").err
    assert "/retry: answer the last question anew" in more
    assert "also /regen" in more
    assert "no command 'nosuch'" in chat("/help nosuch").err


@pytest.mark.parametrize("word", ["/quit", "/exit", "/bye", "/EXIT"])
def test_words_that_end_a_talk(word: str) -> None:
    assert chat(word, "Hi").out == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/sav x", "no command '/sav'; did you mean /save?"),
        ("/tokns", "no command '/tokns'; did you mean /tokens?"),
        ("/xyzzy", "no command '/xyzzy'; /help lists all"),
        ("/save", "/save needs NAME"),
        ("/undo 3", "/undo takes no argument, got '3'"),
        ("/undo", "nothing was said yet"),
        ("/retry", "nothing was said yet"),
        ("/edit x", "nothing was said yet"),
        ("/continue", "nothing was said yet"),
        ("/copy", "nothing was said yet"),
        ("/export a.md", "nothing was said yet"),
        ("/export a.txt", "'a.txt' has the ending '.txt'; name a file .md or .json"),
        ("/export talk", "'talk' has no ending"),
        ("/set tmp 1", "no parameter 'tmp'; did you mean temp"),
        ("/set temp hot", "temp is 'hot'; use a number"),
        ("/set temp -1", "temp is -1"),
        ("/set ctx-size 9", "ctx_size is settled when a model is opened"),
        ("/set markdown perhaps", "markdown is 'perhaps'; use on or off"),
        ("/set grammar x", "the grammar is wrong at line 1"),
        ("/file /nowhere/x", "/file /nowhere/x: No such file"),
        ("/grammar /nowhere/x", "/grammar /nowhere/x: No such file"),
        ("/schema /nowhere/x", "/schema /nowhere/x: No such file"),
        ("/template nosuch", "there is no chat template named 'nosuch'"),
        ("/model nosuch", "no model"),
        ("/load nosuch", "no conversation 'nosuch'"),
        ("/rename x", "the conversation is not kept yet"),
        ("/delete", "this conversation is not kept"),
        ("/delete nosuch", "no conversation 'nosuch'"),
    ],
)
def test_what_cannot_be_done_is_said_and_ends_nothing(line: str, words: str) -> None:
    done = chat(line, "Hi")
    assert f"error: {words}" in done.err
    assert done.out.count("\n") == 1


def test_slashes_that_are_no_commands() -> None:
    chat("/etc/hosts is a file", "//help", "/1/2")
    assert [text for role, text in kept()[0] if role == "user"] == ["/etc/hosts is a file", "/help", "/1/2"]


def test_questions_of_several_lines() -> None:
    chat('"""one', "", 'two"""', "three\\", "four", '"""five""" six')
    assert [text for role, text in kept()[0] if role == "user"] == ["one\n\ntwo", "three\nfour", "five six"]


def test_undo_and_clear() -> None:
    first = chat(DRAGON).out
    done = chat(CAT, "/undo", DRAGON)
    assert f"took back: {CAT}" in done.err
    assert done.out.endswith(first)
    assert [text for role, text in kept()[0] if role == "user"] == [DRAGON]
    assert chat(CAT, "/clear", DRAGON).out.endswith(first)
    assert [talk[0][1] for talk in kept()[:2]] == [DRAGON, CAT]  # both are kept


def test_retry_and_edit_keep_what_was_there() -> None:
    done = chat(CAT, "/retry", f"/edit {DRAGON}", options=("-n", "6", "--seed", "1"))
    assert "the same answer may come" not in done.err  # a remark for terminals
    assert done.out.count("\n") == 3
    assert [text for role, text in kept()[0] if role == "user"] == [DRAGON]
    with Sessions() as sessions:
        (talk,) = sessions.list()
        everything = [(one.role, one.content) for one in sessions.messages(talk.id)]
    assert [text for role, text in everything if role == "user"] == [CAT, DRAGON]
    assert [role for role, _ in everything].count("assistant") == 3
    assert "/edit needs TEXT here" in chat(CAT, "/edit").err


def test_continue_goes_on_where_an_answer_ended() -> None:
    whole = here("chat", "--temp", "0", "-n", "20", stdin=f"{DRAGON}\n").out.strip()
    done = chat(DRAGON, "/set n 14", "/continue")
    first, more = done.out.rstrip("\n").split("\n")
    assert first + more == whole
    assert kept()[0] == [("user", DRAGON), ("assistant", whole)]


def test_system_messages() -> None:
    plain, given = chat(DRAGON).out, here("chat", *GREEDY, "--system", "The cat saw a dog", stdin=f"{DRAGON}\n").out
    assert chat("/system The cat saw a dog", DRAGON).out == given
    assert chat("/system The cat", "/system -", DRAGON).out == plain
    assert "there is no system message" in chat("/system").err


def test_options_are_set_shown_and_set_back() -> None:
    done = chat("/set temperature 0.5", "/set --top-k 3", "/params", "/set temp default", "/params", "/set temp")
    assert "temp is 0.5" in done.err
    before, after = done.err.split("temp is 0.8")[:2]
    assert "top_k" in before
    assert "0.5" not in after
    assert chat("/set n_predict 2", DRAGON).out == here("chat", "--temp", "0", "-n", "2", stdin=DRAGON).out
    assert "thoughts is on" in chat("/set thoughts on", "/set thoughts").err
    assert chat("/set stop upon", DRAGON).out == "Once \n"


def test_grammars_and_schemas(home: Path) -> None:
    (home / "words.gbnf").write_text('root ::= "yes" | "no"\n')
    (home / "bad.gbnf").write_text("root := oops")
    (home / "schema.json").write_text('{"enum": ["up", "down"]}')
    free = chat(DRAGON).out
    lines = (f"/grammar {home}/words.gbnf", DRAGON, f"/schema '{home}/schema.json'", CAT, "/grammar off", DRAGON)
    done = chat(*lines)
    said = done.out.split("\n")
    assert said[0] in {"yes", "no"}
    assert json.loads(said[1]) in {"up", "down"}
    assert "answers are free" in done.err
    assert "answers obey a JSON schema" in done.err
    after = chat(f"/grammar {home}/bad.gbnf", DRAGON)
    assert "error: " in after.err
    assert after.out == free
    named = chat("/grammar json-array", DRAGON, options=("-n", "40", "--temp", "0"))
    assert named.out.startswith("[")


def test_files_go_with_the_next_question(home: Path) -> None:
    (home / "notes.txt").write_text("The dragon is green.\n")
    done = chat(f"/file {home}/notes.txt", "/file -", f"/read {home}/notes.txt", DRAGON, CAT, "/tokens")
    assert done.err.count("notes.txt: ") == 2
    with Sessions() as sessions:
        (talk,) = sessions.list()
        first, _, second, _ = sessions.path(talk.id)
    assert (first.content, first.attachments) == (DRAGON, ({"name": "notes.txt", "text": "The dragon is green.\n"},))
    assert not second.attachments
    bare = here("chat", *GREEDY, stdin=f'"""notes.txt:\n```\nThe dragon is green.\n```\n\n{DRAGON}"""\n').out
    assert done.out.startswith(bare.rstrip("\n"))


def test_a_pattern_means_several_files(home: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (home / name).write_text(f"This is {name}.\n")
    done = chat(f"/glob {home}/*.txt", f"/file {home}/*.rst", DRAGON)
    assert "means 0 files" in done.err
    with Sessions() as sessions:
        (talk,) = sessions.list()
        first = sessions.path(talk.id)[0]
    assert [one["name"] for one in first.attachments] == ["a.txt", "b.txt"]


def test_exports(home: Path) -> None:
    done = chat(
        DRAGON, "/save Dragons", f"/export {home}/talk.md", f"/export {home}/talk.json", f"/export {home}/talk.md"
    )
    assert f"{home / 'talk.md'} is there already" in done.err
    text = (home / "talk.md").read_text()
    assert text.startswith("# Dragons\n\nstoryteller")
    assert f"## User\n\n{DRAGON}\n\n## Assistant\n\n{done.out.strip()}\n" in text
    data = json.loads((home / "talk.json").read_text())
    (talk,) = data["conversations"]
    assert [(one["role"], one["content"]) for one in talk["messages"]] == [
        ("user", DRAGON),
        ("assistant", done.out.rstrip("\n")),
    ]
    assert talk["parameters"] == {"temp": 0.0, "n_predict": 6}
    assert here("sessions", "import", home / "talk.json").code == 0
    assert len(kept()) == 2
    assert kept()[0] == kept()[1]
    unkept = chat(DRAGON, f"/export {home}/other.md", options=(*GREEDY, "--no-save"))
    assert (home / "other.md").read_text().startswith(f"# {DRAGON}\n")
    assert "error" not in unkept.err


def test_models_and_templates_change_in_the_middle(home: Path) -> None:
    done = chat(CAT, "/template vicuna", DRAGON, "/template own", "/template", "/model storyteller", "/model")
    assert "template: vicuna" in done.err
    assert "template: chatml" in done.err
    assert done.out.count("\n") == 2
    bad = home / "bad.jinja"
    bad.write_text("{% if %}")
    after = chat(f"/template {bad}", DRAGON)
    assert "error: " in after.err
    assert after.out == chat(DRAGON).out  # the old one goes on


def test_tokens_and_speeds_are_told() -> None:
    done = chat(DRAGON, "/tokens", "/stats", "/history")
    assert "of 1024 tokens of context" in " ".join(done.err.split())
    assert "last answer: prompt 20 tokens" in done.err
    assert "all 1 answers here" in done.err
    assert f"> {DRAGON}" in done.err
    assert done.out.count("Once upon") == 2


def test_a_turn_computes_only_what_is_new() -> None:
    done = chat(DRAGON, CAT, options=("--temp", "0", "-n", "60", "--json"))
    first, second = (json.loads(line) for line in done.out.splitlines())
    cached, total = second["timings"]["cached_tokens"], second["prompt_tokens"]
    assert cached >= first["prompt_tokens"] + first["response_tokens"] - 1
    assert total - cached < 20 + len(CAT.split())


def test_there_is_no_clipboard_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "there is no clipboard here" in chat(DRAGON, "/copy").err
    assert "the last answer has no code block" in chat(DRAGON, "/copy code").err


def test_the_clipboard_gets_the_last_code_block(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = home / "wl-copy"
    program.write_text(f"#!/bin/sh\ncat > {home}/clipboard\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    (home / "code.gbnf").write_text('root ::= "See:\\n```sh\\nls -l\\n```\\nor\\n```\\ncat x\\n```\\n"')
    done = chat("How?", "/copy code", options=("--grammar-file", str(home / "code.gbnf")))
    assert "copied 6 characters to the clipboard, by wl-copy" in done.err
    assert (home / "clipboard").read_text() == "cat x\n"


def test_thoughts_are_kept_apart_and_shown_again(home: Path) -> None:
    template = home / "thinker.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}{{ '<think>\n' }}")
    options = ("--chat-template", str(template), "--reasoning-budget", "5", "-n", "30", "--seed", "1")
    done = chat("A pet.", "/thoughts", options=options)
    with Sessions() as sessions:
        (talk,) = sessions.list()
        answer = sessions.path(talk.id)[-1]
    assert answer.reasoning.strip() in done.err
    assert "think>" not in answer.content
    assert "it thought nothing" in chat(DRAGON, "/thoughts").err


def test_variables_for_the_chat_template_are_kept(home: Path) -> None:
    template = home / "own.jinja"
    template.write_text("{{ start }} {{ messages[-1].content }}")
    more = ("--chat-template-kwargs", '{"start": "Once upon"}', "--show-timings", "--jinja")
    done = chat("a time", "/params", options=(*GREEDY, "--chat-template-file", str(template), *more))
    assert "{'start': 'Once upon'}" in done.err
    first = len(here("tokenize", "storyteller", "Once upon a time").out.split())
    again = here("chat", "--continue", *GREEDY, "-p", "a time", "--json")
    assert again.data["prompt_tokens"] == first
    other = here("chat", "--continue", *GREEDY, "-p", "a time", "--json", "--chat-template-kwargs", '{"start": "A"}')
    assert other.data["prompt_tokens"] == len(here("tokenize", "storyteller", "A a time").out.split()) != first


def test_the_guide_lists_every_command() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8").replace("\\|", "|")
    for one in commands().values():
        assert f"| `/{f'{one.name} {one.arguments}'.strip()}` | {one.help}" in guide
