"""Vectors and ranks in the dialects of llama-server and Ollama."""

from __future__ import annotations

from typing import Any

import pytest
from serving import asynchronous, client_of


@pytest.mark.parametrize("path", ["/embedding", "/embeddings"])
@asynchronous
async def test_llama_server_embedding(path: str) -> None:
    async with client_of() as client:
        one = (await client.post(path, json={"content": "ab"})).json()
        several = (await client.post(path, json={"input": ["ab", [99, 100, 101]], "embd_normalize": -1})).json()
    assert one == [{"index": 0, "embedding": [[2.0, 97.0, 98.0, 0.0]]}]
    assert several == [*one, {"index": 1, "embedding": [[3.0, 99.0, 100.0, 101.0]]}]


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])
@asynchronous
async def test_llama_server_rerank(path: str) -> None:
    texts = ["no", "a cat", "a cat and a dog"]
    async with client_of() as client:
        reply = (await client.post(path, json={"query": "cat dog", "documents": texts, "top_n": 2})).json()
        plain = (await client.post(path, json={"query": "cat dog", "texts": texts, "return_text": True})).json()
    assert reply["results"] == [{"index": 2, "relevance_score": 2.0}, {"index": 1, "relevance_score": 1.0}]
    assert reply["usage"]["total_tokens"] == sum(len("cat dog") + len(text) for text in texts)
    assert plain[0] == {"index": 2, "score": 2.0, "text": texts[2]}
    assert len(plain) == 3


@asynchronous
async def test_ollama_embed() -> None:
    async with client_of() as client:
        one = (await client.post("/api/embed", json={"model": "fake", "input": "ab"})).json()
        two = (await client.post("/api/embed", json={"model": "fake", "input": ["ab", "c"], "dimensions": 2})).json()
        old = (await client.post("/api/embeddings", json={"model": "fake", "prompt": "ab"})).json()
    assert one["embeddings"] == [[2.0, 97.0, 98.0, 0.0]]
    assert one["prompt_eval_count"] == 2
    assert two["embeddings"] == [[2.0, 97.0], [1.0, 99.0]]
    assert old == {"embedding": [2.0, 97.0, 98.0, 0.0]}


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing": ("/embedding", {}, "content"),
    "both": ("/embedding", {"content": "x", "input": "x"}, "content"),
    "empty": ("/embedding", {"content": []}, "content"),
    "no text": ("/embedding", {"content": {"a": 1}}, "content"),
    "norm": ("/embedding", {"content": "x", "embd_normalize": -2}, "embd_normalize"),
    "no documents": ("/rerank", {"query": "x"}, "documents"),
    "empty documents": ("/rerank", {"query": "x", "documents": []}, "documents"),
    "top": ("/rerank", {"query": "x", "documents": ["y"], "top_n": 0}, "top_n"),
    "ollama: empty": ("/api/embed", {"model": "fake", "input": []}, "input"),
    "ollama: dimensions": ("/api/embed", {"model": "fake", "input": "x", "dimensions": -1}, "dimensions"),
}


@pytest.mark.parametrize(("path", "body", "word"), REFUSED.values(), ids=REFUSED)
@asynchronous
async def test_refused(path: str, body: dict[str, Any], word: str) -> None:
    async with client_of() as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == 400
    assert word in reply.text
