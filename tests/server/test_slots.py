"""llama-server's slots: what they show, and texts that are saved, restored and erased by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_llm import FakeModels, fake_spec
from patience import soon
from serving import asynchronous, client_of

from pacos.hub.names import resolve
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency
from pacos.settings import LoadOptions

STORY = "Once upon a time there was a girl who had a red dog. One day, she went to the park with her red dog and"


@asynccontextmanager
async def storyteller(folder: Path, slots: int = 2, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    spec = ModelSpec("storyteller", str(resolve("storyteller")), options=LoadOptions(parallel=slots))
    async with client_of(Residency([spec]), slot_save_path=str(folder), **options) as client:
        yield client


async def act(client: httpx.AsyncClient, slot: object, action: str, name: object = None, **more: Any) -> httpx.Response:
    body = None if name is None else {"filename": name}
    return await client.post(f"/slots/{slot}", params={"action": action}, json=body, **more)


async def ask(client: httpx.AsyncClient, slot: int = -1, prompt: str = STORY, **more: Any) -> Any:
    body = {"prompt": prompt, "n_predict": 6, "temperature": 0, "id_slot": slot, **more.pop("body", {})}
    reply = await client.post("/completion", json=body, **more)
    return reply.json()


@asynchronous
async def test_slots_show_what_is_answered() -> None:
    models = FakeModels()
    residency = Residency([fake_spec(options=LoadOptions(parallel=2))], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        idle = (await client.get("/slots")).json()
        models.opened["fake"].held = True
        body = {"prompt": "x", "id_slot": 1, "n_predict": 9, "temperature": 0.5}
        asked = asyncio.ensure_future(client.post("/completion", json=body))
        await soon(lambda: models.opened["fake"].streams)
        busy = (await client.get("/slots")).json()
        full = await client.get("/slots", params={"fail_on_no_slot": "1"})
        in_use = await act(client, 1, "erase")
        models.opened["fake"].held = False
        assert (await asked).json()["id_slot"] == 1
        chat = {"messages": [{"role": "user", "content": "y"}], "id_slot": 0}
        assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
        after = (await client.get("/slots")).json()
    assert [(one["id"], one["is_processing"], one["n_ctx"]) for one in idle] == [(0, False, 4096), (1, False, 4096)]
    assert [one["is_processing"] for one in busy] == [False, True]
    assert busy[1]["params"]["temperature"] == 0.5
    assert busy[1]["next_token"] == {"has_next_token": True, "has_new_line": False, "n_remain": 9, "n_decoded": 0}
    assert full.status_code == 503, "one waits"
    assert in_use.status_code == 409
    assert [one["id_task"] > 0 for one in after] == [True, True]


@asynchronous
async def test_slots_can_be_hidden() -> None:
    async with client_of(slots=False) as client:
        assert (await client.get("/slots")).status_code == 501
        assert (await act(client, 0, "erase")).status_code == 501


@asynchronous
async def test_text_survives_a_restart(tmp_path: Path) -> None:
    async with storyteller(tmp_path) as client:
        first = await ask(client, 1)
        done = (await act(client, 1, "save", "story.bin")).json()
        assert first["id_slot"] == 1
        assert done["n_saved"] == first["tokens_evaluated"] + first["tokens_predicted"] - 1
        assert done["n_written"] == (tmp_path / "story.bin").stat().st_size
        assert (done["id_slot"], done["filename"]) == (1, "story.bin")
        assert done["timings"]["save_ms"] > 0
    async with storyteller(tmp_path) as client:
        back = (await act(client, 0, "restore", "story.bin")).json()
        assert (back["n_restored"], back["n_read"]) == (done["n_saved"], done["n_written"])
        again = await ask(client, 0)
        assert again["tokens_cached"] == first["tokens_evaluated"] - 1
        assert again["content"] == first["content"]
        assert (await act(client, 0, "erase")).json()["n_erased"] == done["n_saved"]
        assert (await ask(client, 0))["tokens_cached"] == 0


@asynchronous
async def test_prompts_find_their_slot_and_erasing_leaves_the_others(tmp_path: Path) -> None:
    async with storyteller(tmp_path) as client:
        one = await ask(client, prompt=STORY)
        other = await ask(client, prompt="The sun is big. " * 5)
        more = await ask(client, prompt=STORY + " they ran")
        assert one["id_slot"] == more["id_slot"] != other["id_slot"]
        assert more["tokens_cached"] > 10
        await ask(client, other["id_slot"], prompt=STORY + " they sang a song")
        await act(client, one["id_slot"], "erase")
        assert (await ask(client, other["id_slot"], prompt=STORY + " they sang a song"))["tokens_cached"] > 20


@asynchronous
async def test_each_key_has_its_own(tmp_path: Path) -> None:
    alice, bob = ({"headers": {"X-Api-Key": key}} for key in ("a", "b"))
    async with storyteller(tmp_path, api_key=("a", "b")) as client:
        await ask(client, 0, **alice)
        assert (await act(client, 0, "save", "x", **bob)).status_code == 400
        assert (await act(client, 0, "erase", **bob)).json()["n_erased"] == 0
        assert (await act(client, 0, "save", "x", **alice)).status_code == 200
        assert (await act(client, 1, "restore", "x", **bob)).status_code == 400
        assert (await act(client, 1, "restore", "x", **alice)).status_code == 200
        assert (await ask(client, 1, **bob))["tokens_cached"] == 0
    assert [folder.stat().st_mode & 0o777 for folder in tmp_path.glob("key-*")] == [0o700]  # noqa: ASYNC240


# id of the catalogue: slot, action, file name, status
BAD: dict[str, tuple[object, str, object, int]] = {
    "N-07-slot-below": (-1, "save", "x", 400),
    "N-07-slot-beyond": (999, "save", "x", 400),
    "N-07-slot-no-number": ("a", "erase", None, 400),
    "N-07-slot-other-digits": ("\u0661", "erase", None, 400),
    "N-07-action-none": (0, "", "x", 400),
    "N-07-action-unknown": (0, "drop", "x", 400),
    "N-07-up": (0, "save", "../x", 400),
    "N-07-absolute": (0, "restore", "/etc/passwd", 400),
    "N-07-empty": (0, "save", "", 400),
    "N-07-long": (0, "save", "x" * 256, 400),
    "N-07-zero-byte": (0, "save", "a\0b", 400),
    "N-07-wide-dots": (0, "save", "\uff0e\uff0e", 400),
    "N-07-device": (0, "save", "CON", 400),
    "N-07-device-with-an-end": (0, "save", "com1.bin", 400),
    "N-07-trailing-dot": (0, "save", "x.", 400),
    "N-07-hidden": (0, "save", ".x", 400),
    "N-07-number": (0, "save", 5, 400),
    "N-07-no-body": (0, "save", None, 400),
    "N-07-empty-slot": (0, "save", "x", 400),
    "N-07-no-such-file": (0, "restore", "x", 400),
}


@pytest.mark.parametrize(("slot", "action", "name", "status"), BAD.values(), ids=BAD)
@asynchronous
async def test_n_07(tmp_path: Path, slot: object, action: str, name: object, status: int) -> None:
    async with client_of(slot_save_path=str(tmp_path / "saved")) as client:
        reply = await act(client, slot, action, name)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["code"] == status
    assert not (tmp_path / "saved").exists()


@asynchronous
async def test_n_07_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PACOSTX0" + bytes(100))
    async with storyteller(tmp_path) as client:
        reply = await act(client, 0, "restore", "x")
        assert reply.status_code == 400
        assert "no saved text" in reply.json()["error"]["message"]
        assert (await ask(client, 0))["content"]


@asynchronous
async def test_n_07_without_a_folder() -> None:
    async with client_of() as client:
        reply = await act(client, 0, "save", "x")
    assert reply.status_code == 501
    assert "--slot-save-path" in reply.json()["error"]["message"]
