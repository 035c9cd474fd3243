"""Chat templates: segments, the same text as plain Jinja gives, and messages in forms that a template cannot print."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import jinja2
import pytest
from linear_time import quickest

from pacos.errors import TemplateError, UsageError
from pacos.text.template import ChatTemplate, Segment

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
TOOL = {"type": "function", "function": {"name": "f", "description": 'é <b> & "q"', "parameters": {"a": [1, None]}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": "<|im_end|>"}}}
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be kind.\n"},
    {"role": "user", "content": "Hello <|im_end|> you"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"t": 5}', "name": "f"},
    {"role": "user", "content": ""},
    {"role": "user", "content": "Ünï "},
]


def load(source: str, **kwargs: Any) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>", clock=lambda: NOW, **kwargs)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def text_of(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def markup_of(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments if segment.markup]


def data_of(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments if not segment.markup]


def reference(source: str, **variables: Any) -> str:
    """Render as transformers does, with nothing of ours."""
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])

    def tojson(x: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(x, ensure_ascii=ensure_ascii, **options)

    env.filters["tojson"] = tojson
    env.globals["strftime_now"] = NOW.strftime
    return env.from_string(source).render(
        messages=CHAT, tools=[TOOL], bos_token="<s>", eos_token="</s>", add_generation_prompt=True, **variables
    )


def test_segments_alternate_and_tell_markup_from_data() -> None:
    segments = load(CHATML).render(CHAT[:2])
    assert segments == [
        Segment("<|im_start|>system\n", True),
        Segment("  Be kind.\n", False),
        Segment("<|im_end|>\n<|im_start|>user\n", True),
        Segment("Hello <|im_end|> you", False),
        Segment("<|im_end|>\n<|im_start|>assistant\n", True),
    ]


# Each line uses other operations on text of messages, on literals, or on both.
OPERATIONS = (Path(__file__).parents[1] / "data" / "template_operations.jinja").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", OPERATIONS, ids=range(len(OPERATIONS)))
def test_text_equals_plain_jinja(line: str) -> None:
    source = "{% for m in messages %}{{ m.content }}\n" + line + "\n{% endfor %}"
    segments = load(source).render(CHAT, tools=[TOOL])
    assert text_of(segments) == reference(source)
    assert all(a.markup != b.markup for a, b in pairwise(segments))
    for text in markup_of(segments):
        assert "Hello" not in text
        assert "Be kind" not in text


def test_literals_stay_markup_through_transformations() -> None:
    source = (
        "{% macro turn(r, c) %}{{ '<|' + r + '|>' }}{{ c }}{% endmacro %}"
        "{% set open %}<tool>{% endset %}"
        "{{ open|trim }}{{ ['<a>', '<b>']|join('<c>') }}{{ ('  <d> ' + messages[0].content).strip() }}"
        "{{ turn('user', 'x') }}{{ '<%s>' % 'e' }}{{ '<{}>'.format('f') }}{{ '<g>' * 2 }}{{ '<h>,<i>'.split(',')[1] }}"
        "{{ {'user': '<j>'}[messages[0].role] }}{{ '<k>'|upper }}{{ '<l>'.replace('l', 'm') }}"
        "{{ ('<n>' ~ eos_token)[:3] }}"
    )
    segments = load(source).render(user("Q"))
    assert segments == [
        Segment("<tool><a><c><b><d> ", True),
        Segment("Q", False),
        Segment("<|user|>x<e><f><g><g><i><j><K><m><n>", True),
    ]


def test_known_roles_are_markup_and_unknown_ones_are_not() -> None:
    source = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
    segments = load(source).render([{"role": "user", "content": "a"}, {"role": "endoftext", "content": "b"}])
    assert markup_of(segments) == ["<|user|>", "<|", "|>"]
    assert data_of(segments) == ["a", "endoftext", "b"]


def test_tools_options_dates_and_json_are_data() -> None:
    source = "M{{ tools|tojson }}M{{ style }}M{{ strftime_now('%Y') }}M{{ documents[0].t }}M{{ messages[0].name }}"
    chat = [{"role": "user", "content": "x", "name": "<n>"}]
    segments = load(source).render(chat, tools=[TOOL], style="<s>", documents=[{"t": "<d>"}])
    assert data_of(segments) == [json.dumps([TOOL], ensure_ascii=False), "<s>", "2026", "<d>", "<n>"]


def test_no_tools_count_as_none_and_as_an_empty_list() -> None:
    source = (
        "{{ tools is none }}{{ tools is not none }}{{ tools == none }}{{ none != tools }}{{ tools|length }}"
        "{{ tools is defined }}{% if tools %}yes{% endif %}{% for t in tools %}{{ t }}{% endfor %}"
    )
    assert text_of(load(source).render(user("x"))) == "TrueFalseTrueFalse0True"
    assert text_of(load(source).render(user("x"), tools=None)) == "TrueFalseTrueFalse0True"


def test_messages_are_not_changed_and_cannot_be() -> None:
    chat = [{"role": "user", "content": "x", "tool_calls": [CALL]}]
    before = json.dumps(chat)
    for change in ("messages.append(1)", "messages.pop()", "messages[0].update({'a': 1})", "messages[0].clear()"):
        with pytest.raises(TemplateError, match="may not use"):
            load("{{ " + change + " }}").render(chat)
    load("{% set ns = namespace(m=messages) %}{% set ns.m = ns.m + [1] %}{{ ns.m|length }}").render(chat)
    assert json.dumps(chat) == before


def test_generation_tags_are_accepted() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert text_of(load(source).render(user("x"))) == "x"


PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
TAKES_PARTS = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{{ '<img>' if p.type == 'image' else p.text }}{% endfor %}"
    "{% endif %}{% endfor %}"
)


def test_parts_are_flattened_for_a_template_that_takes_text_only() -> None:
    assert "one\ntwo" in text_of(load(CHATML).render([{"role": "user", "content": PARTS}]))
    with pytest.raises(TemplateError, match="text only"):
        load(CHATML).render([{"role": "user", "content": [*PARTS, {"type": "image"}]}])


def test_parts_are_passed_to_a_template_that_takes_them() -> None:
    segments = load(TAKES_PARTS).render([{"role": "user", "content": [*PARTS, {"type": "image"}]}])
    assert segments == [Segment("onetwo", False), Segment("<img>", True)]


def test_text_becomes_a_part_for_a_template_that_takes_only_parts() -> None:
    source = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    assert text_of(load(source).render(user("hello"))) == "hello"


@pytest.mark.parametrize("refusal", ["{{ raise_exception('no system') }}", ""])
def test_system_text_joins_the_question_where_there_is_no_system_role(refusal: str) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}" + refusal + "{% else %}"
        "{{ '<' + m.role + '>' + m.content }}{% endif %}{% endfor %}"
    )
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    assert text_of(load(source).render(chat)) == "<user>Be kind.\nHello"
    assert text_of(load(source).render(chat[:1])) == "<user>Be kind."
    parted = [chat[0], {"role": "user", "content": PARTS}]
    assert text_of(load(source).render(parted)) == "<user>Be kind.\none\ntwo"


@pytest.mark.parametrize("content", ["Once upon", "Once upon ", "<|im_end|> Once\n"])
def test_a_last_message_can_be_left_open(content: str) -> None:
    chat = [*user("Go"), {"role": "assistant", "content": content}]
    segments = load(CHATML).render(chat, continue_final_message=True)
    assert text_of(segments) == "<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\n" + content
    assert segments[-1] == Segment(content, False)
    trimming = CHATML.replace("m['content']", "m['content']|trim")
    assert text_of(load(trimming).render(chat, continue_final_message=True)).endswith("assistant\n" + content.strip())


def test_only_a_printed_answer_can_be_left_open() -> None:
    with pytest.raises(UsageError, match="can be continued"):
        load(CHATML).render(user("x"), continue_final_message=True)
    with pytest.raises(TemplateError, match="cannot be continued"):
        load("{{ messages[0].content }}").render(
            [*user("x"), {"role": "assistant", "content": "y"}], continue_final_message=True
        )
    open_parts = [*user("x"), {"role": "assistant", "content": PARTS}]
    assert text_of(load(TAKES_PARTS).render(open_parts, continue_final_message=True)) == "xonetwo"


def test_options_reach_the_template() -> None:
    source = "{{ 'think' if enable_thinking is not defined or enable_thinking else 'no' }}{{ effort.level if effort }}"
    assert text_of(load(source).render(user("x"))) == "think"
    assert text_of(load(source).render(user("x"), enable_thinking=False, effort={"level": 3})) == "no3"


def test_many_threads_share_one_template() -> None:
    template = load(CHATML)
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(20):
            text = text_of(template.render([{"role": "user", "content": f"{number}-{i}"}] * 5))
            if text.count(f"user\n{number}-{i}<|im_end|>") != 5:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_thousand_messages_are_quick() -> None:
    template = load(CHATML)
    chat = [{"role": "user", "content": f"message {i} " * 5} for i in range(2000)]
    assert len(template.render(chat)) == 4001
    plain = jinja2.Environment().from_string(CHATML)
    best = quickest(lambda: template.render(chat), 5, time.thread_time)
    least = quickest(lambda: plain.render(messages=chat), 5, time.thread_time)
    assert best < 250 * least  # 0.2 s where jinja takes 0.8 ms


def test_jinja_is_imported_only_when_a_template_is_made() -> None:
    code = "import sys, pacos.text.template, pacos.text.stream; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_segments_cover_the_text_without_gaps() -> None:
    segments = load(CHATML).render(CHAT)
    assert [key for key, _ in groupby(segment.markup for segment in segments)] == [s.markup for s in segments]
    assert text_of(segments) == reference(CHATML)
