"""Constrained answers, tool calls and thoughts, from a conversation to its answer, with the bundled model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pacos
from pacos.errors import UsageError

CHAT = [{"role": "user", "content": "Tell me a story."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer"},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look somewhere.",
        "parameters": {
            "type": "object",
            "properties": {"where": {"enum": ["up", "down"]}, "far": {"type": "boolean"}},
            "required": ["where", "far"],
            "additionalProperties": False,
        },
    },
}
REST = {"type": "function", "function": {"name": "rest"}}
THINKER = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{{ 'assistant:' }}{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def llm() -> Iterator[pacos.LLM]:
    with pacos.load("storyteller") as opened:
        yield opened


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pacos.LLM]:
    """The bundled model with a template that begins a thought."""
    path = tmp_path_factory.mktemp("thinker") / "thinker.jinja"
    path.write_text(THINKER, encoding="utf-8")
    with pacos.load("storyteller", chat_template=str(path)) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(8))
def test_schema_is_obeyed(llm: pacos.LLM, seed: int) -> None:
    for found in (llm.generate("Once", json_schema=SCHEMA, seed=seed), llm.chat(CHAT, json_schema=SCHEMA, seed=seed)):
        made = json.loads(found.text)
        assert list(made) == ["name", "age", "kind"] and made["kind"] in {"cat", "dog"}
        assert found.finish_reason == "stop"


def test_choice_regex_lark_and_grammar_are_obeyed(llm: pacos.LLM) -> None:
    for seed in range(4):
        assert llm.chat(CHAT, choice=["dragon", "a dragon"], seed=seed).text in {"dragon", "a dragon"}
        assert re.fullmatch("[A-Z][a-z]{2,5}!", llm.chat(CHAT, regex="[A-Z][a-z]{2,5}!", seed=seed).text)
        assert re.fullmatch("<+a>+", llm.chat(CHAT, grammar='root ::= "<" root ">" | "<a>"', seed=seed).text)
        assert re.fullmatch("yes( or no){0,3}", llm.generate("So", lark='start: "yes" (" or no"){0,3}', seed=seed).text)


def test_constraint_changes_only_what_it_must(llm: pacos.LLM) -> None:
    free = llm.chat(CHAT, temp=0, n_predict=20)
    assert llm.chat(CHAT, temp=0, n_predict=20, regex="(.|\n)*").token_ids == free.token_ids


def test_same_seed_same_answer_alone_and_among_others(llm: pacos.LLM) -> None:
    alone = [llm.chat(CHAT, json_schema=SCHEMA, seed=seed).token_ids for seed in range(4)]

    async def together() -> list[Any]:
        return await asyncio.gather(*(llm.achat(CHAT, json_schema=SCHEMA, seed=seed) for seed in range(4)))

    assert [found.token_ids for found in asyncio.run(together())] == alone


def test_what_cannot_be_enforced_is_refused_before_anything_runs(llm: pacos.LLM) -> None:
    with pytest.raises(UsageError, match="'not' cannot be enforced"):
        llm.chat(CHAT, json_schema={"not": {"type": "string"}})
    with pytest.raises(UsageError, match="regex and choice"):
        llm.generate("Once", regex="a", choice=["b"])
    with pytest.raises(UsageError, match="ignore_eos leaves"):
        llm.generate("Once", regex="a", ignore_eos=True)


@pytest.mark.parametrize("seed", range(6))
def test_required_calls_are_valid(llm: pacos.LLM, seed: int) -> None:
    found = llm.chat(CHAT, tools=[LOOK, REST], tool_choice="required", parallel_tool_calls=False, seed=seed)
    assert found.finish_reason == "tool_calls" and found.text == ""
    (call,) = found.tool_calls
    arguments = json.loads(call.arguments)
    assert call.name in {"look", "rest"} and call.id
    assert call.name == "rest" or (arguments["where"] in {"up", "down"} and isinstance(arguments["far"], bool))


def test_named_tool_is_called(llm: pacos.LLM) -> None:
    named = {"type": "function", "function": {"name": "look"}}
    for seed in range(3):
        found = llm.chat(CHAT, tools=[LOOK, REST], tool_choice=named, parallel_tool_calls=False, seed=seed)
        assert [call.name for call in found.tool_calls] == ["look"]


def test_calls_are_streamed_piece_by_piece(llm: pacos.LLM) -> None:
    events = list(llm.stream_chat(CHAT, tools=[LOOK], tool_choice="required", parallel_tool_calls=False, seed=1))
    deltas = [delta for event in events for delta in event.tool_calls]
    assert deltas[0].id and deltas[0].name == "look" and not any(delta.id or delta.name for delta in deltas[1:])
    assert len(deltas) > 5 and json.loads("".join(delta.arguments for delta in deltas))
    assert [event.finish_reason for event in events if event.finish_reason] == ["tool_calls"]


def test_no_tool_is_called_when_none_may_be(llm: pacos.LLM) -> None:
    found = llm.chat(CHAT, tools=[LOOK], tool_choice="none", n_predict=20, seed=1)
    assert not found.tool_calls and found.prompt_token_ids == llm.chat(CHAT, n_predict=1).prompt_token_ids
    assert len(llm.chat_tokens(CHAT, tools=[LOOK])) > len(llm.chat_tokens(CHAT))


def test_conversation_goes_on_after_a_call(llm: pacos.LLM) -> None:
    call = llm.chat(CHAT, tools=[LOOK], tool_choice="required", parallel_tool_calls=False, seed=2).tool_calls[0]
    said = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    messages = [
        *CHAT,
        {"role": "assistant", "content": None, "tool_calls": [said]},
        {"role": "tool", "tool_call_id": call.id, "content": "a red dragon"},
    ]
    prompt = llm.detokenize(llm.chat_tokens(messages, tools=[LOOK]))
    assert "a red dragon" in prompt and '"where"' in prompt
    assert llm.chat(messages, tools=[LOOK], n_predict=8, seed=1).text


def test_thought_is_ended_by_its_budget(thinker: pacos.LLM) -> None:
    found = thinker.chat(CHAT, reasoning_budget=6, n_predict=30, seed=1)
    ending = len(thinker.tokenize("</think>", add_special=False))
    assert 0 < len(thinker.tokenize(found.reasoning, add_special=False)) <= 8
    assert "</think>" in thinker.detokenize(found.token_ids[: 6 + ending + 2])
    assert found.text and "think>" not in found.text


def test_budget_that_is_spent_says_so(thinker: pacos.LLM) -> None:
    said = " That will do.\n"
    found = thinker.chat(CHAT, reasoning_budget=6, reasoning_budget_message=said, n_predict=40, seed=1)
    assert found.reasoning.endswith(said.rstrip()) or found.reasoning.endswith(said)
    assert found.text and "think>" not in found.text
    natural = thinker.chat(CHAT, reasoning_budget=100_000, reasoning_budget_message=said, n_predict=40, seed=1)
    assert said.strip() not in natural.reasoning


def test_effort_reaches_the_template_and_none_is_off(tmp_path: Path) -> None:
    path = tmp_path / "effort.jinja"
    path.write_text("{{ reasoning_effort }}|{{ enable_thinking }}|{{ messages[0].content }}<think></think>")
    with pacos.load("storyteller", chat_template=str(path)) as llm:
        said = {
            effort: llm.detokenize(llm.prompt_tokens(CHAT, reasoning_effort=effort)).split("|")[:2]
            for effort in ("high", "none")
        }
    assert said["high"][0].strip() == "high"
    assert said["none"][1] == "False"


def test_thoughts_on_off_and_where_they_go(thinker: pacos.LLM) -> None:
    limits: dict[str, Any] = {"reasoning_budget": 6, "n_predict": 30, "seed": 1}
    apart = thinker.chat(CHAT, **limits)
    inside = thinker.chat(CHAT, **limits, reasoning_format="none")
    both = thinker.chat(CHAT, **limits, reasoning_format="deepseek-legacy")
    assert not inside.reasoning and apart.reasoning in inside.text and "</think>" in inside.text
    assert both.reasoning == apart.reasoning and both.text.endswith(apart.text) and "</think>" in both.text
    off = thinker.chat(CHAT, reasoning="off", n_predict=10, seed=1)
    assert not off.reasoning and off.text and "<think>" not in thinker.detokenize(off.prompt_token_ids)
    assert "<think>" in thinker.detokenize(thinker.chat(CHAT, reasoning="on", n_predict=1).prompt_token_ids)


def test_forced_thought_of_a_template_is_closed_when_there_shall_be_none(tmp_path: Path) -> None:
    path = tmp_path / "forced.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>\n' }}", encoding="utf-8")
    with pacos.load("storyteller", chat_template=str(path)) as llm:
        found = llm.chat(CHAT, reasoning="off", n_predict=5, seed=1)
        assert llm.detokenize(found.prompt_token_ids).rstrip().endswith("</think>") and not found.reasoning


def test_constraint_comes_after_the_thought(thinker: pacos.LLM) -> None:
    for seed in range(3):
        found = thinker.chat(CHAT, reasoning_budget=8, json_schema=SCHEMA, seed=seed)
        assert found.reasoning and json.loads(found.text)["kind"] in {"cat", "dog"}
        found = thinker.chat(CHAT, reasoning_budget=8, tools=[LOOK], tool_choice="required", seed=seed, n_predict=300)
        assert found.reasoning and found.tool_calls[0].name == "look"


def test_template_options_reach_the_template(thinker: pacos.LLM) -> None:
    found = thinker.chat(CHAT, template_options={"enable_thinking": False}, n_predict=3)
    assert "<think>" not in thinker.detokenize(found.prompt_token_ids)


def test_template_of_one_conversation(llm: pacos.LLM) -> None:
    own, other = (llm.prompt_tokens(CHAT, chat_template=name) for name in ("", "zephyr"))
    text = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    with pacos.load("storyteller", chat_template="zephyr") as named:
        assert other == named.prompt_tokens(CHAT) != own
    assert llm.detokenize(llm.prompt_tokens(CHAT, chat_template=text)) == "user: Tell me a story."
    assert llm.prompt_tokens(CHAT) == own
    for number in range(20):  # no more than some are kept
        assert llm.detokenize(llm.prompt_tokens(CHAT, chat_template=f"{number}{{#-#}}")) == f"{number}"
    with pytest.raises(UsageError, match="none"):
        llm.prompt_tokens(CHAT, chat_template="none")
