"""What the status view shows: the numbers of the last minutes, what runs now, and the plan of a model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_llm import FakeModels, fake_spec
from patience import soon
from serving import asynchronous, client_of

from pacos.server.model_file import spec_of
from pacos.server.recent import COLUMNS, KEPT_SECONDS, Recent, percentiles
from pacos.server.residency import Residency
from pacos.server.said import Said
from pacos.settings import LoadOptions

CHAT = "/v1/chat/completions"


def _chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@asynchronous
async def test_what_runs_is_shown() -> None:
    models = FakeModels()
    residency = Residency([fake_spec("m", options=LoadOptions(parallel=4))], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        assert (await client.get("/pacos/status")).json()["models"] == []
        await client.post(CHAT, json=_chat("once"))
        models.opened["m"].held = True
        answers = [asyncio.ensure_future(client.post(CHAT, json=_chat("a b"))) for _ in range(2)]
        await soon(lambda: len(models.opened["m"].streams) >= 3)
        found = (await client.get("/pacos/status")).json()
        (model,) = found["models"]
        assert (model["name"], model["users"], model["waiting"], found["requests"]) == ("m", 2, 2, 2)
        assert [one["place"] for one in model["sequences"]] == [1, 1]
        assert model["sequences"][0]["prompt_tokens"] == len("<user>a b")
        assert model["context_tokens"] == 4096
        models.opened["m"].held = False
        await asyncio.gather(*answers)
        found = (await client.get("/pacos/status")).json()
        assert found["models"][0]["sequences"] == []
        assert found["first_token"]["count"] == 3
        assert 0 <= found["first_token"]["p50"] <= found["first_token"]["p99"]


@asynchronous
async def test_no_sequences_where_slots_are_not_shown() -> None:
    models = FakeModels()
    residency = Residency([fake_spec("m")], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency, slots=False) as client:
        await client.post(CHAT, json=_chat("once"))
        models.opened["m"].held = True
        answer = asyncio.ensure_future(client.post(CHAT, json=_chat("a b")))
        await soon(lambda: len(models.opened["m"].streams) >= 2)
        (model,) = (await client.get("/pacos/status")).json()["models"]
        assert (model["waiting"], model["sequences"]) == (1, [])
        models.opened["m"].held = False
        await answer


@asynchronous
async def test_rows_are_noted_and_only_new_ones_are_told() -> None:
    models = FakeModels()
    residency = Residency([fake_spec("m")], open_model=models.open)  # type: ignore[arg-type]
    seen = Recent()
    async with residency.use("m") as resident:
        resident.llm.generated = 40  # type: ignore[attr-defined]
        seen.first_token.add(0.25)
        seen.sample(residency, 3)
        first = seen.columns(0)
        assert tuple(first) == COLUMNS
        assert first["generated"][0] > 0
        assert (first["requests"], first["first_token_seconds"]) == ([3], [0.25])
        await asyncio.sleep(0.01)
        seen.sample(residency, 0)
        second = seen.columns(first["time"][0])
        assert (len(second["time"]), second["generated"], second["first_token_seconds"]) == (1, [0.0], [None])
        assert second["memory_bytes"][0] > 1 << 20
    for _ in range(KEPT_SECONDS + 5):
        seen.sample(residency, 0)
    assert len(seen.columns(0)["time"]) == KEPT_SECONDS


@asynchronous
async def test_the_server_notes_rows_by_itself() -> None:
    async with client_of() as client:
        while not (seen := (await client.get("/pacos/status")).json()["history"]["time"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        later = (await client.get("/pacos/status", params={"since": seen[-1]})).json()["history"]["time"]
        assert all(time > seen[-1] for time in later)
        for text in ("x", "nan", "inf", "1e999"):
            assert (await client.get("/pacos/status", params={"since": text})).status_code == 400


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], {"count": 0}),
        ([2.0], {"count": 1, "p50": 2.0, "p90": 2.0, "p99": 2.0}),
        ([float(one) for one in range(100)], {"count": 100, "p50": 50.0, "p90": 90.0, "p99": 99.0}),
    ],
)
def test_percentiles(values: list[float], wanted: dict[str, float]) -> None:
    assert percentiles(values) == wanted


@asynchronous
async def test_the_plan_of_a_model() -> None:
    residency = Residency([spec_of("storyteller", Said({"cache_type_k": "q8_0"}))])
    async with client_of(residency, store=False) as client:
        found = (await client.get("/pacos/plan")).json()
        before, layers, after = found["parts"]
        assert (found["architecture"], layers["layers"], before["layers"], after["layers"]) == (
            "llama",
            [0, 1, 2, 3],
            [],
            [],
        )
        assert before["bytes"] + 4 * layers["bytes"] + after["bytes"] == found["bytes"]
        assert found["types"]["Q8_0"]["tensors"] == 29
        queries = next(one for one in layers["operations"] if one["op"] == "linears")["weights"][0]
        assert queries == {"name": "attn_q", "shape": [256, 256], "type": "Q8_0", "bytes": 69632, "tied": False}
        assert after["operations"][-1]["weights"][0]["tied"]
        cache = found["cache"]
        assert (cache["type_k"], cache["type_v"], cache["layers"]) == ("Q8_0", "F16", 4)
        assert cache["token_bytes"] == 4 * (128 // 32 * 34 + 128 * 2)
        assert (await client.get("/pacos/plan?model=none")).status_code == 404


@asynchronous
async def test_status_and_plan_need_the_key() -> None:
    async with client_of(api_key=("k",)) as client:
        for path in ("/pacos/status", "/pacos/plan", "/pacos/options"):
            assert (await client.get(path)).status_code == 401
