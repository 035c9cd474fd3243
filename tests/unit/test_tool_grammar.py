"""Tool calls by constraint: whatever is drawn from what is allowed is a call that fits its schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from constrained import allowed, babble, control_id, grammars, marked, plain, write

from pacos.errors import UsageError
from pacos.settings.constraint import ConstraintOptions
from pacos.text.answer import AnswerParser
from pacos.text.grammar import TokenConstraint, answer_grammar
from pacos.text.reasoning import KINDS, ThinkingBudget
from pacos.text.tokenizer import Tokenizer
from pacos.text.tool_choice import read_tools
from pacos.text.tools import Tool, ToolFormat, Wanted, all_formats, named_format
from pacos.text.whole import whole_grammar

THINK = next(kind for kind in KINDS if kind.name == "think")
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
NOTE = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}, "on": {"type": "boolean"}},
    "required": ["tags"],
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["x", "y"]}},
}
TOOLS = (Tool("get_weather", WEATHER), Tool("note", NOTE))
HINTS = (
    "\n</parameter>",
    "</｜DSML｜parameter>",
    "</parameter>",
    "</arg_value>",
    "<escape>",
    '<|"|>',
    "<|end|>",
    "\n",
    "</think>",
    '"',
)
VOCABULARIES: dict[str, Callable[[], Tokenizer]] = {"text": plain, "tokens": marked}


def follow(vocabulary: Callable[[], Tokenizer], **wanted: Any) -> TokenConstraint:
    tokenizer = vocabulary()
    return grammars(vocabulary).constraint(whole_grammar(Wanted(**wanted), lambda text: control_id(tokenizer, text)))


def calls_in(form: ToolFormat, text: str) -> list[tuple[str, Any]]:
    """The calls that a text is made of, apart from thoughts."""
    parser = AnswerParser(None, form, schemas={tool.name: tool.schema for tool in TOOLS})
    found: dict[int, list[str]] = {}
    said = ""
    for piece in (parser.feed(text), parser.finish()):
        said += piece.text
        for delta in piece.tool_calls:
            found.setdefault(delta.index, [delta.name or "", ""])[1] += delta.arguments
    assert not said.strip(), f"text beside calls: {said!r}"
    return [(name, json.loads(arguments)) for name, arguments in found.values()]


def fits(name: str, arguments: Any) -> bool:
    if name == "get_weather":
        known = set(arguments) <= {"city", "days", "unit"} and arguments.get("unit", "C") in {"C", "F"}
        return known and isinstance(arguments["city"], str) and type(arguments["days"]) is int
    on = arguments.get("on", True)
    return name == "note" and set(arguments["tags"]) <= {"x", "y"} and isinstance(on, bool)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("form", all_formats())
def test_required_calls_are_valid(form: str, vocabulary: str) -> None:
    tokenizer, written = VOCABULARIES[vocabulary], named_format(form)
    for seed in range(4):
        parallel = seed % 2 == 1
        constraint = follow(tokenizer, form=written, tools=TOOLS, required=True, parallel=parallel)
        found = calls_in(written, babble(constraint, tokenizer(), seed, HINTS))
        assert found and all(fits(*call) for call in found)
        assert parallel or len(found) == 1


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("form", [name for name, form in all_formats().items() if form.openers and not form.at_start])
def test_arguments_are_constrained_once_a_call_is_opened(form: str, vocabulary: str) -> None:
    tokenizer, written = VOCABULARIES[vocabulary], named_format(form)
    constraint = follow(tokenizer, form=written, tools=TOOLS, parallel=False)
    assert tokenizer().eog <= allowed(constraint), "no call is needed"
    assert write(constraint, tokenizer(), "Well < and [ so. ")
    assert write(constraint, tokenizer(), written.openers[0])
    assert not tokenizer().eog & allowed(constraint), "a call that was begun is finished"
    found = calls_in(written, written.openers[0] + babble(constraint, tokenizer(), 1, HINTS))
    assert len(found) == 1 and fits(*found[0])


def test_calls_without_an_opener_are_told_from_other_text() -> None:
    constraint = follow(plain, form=named_format("llama3"), tools=TOOLS)
    assert write(constraint, plain(), "It is {so}.") and plain().eog <= allowed(constraint)
    constraint = follow(plain, form=named_format("llama3"), tools=TOOLS)
    assert write(constraint, plain(), '{"name": "note", "parameters": {"tags": ["x"')
    assert not plain().eog & allowed(constraint)
    constraint = follow(plain, form=named_format("llama3"), tools=TOOLS)
    assert not write(constraint, plain(), '{"name": "other"')


def test_recipients_of_functionary() -> None:
    form = named_format("functionary_v32")
    for text, ends in (("all\nHello", True), ('all\nHm>>>note\n{"tags": ["x"]}', True), ('note\n{"tags": ["x"', False)):
        constraint = follow(plain, form=form, tools=TOOLS)
        assert write(constraint, plain(), text)
        assert bool(plain().eog & allowed(constraint)) == ends
    assert not write(follow(plain, form=form, tools=TOOLS), plain(), "other\n")


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_harmony_answers_in_channels(vocabulary: str) -> None:
    tokenizer, form = VOCABULARIES[vocabulary], named_format("harmony")
    answer = answer_grammar(ConstraintOptions(choice=("yes", "no")), tokenizer().find)
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    final = "<|channel|>final<|message|>"
    call = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>"
    for text, options, good in (
        (f"{thought}{final}yes", {"answer": answer}, True),
        (f"{final}maybe", {"answer": answer}, False),
        ("yes", {"answer": answer}, False),
        (f"{thought}{final}Anything.", {"tools": TOOLS}, True),
        (thought + call.format("note") + '{"tags": []}', {"tools": TOOLS}, True),
        (call.format("none"), {"tools": TOOLS}, False),
        (f"{final}Anything.", {"tools": TOOLS, "required": True}, False),
    ):
        constraint = follow(tokenizer, form=form, **options)
        assert (write(constraint, tokenizer(), text) and tokenizer().eog <= allowed(constraint)) == good, text


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("opened", [False, True])
def test_constraint_starts_after_the_thought(vocabulary: str, opened: bool) -> None:
    tokenizer = VOCABULARIES[vocabulary]
    answer = answer_grammar(ConstraintOptions(json_schema=json.dumps(NOTE)), tokenizer().find)
    constraint = follow(tokenizer, thinking=THINK, opened=opened, answer=answer)
    assert write(constraint, tokenizer(), "One {two.\n" if opened else "<think>\nOne {two.\n")
    assert not tokenizer().eog & allowed(constraint)
    assert write(constraint, tokenizer(), "</think>\n\n")
    assert not write(constraint, tokenizer(), "So")
    assert fits("note", json.loads(babble(constraint, tokenizer(), 3)))


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_thoughts_of_calls_are_free(vocabulary: str, opened: bool, parallel: bool) -> None:
    tokenizer = VOCABULARIES[vocabulary]

    def start() -> TokenConstraint:
        options = {"form": named_format("hermes"), "tools": TOOLS, "parallel": parallel}
        return follow(tokenizer, thinking=THINK, opened=opened, **options)

    thought = ("" if opened else "<think>\n") + "I could write <tool_call> now, or not.\n</think>\n\n"
    for text in (f"{thought}So.", "So." if not opened else "So"):
        constraint = start()
        assert write(constraint, tokenizer(), text) and tokenizer().eog <= allowed(constraint), text
    constraint = start()
    assert write(constraint, tokenizer(), f"{thought}<tool_call>\n") and not write(constraint, tokenizer(), "now")
    if not opened:
        constraint = start()
        assert write(constraint, tokenizer(), "<thin So <tool_call>\n") and not write(constraint, tokenizer(), "now")


def test_constrained_text_or_calls() -> None:
    answer = answer_grammar(ConstraintOptions(choice=("yes", "no")), plain().find)
    call = '<tool_call>\n{"name": "note", "arguments": {"tags": []}}\n</tool_call>'
    for text, good in (("yes", True), ("maybe", False), (call, True)):
        constraint = follow(plain, form=named_format("hermes"), tools=TOOLS, answer=answer)
        assert (write(constraint, plain(), text) and plain().eog <= allowed(constraint)) == good
    constraint = follow(plain, form=named_format("hermes"), tools=TOOLS, answer=answer, required=True)
    assert not write(constraint, plain(), "yes")


def budget(inner: Any, tokens: int, *, opened: bool = True) -> ThinkingBudget:
    def ids(text: str) -> list[int]:
        return plain().encode(text, add_special=False)

    return ThinkingBudget(
        inner,
        tokens,
        vocab_size=plain().vocab_size,
        opens=[ids("<think>")],
        closes=ids("</think>"),
        opened=opened,
        pieces=lambda tokens: b"".join(plain().piece(token) for token in tokens),
    )


def walk(limit: ThinkingBudget, text: str) -> str:
    """Want to write a text; write what is forced instead where something is."""
    written, wanted = [], plain().encode(text, add_special=False)
    while wanted:
        mask = limit.mask()
        forced = [
            32 * word + bit for word, bits in enumerate(mask or ()) if bits for bit in range(32) if bits >> bit & 1
        ]
        token = forced[0] if len(forced) == 1 else wanted.pop(0)
        written.append(token)
        limit.accept(token)
    return b"".join(plain().piece(token) for token in written).decode("utf-8", "replace")


def test_budget_ends_a_thought_once() -> None:
    assert walk(budget(None, 3), "Once there was a dragon") == "Once there was</think> a dragon"
    assert walk(budget(None, 0), " One") == "</think> One"
    assert walk(budget(None, 3), "a</think> b c d e f") == "a</think> b c d e f"


def test_budget_counts_only_in_a_thought() -> None:
    assert walk(budget(None, 1, opened=False), "Once there was a dragon") == "Once there was a dragon"
    assert walk(budget(None, 3, opened=False), "<think> Once there was") == "<think> Once there</think> was"


def test_budget_waits_for_the_end_of_a_character() -> None:
    wanted = "\U0001f600"  # four bytes, four tokens
    assert len(plain().encode(wanted, add_special=False)) >= 4
    assert walk(budget(None, 2), f"{wanted}a") == f"{wanted}</think>a"


def test_budget_and_constraint() -> None:
    answer = answer_grammar(ConstraintOptions(choice=("yes", "no")), plain().find)
    limit = budget(follow(plain, thinking=THINK, opened=True, answer=answer), 2)
    for word in (" One", " two"):
        assert write(limit, plain(), word)
    assert not write(limit, plain(), " three") and write(limit, plain(), "</think>yes")
    assert plain().eog <= allowed(limit)


FUNCTION = {"name": "note", "parameters": NOTE}
GOOD_CHOICES = [
    ("auto", ["note", "other"], False),
    (None, ["note", "other"], False),
    ("required", ["note", "other"], True),
    ("any", ["note", "other"], True),
    ("none", [], False),
    ({"type": "function", "function": {"name": "other"}}, ["other"], True),
    ({"type": "function", "name": "note"}, ["note"], True),
    ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "note"}]}, ["note"], False),
]


@pytest.mark.parametrize(("choice", "names", "required"), GOOD_CHOICES)
def test_tool_choice(choice: Any, names: list[str], required: bool) -> None:
    tools = [{"type": "function", "function": FUNCTION}, {"type": "function", "name": "other"}]
    found = read_tools(tools, choice)
    assert ([tool.name for tool in found.tools], found.required) == (names, required)
    assert len(found.shown) == (2 if choice != "none" else 0)


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


ODD_FORMAT = {"properties": {"a": {"type": "string", "format": "odd"}}}
BAD_TOOLS = [
    ([1], "auto", "tool 0 is a int"),
    ({}, "auto", "tools is a dict"),
    ([{"type": "web_search"}], "auto", "type 'web_search'"),
    ([{"type": "function"}], "auto", "tool 0 has no function"),
    ([tool(name="a b")], "auto", "name 'a b'"),
    ([tool(), tool()], "auto", "two tools are named 'f'"),
    ([tool(parameters=[])], "auto", "parameters of tool 'f' are a list"),
    ([tool(parameters={"type": "array"})], "auto", "are no object"),
    ([tool(description=1)], "auto", "description of tool 'f' is no text"),
    ([tool(strict=1)], "auto", "strict of tool 'f' is 1"),
    ([tool(strict=True, parameters={"not": {}})], "auto", "tool 'f'.*'not' cannot be enforced.*drop strict"),
    ([tool(strict=True, parameters=ODD_FORMAT)], "auto", "odd"),
    ([tool()], "sometimes", "tool_choice is 'sometimes'"),
    ([tool()], {"type": "function", "function": {"name": "g"}}, "names 'g'.*there are f"),
    ([tool()], {"type": "allowed_tools"}, "needs a mode"),
    ([tool()], {"type": "custom"}, "tool_choice has"),
    ([], "required", "there are no tools"),
]


@pytest.mark.parametrize(("tools", "choice", "words"), BAD_TOOLS)
def test_wrong_tools_are_named(tools: Any, choice: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_tools(tools, choice)


def test_schema_that_cannot_be_enforced_is_loosened_unless_strict() -> None:
    for schema in ({"properties": {"a": {"not": {}}}}, {"properties": {"a": {"$ref": "#/nowhere"}}}):
        choice = read_tools([{"function": {"name": "f", "parameters": schema}}])
        constraint = follow(plain, form=named_format("hermes"), tools=choice.tools, required=True)
        assert write(constraint, plain(), '<tool_call>\n{"name": "f", "arguments": {')


@pytest.mark.parametrize("form", ["qwen3_coder", "glm", "gemma"])
def test_texts_of_strict_tools_have_no_pattern_where_texts_are_free(form: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^b$"}}}
    with pytest.raises(UsageError, match="'pattern' of a text argument of tool 'f'"):
        follow(plain, form=named_format(form), tools=[Tool("f", schema, strict=True)])
    assert follow(plain, form=named_format(form), tools=[Tool("f", schema)])
