"""What the web page needs of the server beside answers: the options' form, the models' state, opening and closing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from fake_llm import FakeLLM, FakeModels, fake_spec
from patience import SECONDS
from serving import asynchronous, client_of

from pacos.errors import FormatError
from pacos.server.model_file import ModelSpec
from pacos.server.residency import Residency
from pacos.settings import SamplingOptions, options_of

CHAT = "/v1/chat/completions"


@asynchronous
async def test_options_describe_every_field_of_a_chat_request() -> None:
    async with client_of() as client:
        reply = await client.get("/pacos/options")
        groups = {group["name"]: {one["name"]: one for one in group["options"]} for group in reply.json()["groups"]}
        assert list(groups) == ["sampling", "generation", "reasoning", "constraint", "queue"]
        assert {one.name for one in options_of(SamplingOptions)} - {"temp"} <= groups["sampling"].keys()
        temperature = groups["sampling"]["temperature"]
        assert temperature == {
            "name": "temperature",
            "type": "number",
            "help": "Temperature; 0 is greedy.",
            "default": 0.8,
            "minimum": 0,
            "maximum": 1000,
        }
        assert groups["generation"]["stop"] | {"help": ""} == {
            "name": "stop",
            "type": "array",
            "help": "",
            "default": [],
            "items": "string",
            "most": 64,
        }
        assert groups["reasoning"]["reasoning"]["choices"] == ["auto", "on", "off"]
        assert "owner" not in groups["queue"]


@asynchronous
async def test_what_the_options_promise_is_taken() -> None:
    async with client_of() as client:
        groups = (await client.get("/pacos/options")).json()["groups"]
        options = [one for group in groups for one in group["options"] if group["name"] != "constraint"]
        for edge in ("default", "minimum", "maximum"):
            given = {one["name"]: one[edge] for one in options if one.get(edge) is not None}
            for name, value in given.items():
                body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], name: value}
                reply = await client.post(CHAT, json=body)
                assert reply.status_code == 200, (name, value, reply.text)


@asynchronous
async def test_defaults_are_those_of_the_model() -> None:
    models = FakeModels()
    specs = [fake_spec("cold", defaults={"temp": 0.0}), fake_spec("warm")]
    residency = Residency(specs, open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        for model, temperature in (("cold", 0.0), ("warm", 0.8)):
            found = (await client.get("/pacos/options", params={"model": model})).json()
            assert (found["model"], found["groups"][0]["options"][0]["default"]) == (model, temperature)
        assert (await client.get("/pacos/options?model=none")).status_code == 404


@asynchronous
async def test_models_are_opened_and_closed_when_told() -> None:
    going = threading.Event()

    def open_model(spec: ModelSpec) -> FakeLLM:
        going.wait(SECONDS)
        return FakeLLM()

    specs = [fake_spec("m", ahead=False)]
    residency = Residency(specs, open_model=open_model)  # type: ignore[arg-type]
    async with client_of(residency) as client:

        async def state() -> dict[str, Any]:
            (found,) = (await client.get("/models")).json()["data"]
            return dict(found)

        assert (await state())["status"] == {"value": "unloaded"}
        opening = asyncio.ensure_future(client.post("/models/load", json={"model": "m"}))
        while (await state())["status"] != {"value": "loading"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        going.set()
        assert (await opening).json() == {"success": True}
        found = await state()
        assert (found["status"], found["loaded"]) == ({"value": "loaded"}, True)
        assert found["facts"]["context_tokens"] == 4096
        assert (await client.post("/models/load", json={"model": "m"})).json() == {"success": True}
        async with residency.use("m"):
            busy = await client.post("/models/unload", json={"model": "m"})
            assert (busy.status_code, "in use" in busy.text) == (409, True)
        assert (await client.post("/models/unload", json={"model": "m"})).json() == {"success": True}
        assert (await state())["status"] == {"value": "unloaded"}
        again = await client.post("/models/unload", json={"model": "m"})
        assert (again.status_code, "is not loaded" in again.text) == (400, True)
        assert (await client.post("/models/load", json={"model": "x"})).status_code == 404


@asynchronous
async def test_why_a_model_is_not_open_is_told() -> None:
    def open_model(spec: ModelSpec) -> FakeLLM:
        raise FormatError("the file is cut short")

    residency = Residency([fake_spec("m")], open_model=open_model)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        reply = await client.post("/models/load", json={"model": "m"})
        assert (reply.status_code, "cut short" in reply.text) == (422, True)
        (found,) = (await client.get("/v1/models")).json()["data"]
        assert found["status"] == {"value": "unloaded", "failed": True, "error": "the file is cut short"}


@asynchronous
async def test_a_closed_model_is_no_model_that_is_being_opened() -> None:
    models = FakeModels()
    residency = Residency([fake_spec("m")], open_model=models.open)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        await residency.open_ahead(["m"])
        assert (await client.post("/models/unload", json={"model": "m"})).status_code == 200
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok")


@asynchronous
async def test_closing_needs_a_key_that_may_manage() -> None:
    async with client_of(api_key=("k",)) as client:
        assert (await client.post("/models/unload", json={"model": "m"})).status_code == 401
