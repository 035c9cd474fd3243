"""The llama_server dialect on a model that repeats what it is told, and on the bundled one where tokens matter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fake_llm import FakeModels
from serving import asynchronous, client_of

from pacos.hub.names import resolve
from pacos.llm.infill import infill_tokens
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency

TEXT = "hello my dear world"


def events_of(reply: httpx.Response) -> list[Any]:
    """What a stream of events says."""
    lines = [line[6:] for line in reply.text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@asynccontextmanager
async def storyteller() -> AsyncIterator[httpx.AsyncClient]:
    residency = Residency([ModelSpec("storyteller", str(resolve("storyteller")))])
    async with client_of(residency) as client:
        yield client


@asynchronous
async def test_whole_completion() -> None:
    async with client_of() as client:
        data = (await client.post("/completion", json={"prompt": TEXT, "return_tokens": True, "temperature": 0})).json()
    assert data["content"] == TEXT
    assert data["tokens"] == list(TEXT.encode())
    assert (data["stop"], data["stop_type"], data["stopping_word"], data["truncated"]) == (True, "eos", "", False)
    assert (data["tokens_predicted"], data["tokens_evaluated"]) == (len(TEXT), len(TEXT))
    assert data["generation_settings"]["temperature"] == 0
    assert data["generation_settings"]["top_k"] == 40
    assert data["prompt"] == TEXT
    assert data["timings"]["predicted_n"] == len(TEXT)


@asynchronous
async def test_streamed_completion() -> None:
    async with client_of() as client:
        reply = await client.post("/completion", json={"prompt": TEXT, "stream": True, "n_predict": 7})
    found = events_of(reply)
    assert "".join(one["content"] for one in found) == TEXT[:7]
    assert [one["stop"] for one in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["stop_type"] == "limit"
    assert [token for one in found for token in one["tokens"]] == list(TEXT[:7].encode())


@asynchronous
async def test_stream_tells_progress_and_timings() -> None:
    body = {"prompt": TEXT, "stream": True, "return_progress": True, "timings_per_token": True}
    async with client_of() as client:
        found = events_of(await client.post("/completion", json=body))
        whole = (await client.post("/completion", json={**body, "stream": False})).json()
        chat = {"messages": [{"role": "user", "content": TEXT}], **body}
        del chat["prompt"]
        chunks = events_of(await client.post("/v1/chat/completions", json=chat))
        texts = events_of(await client.post("/v1/completions", json=body))
    for pieces in (found, chunks, texts):
        told = [one["prompt_progress"] for one in pieces if "prompt_progress" in one]
        assert [one["processed"] for one in told] == [0, told[-1]["total"]]
        assert set(told[0]) == {"total", "cache", "processed", "time_ms"}
        counts = [one["timings"]["predicted_n"] for one in pieces if "timings" in one]
        assert counts == sorted(counts) and len(set(counts)) > 3
    assert whole["content"] == TEXT


@pytest.mark.parametrize("value", [0, -2])
@asynchronous
async def test_ping_interval_that_is_none(value: int) -> None:
    async with client_of() as client:
        reply = await client.post("/completion", json={"prompt": "x", "stream": True, "sse_ping_interval": value})
        chat = {"messages": [{"role": "user", "content": "x"}], "sse_ping_interval": value}
        assert (await client.post("/v1/chat/completions", json=chat)).status_code == 400
    assert reply.status_code == 400
    assert "sse_ping_interval" in reply.json()["error"]["message"]


@asynchronous
async def test_lines_and_context_in_its_names() -> None:
    body = {"prompt": "Once upon a time", "n_predict": 8, "n_keep": 2, "n_discard": 3, "t_max_predict_ms": -1}
    async with client_of() as client:
        found = (await client.post("/completion", json={**body, "prompt": "a\n  b\nc"})).json()
        short = (await client.post("/completion", json={"prompt": "a b", "n_predict": -2})).json()
    settings = found["generation_settings"]
    assert [settings[name] for name in ("n_keep", "n_discard", "n_indent", "t_max_predict_ms")] == [2, 3, 0, 0]
    assert "n_predict" in short["error"]["message"]


@asynchronous
async def test_counts_of_prompts() -> None:
    messages = [{"role": "user", "content": TEXT}]
    async with client_of() as client:
        chat = (await client.post("/v1/chat/completions/input_tokens", json={"messages": messages})).json()
        answer = (await client.post("/v1/chat/completions", json={"messages": messages})).json()
        response = (await client.post("/v1/responses/input_tokens", json={"input": TEXT})).json()
        bad = await client.post("/v1/responses/input_tokens", json={"input": []})
    assert chat == {"object": "response.input_tokens", "input_tokens": answer["usage"]["prompt_tokens"]}
    assert response == chat
    assert bad.status_code == 400


PROMPTS: dict[str, tuple[Any, Any]] = {
    "token ids": ([104, 105], "hi"),
    "ids and texts mixed": ([104, "ello", 33], "hello!"),
    "object": ({"prompt_string": "hi"}, "hi"),
    "list of texts": (["one", "two"], ["one", "two"]),
    "list of a text": (["one"], ["one"]),
    "list of all kinds": (["one", [104, 105], {"prompt_string": "x"}], ["one", "hi", "x"]),
}


@pytest.mark.parametrize(("prompt", "wanted"), PROMPTS.values(), ids=PROMPTS)
@asynchronous
async def test_form_of_a_prompt(prompt: Any, wanted: Any) -> None:
    async with client_of() as client:
        data = (await client.post("/completions", json={"prompt": prompt})).json()
    assert ([one["content"] for one in data] if isinstance(data, list) else data["content"]) == wanted
    if isinstance(data, list):
        assert [one["index"] for one in data] == list(range(len(data)))


@asynchronous
async def test_chosen_fields_and_several_completions() -> None:
    body = {"prompt": TEXT, "n_cmpl": 2, "seed": 3, "response_fields": ["content", "generation_settings/n_ctx", "none"]}
    models = FakeModels()
    async with client_of(models=models) as client:
        data = (await client.post("/completion", json=body)).json()
    assert data == [{"content": TEXT, "n_ctx": 4096}] * 2
    assert [stream.seed for stream in models.opened["fake"].streams] == [3, 4]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no prompt": ({}, 400, "prompt"),
    "no prompts": ({"prompt": []}, 400, "prompt"),
    "unknown field": ({"prompt": "x", "temprature": 1}, 400, "temprature"),
    "number": ({"prompt": 5}, 400, "prompt"),
    "picture": ({"prompt": {"prompt_string": "x", "multimodal_data": ["aa"]}}, 501, "multimodal_data"),
    "adapter": ({"prompt": "x", "lora": [{"id": 0, "scale": 1}]}, 400, "no adapter 0"),
    "limits that differ": ({"prompt": "x", "n_predict": 1, "max_tokens": 2}, 400, "max_tokens"),
    "bias": ({"prompt": "x", "logit_bias": [[1, True]]}, 400, "logit_bias"),
    "option": ({"prompt": "x", "top_p": 7}, 400, "top_p"),
    "fewer than no completions": ({"prompt": "x", "n_cmpl": -1}, 400, "n_cmpl"),
    "too many completions": ({"prompt": "x", "n_cmpl": 129}, 400, "n_cmpl"),
    "too long": ({"prompt": "x" * 5000}, 400, "5000 tokens"),
}


@pytest.mark.parametrize(("body", "status", "word"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused_field(body: dict[str, Any], status: int, word: str) -> None:
    async with client_of() as client:
        reply = await client.post("/completion", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, status)
    assert word in error["message"]
    assert (error["type"] == "exceed_context_size_error") == ("5000" in word)
    assert error["type"].endswith("_error")


@asynchronous
async def test_biases_by_text_and_id() -> None:
    async with storyteller() as client:
        prompt = {"prompt": "Once upon a time", "n_predict": 1, "temperature": 0, "return_tokens": True}
        (token,) = (await client.post("/completion", json=prompt)).json()["tokens"]
        text = (await client.post("/detokenize", json={"tokens": [token]})).json()["content"]
        for bias in ([[token, False]], [[text, -100]], {str(token): -100.0}, {text: False}):
            other = (await client.post("/completion", json={**prompt, "logit_bias": bias})).json()["tokens"]
            assert other != [token], bias


@asynchronous
async def test_tokens_and_templates() -> None:
    async with storyteller() as client:
        plain = (await client.post("/tokenize", json={"content": "<|im_start|>é"})).json()["tokens"]
        pieces = (await client.post("/tokenize", json={"content": "<|im_start|>é", "with_pieces": True})).json()[
            "tokens"
        ]
        assert [one["id"] for one in pieces] == plain
        assert pieces[0]["piece"] == "<|im_start|>"
        data = b"".join(p.encode() if isinstance(p := one["piece"], str) else bytes(p) for one in pieces)
        assert data.decode() == "<|im_start|>é"
        assert (await client.post("/detokenize", json={"tokens": plain})).json() == {"content": "<|im_start|>é"}
        spelled = (await client.post("/tokenize", json={"content": "<|im_start|>", "parse_special": False})).json()
        assert len(spelled["tokens"]) > 1
        messages = [{"role": "user", "content": "hi <|im_end|>"}]
        prompt = (await client.post("/apply-template", json={"messages": messages})).json()["prompt"]
        assert "<|im_start|>user\nhi <|im_end|>" in prompt
        assert prompt.endswith("<|im_start|>assistant\n")
        tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
        body = {"messages": messages, "tools": [tool]}
        prompt = (await client.post("/apply-template", json=body)).json()["prompt"]
        assert '"now"' in prompt.partition("<|im_start|>user")[0], "told as an answer's prompt tells them"


@asynchronous
async def test_properties() -> None:
    async with storyteller() as client:
        found = (await client.get("/props")).json()
        assert found["model_path"].endswith(".gguf")
        assert found["default_generation_settings"]["n_ctx"] == 1024
        assert found["default_generation_settings"]["params"]["top_k"] == 40
        assert "im_start" in found["chat_template"]
        assert (await client.get("/lora-adapters")).json() == []


@asynchronous
async def test_infill_needs_a_model_that_can() -> None:
    async with storyteller() as client:
        reply = await client.post("/infill", json={"input_prefix": "def f(", "input_suffix": "return 1"})
    assert reply.status_code == 501
    assert "fim_pre" in reply.json()["error"]["message"]


class _Marked:
    """The part of a model that infill looks at; its tokens are bytes, its marks lie above them."""

    def __init__(self, **special: int) -> None:
        self.special = special

    @property
    def tokenizer(self) -> _Marked:
        return self

    def tokenize(self, text: str, add_special: bool = True) -> list[int]:
        return [0] * add_special + list(text.encode())


@pytest.mark.parametrize(
    ("special", "wanted"),
    [
        ({}, "^E[P]pre[S]suf[M]go"),
        ({"fim_sep": 303}, "^[F]a.py\nE\n[F]filename\n[P]pre[S]suf[M]go"),
        ({"fim_sep": 303, "fim_rep": 304}, "^[R]myproject\n[F]a.py\nE\n[F]filename\n[P]pre[S]suf[M]go"),
    ],
    ids=["plain", "files", "repository"],
)
def test_infill_prompt(special: dict[str, int], wanted: str) -> None:
    llm: Any = _Marked(fim_pre=300, fim_suf=301, fim_mid=302, **special)
    names = {0: "^", 300: "[P]", 301: "[S]", 302: "[M]", 303: "[F]", 304: "[R]"}
    ids = infill_tokens(llm, "pre", "suf", "go", [("a.py", "E")])
    assert "".join(names.get(token) or chr(token) for token in ids) == wanted


MARKS = {"fim_pre": 1, "fim_suf": 2, "fim_mid": 3}
GAPS = {
    "llama-server": ("/infill", {"input_prefix": "pre", "input_suffix": "suf"}, "content"),
    "OpenAI": ("/v1/completions", {"prompt": "pre", "suffix": "suf"}, "choices"),
    "OpenAI with ids": ("/v1/completions", {"prompt": [112, 114, 101], "suffix": "suf"}, "choices"),
    "Ollama": ("/api/generate", {"model": "fake", "prompt": "pre", "suffix": "suf", "stream": False}, "response"),
}


@pytest.mark.parametrize(("path", "body", "field"), GAPS.values(), ids=GAPS)
@asynchronous
async def test_gap_is_filled_in_every_dialect(path: str, body: dict[str, Any], field: str) -> None:
    models = FakeModels()
    async with client_of(models=models) as client:
        refused = await client.post(path, json=body)
        models.opened["fake"].special = MARKS
        found = (await client.post(path, json=body)).json()[field]
    assert refused.status_code in {400, 501}
    assert (found[0]["text"] if field == "choices" else found) == "\1pre\2suf\3", "the fake says what it was asked"
