"""The clients of Anthropic and Ollama, unmodified, against a real server with a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Server, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the clients' own code
    pytest.mark.filterwarnings("ignore:.*[Pp]ydantic.*:UserWarning"),
]

STORY: Any = [{"role": "user", "content": "Tell me a story."}]
SCHEMA: Any = {
    "type": "object",
    "properties": {"dice": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["dice"],
    "additionalProperties": False,
}
ROLL: Any = {"name": "roll", "description": "Roll dice.", "input_schema": SCHEMA}
MODEL: Any = {"model": "storyteller", "max_tokens": 60, "messages": STORY}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served("storyteller") as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def claude(server: Server) -> Iterator[Any]:
    import anthropic

    with anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def llama(server: Server) -> Iterator[Any]:
    import ollama

    made = ollama.Client(host=server.url)
    yield made
    made._client.close()


def test_anthropic_message_and_stream(claude: Any) -> None:
    options: Any = {**MODEL, "extra_body": {"temperature": 0}, "max_tokens": 20}
    whole = claude.messages.create(**options)
    assert whole.content[0].text.startswith("Once upon a time")
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 20)
    with claude.messages.stream(**options) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        assert stream.get_final_message().usage.output_tokens == 20


def test_anthropic_count(claude: Any) -> None:
    for more in ({}, {"system": "Be brief."}, {"tools": [ROLL]}):
        cost = claude.messages.create(**{**MODEL, "max_tokens": 1}, **more).usage
        count = claude.messages.count_tokens(model="storyteller", messages=STORY, **more)
        assert count.input_tokens == cost.input_tokens + cost.cache_read_input_tokens


def test_anthropic_tools(claude: Any) -> None:
    options: Any = {
        **MODEL,
        "max_tokens": 400,
        "tools": [ROLL],
        "tool_choice": {"type": "tool", "name": "roll", "disable_parallel_tool_use": True},
    }
    found = claude.messages.create(**options)
    with claude.messages.stream(**options) as stream:
        streamed = stream.get_final_message()
    for reply in (found, streamed):
        (call,) = reply.content
        assert (reply.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "roll")
        assert 1 <= call.input["dice"] <= 9


def test_anthropic_schema(claude: Any) -> None:
    config: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    reply = claude.messages.create(**MODEL, output_config=config)
    assert 1 <= json.loads(reply.content[0].text)["dice"] <= 9


def test_anthropic_errors(claude: Any) -> None:
    import anthropic

    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**{**MODEL, "model": "nobody"})
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        claude.messages.create(**MODEL, extra_body={"temperature": -1})


def test_ollama_chat_and_stream(llama: Any) -> None:
    options: Any = {"model": "storyteller", "messages": STORY, "options": {"temperature": 0, "num_predict": 20}}
    whole = llama.chat(**options)
    assert whole.message.content.startswith("Once upon a time")
    assert (whole.done_reason, whole.eval_count) == ("length", 20)
    assert "".join(piece.message.content for piece in llama.chat(**options, stream=True)) == whole.message.content


def test_ollama_generate_with_scores(llama: Any) -> None:
    options: Any = {"temperature": 0, "num_predict": 4}
    reply = llama.generate(model="storyteller", prompt="Once", raw=True, options=options, logprobs=True, top_logprobs=2)
    assert "".join(one.token for one in reply.logprobs) == reply.response
    assert all(one.top_logprobs[0].token == one.token for one in reply.logprobs)  # the greedy choices


def test_ollama_json(llama: Any) -> None:
    options: Any = {"num_predict": 60}
    reply = llama.chat(model="storyteller", messages=STORY, format=SCHEMA, options=options)
    assert 1 <= json.loads(reply.message.content)["dice"] <= 9


def test_ollama_embeddings(llama: Any) -> None:
    found = llama.embed(model="storyteller", input=["one", "two"])
    assert [sum(number * number for number in one) for one in found.embeddings] == pytest.approx([1, 1], abs=1e-5)
    assert len(llama.embeddings(model="storyteller", prompt="one").embedding) == len(found.embeddings[0])


def test_ollama_models_and_errors(llama: Any) -> None:
    import ollama

    assert [one.model for one in llama.list().models] == ["storyteller"]
    assert "completion" in llama.show("storyteller").capabilities
    with pytest.raises(ollama.ResponseError, match="nobody"):
        llama.chat(model="nobody", messages=STORY)
