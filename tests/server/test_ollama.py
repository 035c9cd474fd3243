"""The ollama dialect on a model that repeats what it is told, and on the bundled one for what its file says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_llm import FakeModels, fake_spec
from serving import asynchronous, client_of

import pacos
from pacos.hub.names import resolve
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency

TEXT = "hello my dear world"
CHAT: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": TEXT}]}
PROMPT: dict[str, Any] = {"model": "fake", "prompt": TEXT}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@asynchronous
async def test_streams_by_default() -> None:
    async with client_of() as client:
        chat = await client.post("/api/chat", json=CHAT)
        generate = await client.post("/api/generate", json=PROMPT)
    assert chat.headers["content-type"].startswith("application/x-ndjson")
    for found in (lines(chat.text), lines(generate.text)):
        assert [one["done"] for one in found] == [False] * (len(found) - 1) + [True]
        assert found[-1]["done_reason"] == "stop"
        assert found[-1]["eval_count"] == len(TEXT)
        assert found[-1]["total_duration"] > 0
    assert "".join(one["message"]["content"] for one in lines(chat.text)) == TEXT
    assert "".join(one["response"] for one in lines(generate.text)) == TEXT


@asynchronous
async def test_whole_answers_and_the_tag_that_everything_has() -> None:
    body = {**CHAT, "model": "fake:latest", "stream": False, "options": {"num_predict": 5, "stop": "x"}}
    async with client_of() as client:
        chat = (await client.post("/api/chat", json=body)).json()
        raw = (await client.post("/api/generate", json={**PROMPT, "raw": True, "stream": False})).json()
    assert chat["message"] == {"role": "assistant", "content": "hello"}
    assert chat["model"] == "fake:latest"
    assert (chat["done"], chat["done_reason"]) == (True, "length")
    assert raw["response"] == TEXT


@asynchronous
async def test_an_empty_request_opens_and_closes_the_model() -> None:
    models = FakeModels()
    residency = Residency([fake_spec()], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        opened = (await client.post("/api/generate", json={"model": "fake"})).json()
        assert (opened["response"], opened["done_reason"]) == ("", "load")
        assert "fake" in residency.open
        closed = (await client.post("/api/chat", json={"model": "fake", "keep_alive": 0})).json()
        assert closed["done_reason"] == "unload"
        await residency.shut_expired()
        assert models.opened["fake"].closed


@asynchronous
async def test_failure_within_a_stream_is_a_line() -> None:
    async with client_of() as client:
        reply = await client.post("/api/chat", json={**CHAT, "messages": [{"role": "user", "content": "fail"}]})
    assert "error" in lines(reply.text)[-1]


@pytest.mark.parametrize("stream", [False, True])
@asynchronous
async def test_context_goes_on_from_an_earlier_answer(stream: bool) -> None:
    models = FakeModels()
    body = {"model": "fake", "prompt": "one two", "stream": stream}
    async with client_of(models=models) as client:
        first = lines((await client.post("/api/generate", json=body)).text)[-1]["context"]
        second = lines((await client.post("/api/generate", json={**body, "context": first})).text)[-1]["context"]
        raw = lines((await client.post("/api/generate", json={**body, "context": first, "raw": True})).text)[-1]
    one, two, three = models.opened["fake"].streams
    assert first == [*one.prompt_token_ids, *b"one two"]
    assert list(two.prompt_token_ids) == [*first, *one.prompt_token_ids]
    assert second == [*two.prompt_token_ids, *b"one two"]
    assert list(three.prompt_token_ids) == [*first, *b"one two"]
    assert "context" not in raw


def test_context_of_a_model() -> None:
    with pacos.load("storyteller") as llm:
        messages = [{"role": "user", "content": "hello"}]
        plain, after = (llm.stream_chat(messages, n_predict=0, before=ids).prompt_token_ids for ids in ((), (5, 6)))
        assert after == (5, 6, *plain)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no model": ("/api/chat", {"messages": []}, "model"),
    "unknown field": ("/api/chat", {**CHAT, "temprature": 1}, "temprature"),
    "unknown option": ("/api/chat", {**CHAT, "options": {"temprature": 1}}, "temprature"),
    "option of a wrong type": ("/api/chat", {**CHAT, "options": {"temperature": "hot"}}, "temperature"),
    "option out of range": ("/api/chat", {**CHAT, "options": {"top_p": 7}}, "top_p"),
    "larger context": ("/api/chat", {**CHAT, "options": {"num_ctx": 1 << 20}}, "num_ctx"),
    "picture": ("/api/chat", {**CHAT, "messages": [{"role": "user", "content": "x", "images": ["aa"]}]}, "images"),
    "template": ("/api/generate", {**PROMPT, "template": "x"}, "template"),
    "long template": ("/api/generate", {**PROMPT, "template": "{{" * (1 << 16)}, "template"),
    "template of a text": ("/api/generate", {**PROMPT, "raw": True, "template": "chatml"}, "template"),
    "duration": ("/api/generate", {**PROMPT, "keep_alive": "soon"}, "keep_alive"),
    "format": ("/api/generate", {**PROMPT, "format": "xml"}, "format"),
    "thinking": ("/api/generate", {**PROMPT, "think": "hard"}, "think"),
}


@pytest.mark.parametrize(("path", "body", "word"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused_field(path: str, body: dict[str, Any], word: str) -> None:
    async with client_of() as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == 400, reply.text
    assert list(reply.json()) == ["error"]
    assert word in reply.json()["error"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("-1", -1), (0, 0), ("90", 90), ("-1m", -60), ("1.5s", 1.5), ("100ms", 0.1)],
)
def test_durations(given: float | str, seconds: float) -> None:
    from pacos.server.dialects.ollama.shapes import keep_alive_seconds

    assert keep_alive_seconds(given) == pytest.approx(seconds)


@asynchronous
async def test_lists_and_descriptions() -> None:
    spec = ModelSpec("storyteller", str(resolve("storyteller")), defaults={"temp": 0.5})
    models = FakeModels()
    residency = Residency([spec], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        (listed,) = (await client.get("/api/tags")).json()["models"]
        assert listed["name"] == "storyteller"
        assert listed["size"] == resolve("storyteller").stat().st_size
        assert listed["details"]["family"] == "llama"
        assert len(listed["digest"]) == 64
        assert (await client.get("/api/ps")).json() == {"models": []}
        await client.post("/api/generate", json={"model": "storyteller", "keep_alive": -1})
        (running,) = (await client.get("/api/ps")).json()["models"]
        assert running["context_length"] == 4096
        assert running["expires_at"].startswith("9999")
        shown = (await client.post("/api/show", json={"model": "storyteller:latest"})).json()
        assert shown["parameters"] == "temperature 0.5"
        assert shown["model_info"]["general.architecture"] == "llama"
        assert shown["model_info"]["tokenizer.ggml.tokens"] is None
        assert "(" not in str(shown["details"]["parameter_size"])
        whole = (await client.post("/api/show", json={"model": "storyteller", "verbose": True})).json()
        assert len(whole["model_info"]["tokenizer.ggml.tokens"]) == 2048
        assert (await client.get("/api/version")).json()["version"]
        missing = await client.post("/api/show", json={"model": "other"})
    assert missing.status_code == 404


@asynchronous
async def test_template_of_one_request() -> None:
    go = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}"
    jinja = "{% for message in messages %}{{ message.content }}{% endfor %}"
    models = FakeModels()
    async with client_of(Residency([fake_spec()], open_model=models.open)) as client:  # type: ignore[arg-type]
        for template, wanted in ((go, "chatml"), ("zephyr", "zephyr"), (jinja, jinja), (None, ""), ("", "")):
            for path, start in (("/api/generate", PROMPT), ("/api/chat", CHAT)):
                reply = await client.post(path, json={**start, "template": template})
                assert reply.status_code == 200, reply.text
                assert models.opened["fake"].streams[-1].given["chat_template"] == wanted
