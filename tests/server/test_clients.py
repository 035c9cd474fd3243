"""Clients that others wrote, unmodified, against a real server with a real model."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from serving import Server, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the clients' own code
    pytest.mark.filterwarnings("ignore:.*[Pp]ydantic.*:UserWarning"),
]

STORY: Any = [{"role": "user", "content": "Tell me a story."}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "roll",
            "description": "Roll dice.",
            "parameters": {
                "type": "object",
                "properties": {"dice": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["dice"],
                "additionalProperties": False,
            },
        },
    }
]
FORCED: Any = {"type": "function", "function": {"name": "roll"}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served("storyteller", "--api-key", "sk-test", "--alias", "gpt-4o-mini") as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    import openai

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-test", max_retries=0) as made:
        yield made


def test_openai_chat(client: Any) -> None:
    reply = client.chat.completions.create(model="storyteller", messages=STORY, temperature=0, max_tokens=20)
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content.startswith("Once upon a time")
    assert reply.usage.completion_tokens == 20


def test_openai_stream(client: Any) -> None:
    whole = client.chat.completions.create(model="gpt-4o-mini", messages=STORY, temperature=0, max_tokens=20)
    stream = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=STORY,
        temperature=0,
        max_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 20


def test_openai_stop_and_seed(client: Any) -> None:
    options: Any = {"model": "storyteller", "messages": STORY, "seed": 3, "max_tokens": 60}
    full = client.chat.completions.create(**options).choices[0].message.content
    assert client.chat.completions.create(**options).choices[0].message.content == full
    word = full.split(" ")[3]
    cut = client.chat.completions.create(**options, stop=[word]).choices[0]
    assert (cut.finish_reason, cut.message.content) == ("stop", full[: full.index(word)])


def test_openai_logprobs(client: Any) -> None:
    reply = client.chat.completions.create(
        model="storyteller", messages=STORY, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
    )
    content = reply.choices[0].logprobs.content
    assert "".join(one.token for one in content) == reply.choices[0].message.content
    for one in content:
        assert [likely.logprob for likely in one.top_logprobs] == sorted(
            (likely.logprob for likely in one.top_logprobs), reverse=True
        )
        assert one.top_logprobs[0].token == one.token  # the greedy choice
        assert one.logprob <= 0


def test_openai_completions_echo_and_logprobs(client: Any) -> None:
    reply = client.completions.create(
        model="storyteller", prompt="Once upon a", temperature=0, max_tokens=3, echo=True, logprobs=2
    )
    scores = reply.choices[0].logprobs
    assert reply.choices[0].text.startswith("Once upon a time")
    assert scores.token_logprobs[0] is None
    assert all(value <= 0 for value in scores.token_logprobs[1:])
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == len(scores.text_offset)


def test_openai_best_of(client: Any) -> None:
    reply = client.completions.create(model="storyteller", prompt="Once", seed=1, n=1, best_of=4, max_tokens=8)
    assert len(reply.choices) == 1
    assert reply.usage.completion_tokens == 32


def test_openai_tools(client: Any) -> None:
    reply = client.chat.completions.create(
        model="storyteller", messages=STORY, tools=TOOLS, tool_choice=FORCED, parallel_tool_calls=False, seed=1
    )
    (call,) = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "roll"
    assert 1 <= json.loads(call.function.arguments)["dice"] <= 9


def test_openai_tools_streamed(client: Any) -> None:
    with client.chat.completions.stream(
        model="storyteller", messages=STORY, tools=TOOLS, tool_choice=FORCED, parallel_tool_calls=False, seed=1
    ) as stream:
        for _ in stream:
            pass
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert call.function.name == "roll"
    assert 1 <= json.loads(call.function.arguments)["dice"] <= 9


def test_openai_parse(client: Any) -> None:
    import pydantic

    class Hero(pydantic.BaseModel):
        kind: Literal["dragon", "knight"]
        brave: bool

    reply = client.chat.completions.parse(model="storyteller", messages=STORY, response_format=Hero, max_tokens=60)
    hero = reply.choices[0].message.parsed
    assert hero.kind in {"dragon", "knight"}
    assert isinstance(hero.brave, bool)


def test_openai_embeddings(client: Any) -> None:
    plain = client.embeddings.create(model="storyteller", input=["one", "two"], encoding_format="float")
    coded = client.embeddings.create(model="storyteller", input=["one", "two"])  # it asks for base64
    for one, other in zip(coded.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
    assert sum(number * number for number in plain.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_openai_models_and_errors(client: Any, server: Server) -> None:
    import openai

    assert [model.id for model in client.models.list()] == ["storyteller"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=STORY)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="storyteller", messages=STORY, temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError), openai.OpenAI(base_url=f"{server.url}/v1", api_key="no") as other:
        other.models.list()


@pytest.fixture
def loop_of_its_own() -> Iterator[None]:
    """A loop that is closed again, for a client that would leave one open, to the harm of a later test."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("loop_of_its_own")
def test_litellm(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    options: Any = {
        "model": "openai/storyteller",
        "api_base": f"{server.url}/v1",
        "api_key": "sk-test",
        "messages": STORY,
        "temperature": 0,
        "max_tokens": 8,
    }
    whole = litellm.completion(**options).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**options, stream=True)]
    assert "".join(pieces) == whole
    assert whole.startswith("Once upon a time")


def test_langchain(server: Server) -> None:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model="storyteller", base_url=f"{server.url}/v1", api_key="sk-test", temperature=0, max_completion_tokens=8
    )
    whole = model.invoke("Tell me a story.").content
    assert whole.startswith("Once upon a time")
    assert "".join(str(piece.content) for piece in model.stream("Tell me a story.")) == whole


IGLLAMA = {  # the curl lines of igllama's README, the port apart
    "IG-132": """curl http://localhost:8080/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "default",
    "messages": [{"role": "user", "content": "Hello!"}],
    "stream": false
  }' """,
    "IG-133": """curl http://localhost:8080/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "default",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "stream": true
  }' """,
    "IG-134": """curl http://localhost:8080/v1/embeddings \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "default",
    "input": ["Hello world", "How are you?"]
  }' """,
    "IG-135": "curl http://localhost:8080/health",
    "IG-136": "curl http://localhost:8080/v1/models",
}


@pytest.fixture(scope="module")
def open_server() -> Iterator[Server]:
    with served("storyteller", "--ctx-size", "256", command="api") as running:
        running.wait_until_ready()
        yield running


@pytest.mark.parametrize("line", IGLLAMA.values(), ids=IGLLAMA)
def test_igllama_curl(open_server: Server, line: str) -> None:
    port = open_server.url.rpartition(":")[2]
    done = subprocess.run(
        ["sh", "-c", line.replace(":8080", f":{port}").replace("curl ", "curl -sS --fail-with-body ", 1)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    word = {"IG-132": '"content":"', "IG-133": "data: [DONE]", "IG-134": '"embedding":[', "IG-135": '"ok"'}
    assert word.get(next(key for key, value in IGLLAMA.items() if value == line), "storyteller") in done.stdout
