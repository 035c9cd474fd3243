"""Adapters in the server: llama-server's list, its scales for all, and those of one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from serving import asynchronous, client_of

from pacos.formats.gguf_types import F32
from pacos.formats.gguf_write import write_gguf
from pacos.hub.names import resolve
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency
from pacos.settings import LoadOptions

RANK = 4


def adapter(path: Path, seed: int) -> str:
    """A random adapter of the storyteller's feed-forward units."""
    random = np.random.Generator(np.random.PCG64(seed))
    tensors = []
    for layer in range(2):
        for half, shape in (("a", (RANK, 256)), ("b", (768, RANK))):
            values = random.standard_normal(shape, np.float32) * np.float32(0.5)
            tensors.append((f"blk.{layer}.ffn_up.weight.lora_{half}", shape, "F32", values.tobytes()))
    metadata = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama"}
    write_gguf(path, {**metadata, "adapter.lora.alpha": F32(8.0)}, tensors)
    return str(path)


@asynccontextmanager
async def server(*given: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    model = ModelSpec("storyteller", str(resolve("storyteller")), options=LoadOptions(lora=given, **options))
    async with client_of(Residency([model])) as client:
        yield client


async def said(client: httpx.AsyncClient, **more: Any) -> str:
    body = {"prompt": "Once upon a time", "n_predict": 24, "temperature": 0, "ignore_eos": True, **more}
    reply = await client.post("/completion", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["content"])


@asynchronous
async def test_scales_of_all_and_of_one_request(tmp_path: Path) -> None:
    async with server() as client:
        plain = await said(client)
    files = [adapter(tmp_path / f"{name}.gguf", seed) for seed, name in enumerate("xy")]
    async with server(*files, lora_init_without_apply=True) as client:
        row = {"path": "x.gguf", "scale": 0.0, "task_name": "", "prompt_prefix": ""}
        listed = (await client.get("/lora-adapters")).json()
        assert listed == [{"id": 0, **row}, {"id": 1, **row, "path": "y.gguf"}]
        assert await said(client) == plain
        one = await said(client, lora=[{"id": 0, "scale": 1.0}])
        other = await said(client, lora=[{"id": 1, "scale": 1.0}])
        assert len({plain, one, other}) == 3
        assert await said(client) == plain, "what one request asks for is its own"
        changed = await client.post("/lora-adapters", json=[{"id": 1, "scale": 1.0}])
        assert changed.json() == {"success": True}
        assert [found["scale"] for found in (await client.get("/lora-adapters")).json()] == [0.0, 1.0]
        assert await said(client) == other
        assert await said(client, lora=[]) == plain
        for wrong in ([{"id": 2, "scale": 1}], [{"id": 0, "scale": 1e9}], [{"id": 0}]):
            for reply in (
                await client.post("/lora-adapters", json=wrong),
                await client.post("/completion", json={"prompt": "x", "lora": wrong}),
            ):
                assert reply.status_code == 400, reply.text
    async with server(files[0]) as client:
        assert await said(client) == one
