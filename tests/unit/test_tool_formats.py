"""Answers in every tool format, read into text, thoughts and calls, however they are cut.

The outputs follow the formats' published documentation and chat templates.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacos.errors import UsageError
from pacos.text.answer import AnswerParser
from pacos.text.reasoning import KINDS, recognise_thinking
from pacos.text.tools import all_formats, named_format, recognise_format

SCHEMAS: dict[str, Any] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "where": {"type": "object"}},
    },
    "now": {"type": "object", "properties": {}},
    "python": {"type": "object", "properties": {"code": {"type": "string"}}},
    "brave_search": {"type": "object", "properties": {"query": {"type": "string"}}},
}
THINKING = {kind.name: kind for kind in KINDS}
DATA = json.loads((Path(__file__).parents[1] / "data" / "model_outputs.json").read_text(encoding="utf-8"))
OUTPUTS = DATA["answers"]
NAMES = [f"{row['format']}-{row['name']}" for row in OUTPUTS]
THINKS = {"command_r": "command-r7b", "seed_oss": "seed"}


def read(form: str | None, text: str, cuts: list[int], thinking: str | None = None, **options: Any) -> tuple[Any, ...]:
    """Text, reasoning and calls of an output that comes in pieces."""
    kind = thinking or THINKS.get(form or "")
    parser = AnswerParser(
        THINKING[kind] if kind else None,
        named_format(form) if form else None,
        schemas=SCHEMAS,
        new_id=lambda: "id",
        **options,
    )
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [parser.feed(text[a:b]) for a, b in itertools.pairwise(edges)] + [parser.finish()]
    calls: dict[int, list[Any]] = {}
    for delta in (delta for piece in pieces for delta in piece.tool_calls):
        if delta.index not in calls:
            assert delta.id and delta.name, "the first piece of a call has its id and name"
            calls[delta.index] = [delta.name, ""]
        else:
            assert delta.id is None and delta.name is None
        calls[delta.index][1] += delta.arguments
    assert list(calls) == list(range(parser.calls))
    said, thought = ("".join(getattr(piece, part) for piece in pieces) for part in ("text", "reasoning"))
    return said, thought, [(name, arguments) for name, arguments in calls.values()]


@pytest.mark.parametrize("row", OUTPUTS, ids=NAMES)
def test_output(row: dict[str, Any]) -> None:
    form, text = row["format"], row["output"]
    found = read(form, text, [])
    assert found[:2] == (row.get("text", ""), row.get("reasoning", ""))
    assert [[name, json.loads(arguments)] for name, arguments in found[2]] == row.get("calls", [])
    assert read(form, text, list(range(len(text)))) == found, "character by character"
    assert all(read(form, text, [cut]) == found for cut in range(len(text))), "cut in two"


def test_every_format_has_an_output() -> None:
    assert {row["format"] for row in OUTPUTS} == set(all_formats())


@settings(max_examples=300)
@given(st.sampled_from(OUTPUTS), st.data())
def test_damaged_output_never_crashes_and_is_the_same_however_it_is_cut(row: Any, data: st.DataObject) -> None:
    form, text = row["format"], row["output"]
    place = data.draw(st.integers(0, len(text)))
    removed = data.draw(st.integers(0, 12))
    text = text[:place] + data.draw(st.text('{}[]<>|"\\:,\nab ', max_size=6)) + text[place + removed :]
    text = text[: data.draw(st.integers(0, len(text)))] if data.draw(st.booleans()) else text
    whole = read(form, text, [])
    assert read(form, text, data.draw(st.lists(st.integers(0, 400), max_size=8))) == whole
    assert read(form, text, list(range(len(text)))) == whole


@settings(max_examples=200)
@given(st.sampled_from([*all_formats()]), st.text("<tool_call>{}[]|\n ab=:", max_size=60))
def test_what_is_no_call_is_delivered_as_text(form: str, text: str) -> None:
    said, _, calls = read(form, text, [], thinking=None)
    if not calls and form not in {"harmony", "functionary_v32"} and form not in THINKS:
        assert said == text


def test_arguments_come_as_they_are_written() -> None:
    parser = AnswerParser(None, named_format("hermes"))
    parser.feed('<tool_call>{"name": "f", "arguments": {"a": "')
    pieces = [parser.feed(piece) for piece in ("one ", "two ", 'three"}')]
    assert [piece.tool_calls[0].arguments for piece in pieces] == ["one ", "two ", 'three"}']
    assert all(piece.tool_calls[0].id is None for piece in pieces)


def test_text_of_tagged_arguments_comes_as_it_is_written() -> None:
    parser = AnswerParser(None, named_format("qwen3_coder"), schemas=SCHEMAS)
    parser.feed("<tool_call>\n<function=get_weather>\n<parameter=city>\n")
    assert [parser.feed(text).tool_calls[0].arguments for text in ("Pa", "ri\n")] == ["Pa", "ri"]
    assert parser.feed("s\n</parameter>\n</function>").tool_calls[0].arguments == '\\ns"}'


def test_ids_of_the_model_are_kept_and_mistral_ids_have_nine_characters() -> None:
    parser = AnswerParser(None, named_format("kimi_k2"))
    piece = parser.feed('<|tool_calls_section_begin|><|tool_call_begin|>functions.f:7<|tool_call_argument_begin|>{"a')
    assert piece.tool_calls[0].id == "functions.f:7"
    assert (
        len(AnswerParser(None, named_format("mistral")).feed('[TOOL_CALLS][{"name":"f",').tool_calls[0].id or "") == 9
    )
    ids = {
        AnswerParser(None, named_format("hermes")).feed('<tool_call>{"name":"f",').tool_calls[0].id for _ in range(9)
    }
    assert len(ids) == 9


SIGNS = {
    "hermes": "<tools>{{ tools }}</tools> within <tool_call></tool_call> tags",
    "llama3": "<|start_header_id|>ipython<|end_header_id|>",
    "mistral": "[TOOL_CALLS] [",
    "mistral_args": "[TOOL_CALLS]{{ name }}[ARGS]",
    "deepseek_r1": "<｜tool▁calls▁begin｜> ```json",
    "deepseek_v31": "<｜tool▁calls▁begin｜>",
    "kimi_k2": "<|im_system|>tool_declare<|im_middle|>",
    "command_r": "<|START_THINKING|> <|END_THINKING|> <|START_ACTION|>",
    "command_r_plus": "<|CHATBOT_TOKEN|> Action: ```json [tool_name",
    "functionary_v31": "<|start_header_id|> <function=example>",
    "functionary_v32": ">>>all",
    "firefunction": "respond with functools[ ] functools[",
    "granite": "<|tool_call|>",
    "phi4": "<|tool_call|>x<|/tool_call|>",
    "nemotron": "<TOOLCALL>",
    "apriel": "<tool_calls>[]</tool_calls>",
    "qwen3_coder": "<tool_call>\n<function=f>\n<parameter=p>",
    "seed_oss": "<seed:tool_call> <function= <parameter=",
    "minimax_m2": "<minimax:tool_call> <invoke name=",
    "glm": "<tool_call>{name} <arg_key> <arg_value>",
    "gemma": "'<|tool_call>call:'",
    "function_gemma": "<start_function_call>",
    "harmony": "<|channel|>analysis<|message|>",
    "lfm2": "List of tools: <|tool_list_start|>[{{ tools }}]<|tool_list_end|>",
    "llama4": "[func_name1(params_name1=params_value1, params_name2=params_value2...)]",
    "deepseek_v32": "<｜DSML｜function_calls>",
}


@pytest.mark.parametrize("form", SIGNS)
def test_template_tells_the_format(form: str) -> None:
    found = recognise_format(f"{{% for message in messages %}} {SIGNS[form]} {{% endfor %}}")
    assert found is not None and found.name == form


def test_template_without_tools_has_no_format() -> None:
    assert recognise_format("{% for message in messages %}{{ message.content }}{% endfor %}") is None
    with pytest.raises(UsageError, match=r"no tool format named 'nope'.*hermes"):
        named_format("nope")


@pytest.mark.parametrize("row", DATA["thoughts"], ids=[row["kind"] for row in DATA["thoughts"]])
def test_thoughts(row: dict[str, Any]) -> None:
    text = row["output"]
    for cuts in ([], list(range(len(text))), *([cut] for cut in range(len(text)))):
        found = read(None, text, cuts, thinking=row["kind"], opened=row["opened"])
        assert found == (row["text"], row["reasoning"], [])


def test_thoughts_before_calls() -> None:
    text = '<think>\nA <tool_call> perhaps.\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    for cuts in ([], list(range(len(text)))):
        assert read("hermes", text, cuts, thinking="think") == ("", "A <tool_call> perhaps.", [("now", "{}")])


def test_legacy_format_says_thoughts_in_the_text_too() -> None:
    text = "<think>One.</think>\nTwo."
    assert read(None, text, [], thinking="think", mirror=True) == (text, "One.", [])


def test_template_tells_how_a_model_thinks() -> None:
    assert recognise_thinking("{{ '<think>' }}") is THINKING["think"]
    assert recognise_thinking("<|channel|>analysis<|message|>") is THINKING["harmony"]
    assert recognise_thinking("<|START_THINKING|><|END_THINKING|>") is THINKING["command-r7b"]
    assert recognise_thinking("[THINK][/THINK]") is THINKING["magistral"]
    assert recognise_thinking("{{ messages }}") is None
