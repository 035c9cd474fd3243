"""Tool calls and results in the form that each chat template takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pacos.errors import UsageError
from pacos.text.template import ChatTemplate
from pacos.text.templates import all_templates

TOOL = {"type": "function", "function": {"name": "look", "description": "See.", "parameters": {"type": "object"}}}
START = "{% for m in messages %}<|{{ m.role }}|>"
END = "{% if m.role == 'tool' %}{{ m.tool_call_id }}={% endif %}{{ m.content }}\n{% endfor %}"
TOOLS = "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}"
# How templates of well-known models write calls.
CALL = "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{{ ARGUMENTS }}{% endfor %}"
AS_OBJECT = CALL.replace("ARGUMENTS", "c.function.arguments | tojson")
AS_TEXT = "{% for c in m.tool_calls or [] %}{{ '<tool_call>' + c.function.name + c.function.arguments }}{% endfor %}"
AS_PYTHON = CALL.replace("ARGUMENTS", "c.function.arguments | string")
AS_EITHER = CALL.replace(
    "ARGUMENTS", "c.function.arguments if c.function.arguments is string else c.function.arguments | tojson"
)
NEEDS_CONTENT = "{{ '' + m.content }}" + AS_OBJECT
DEEPSEEK = AS_TEXT.replace("<tool_call>", "<｜tool▁calls▁begin｜>")
SHORT_ID = (
    "{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
    "[TOOL_CALLS]{{ c.id }}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
)


def chat(arguments: Any = '{"a": {"b": "ü"}}', call_id: str = "call_1") -> list[dict[str, Any]]:
    call = {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}
    return [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": "R"},
    ]


def rendered(calls: str, messages: list[dict[str, Any]], tools: Any = (TOOL,)) -> str:
    template = ChatTemplate(TOOLS + START + calls + END)
    return shown(template, messages, list(tools))


def shown(template: ChatTemplate, messages: list[dict[str, Any]], tools: list[Any]) -> str:
    chat, given = template.fit_tools(messages, tools)
    return "".join(part.text for part in template.render(chat, tools=given))


@pytest.mark.parametrize("arguments", ['{"a": {"b": "ü"}}', {"a": {"b": "ü"}}], ids=["text", "object"])
@pytest.mark.parametrize("calls", [AS_OBJECT, AS_TEXT, AS_PYTHON, AS_EITHER, NEEDS_CONTENT])
def test_arguments_are_printed_as_json_whatever_the_template_does(calls: str, arguments: Any) -> None:
    text = rendered(calls, chat(arguments))
    assert '<tool_call>look{"a": {"b": "ü"}}' in text
    assert "call_1=R" in text
    assert json.dumps(TOOL) in text


def test_firefunction_is_given_the_tools_as_text() -> None:
    text = rendered("{% if loop.first %}{{ functions }} at {{ datetime }} functools[{% endif %}" + AS_TEXT, chat())
    assert json.dumps([TOOL], indent=4) in text and "GMT functools[" in text


def test_template_that_shows_calls_but_no_tools_has_calls_described_in_its_own_form() -> None:
    template = ChatTemplate(START + DEEPSEEK + END)
    text = shown(template, chat(), [TOOL])
    assert "<｜tool▁call▁begin｜>the function's name<｜tool▁sep｜>" in text and "<tool_call>" not in text
    assert '<｜tool▁calls▁begin｜>look{"a": {"b": "ü"}}' in text


def test_ids_are_made_to_fit_and_stay_together() -> None:
    text = rendered(SHORT_ID, chat())
    own = text.split("[TOOL_CALLS]")[1][:9]
    assert own.isalnum() and f"<|tool|>{own}=R" in text
    assert "[TOOL_CALLS]abcdefghi" in rendered(SHORT_ID, chat(call_id="abcdefghi"))


def test_arguments_that_are_no_json_stay_as_they_are() -> None:
    assert '"{\\"a\\": "' in rendered(AS_OBJECT, chat('{"a": '))
    assert "<tool_call>look{}" in rendered(AS_OBJECT, chat(""))
    assert "<tool_call>look{}" in rendered(AS_TEXT, chat(None))


@pytest.mark.parametrize("name", all_templates())
def test_templates_without_tools_are_told_of_them(name: str) -> None:
    messages = [*chat(), {"role": "tool", "tool_call_id": "call_2", "content": "S"}]
    template = ChatTemplate.named(name, bos_token="<s>", eos_token="</s>")
    text = shown(template, messages, [TOOL])
    assert text.index('"name": "look", "description": "See."') < text.index("Q")
    assert '<tool_call>\n{"name": "look", "arguments": {"a": {"b": "ü"}}}\n</tool_call>' in text
    assert "<tool_response>\nR\n</tool_response>\n<tool_response>\nS\n</tool_response>" in text
    assert "<tools>" not in shown(template, messages, [])


def test_system_message_stays_in_front_of_tools() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Q"}]
    text = shown(ChatTemplate.named("chatml"), messages, [TOOL])
    assert text.index("Be kind.") < text.index("<tools>") < text.index("Q") and text.count("system") == 1
    messages[0]["content"] = [{"type": "text", "text": "Be kind."}]  # type: ignore[assignment]
    text = shown(ChatTemplate.named("chatml"), messages, [TOOL])
    assert text.index("Be kind.") < text.index("<tools>") < text.index("Q")


def test_what_a_tool_says_never_is_markup() -> None:
    messages = chat('{"a": "<|tool|>"}')
    messages[2]["content"] = "<|user|>"
    template = ChatTemplate(TOOLS + START + AS_OBJECT + END)
    chat_, tools = template.fit_tools(messages, [TOOL])
    markup = "".join(part.text for part in template.render(chat_, tools=tools) if part.markup)
    assert markup.count("<|tool|>") == 1 and markup.count("<|user|>") == 1


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ("x", "tool_calls of message 1 is a str"),
        ([1], "message 1 has no function with a name"),
        ([{"function": {"arguments": {}}}], "message 1 has no function with a name"),
        ([{"function": {"name": "f", "arguments": [1]}}], r"arguments of a tool call of message 1 are \[1\]"),
    ],
)
def test_wrong_calls_are_named(calls: Any, words: str) -> None:
    messages = chat()
    messages[1]["tool_calls"] = calls
    with pytest.raises(UsageError, match=words):
        rendered(AS_OBJECT, messages)
