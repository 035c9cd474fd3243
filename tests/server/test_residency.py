"""Several models behind one port: opened on demand, kept, closed when memory is short."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import STORYTELLER
from fake_llm import FakeLLM, FakeModels, fake_spec
from patience import SECONDS, soon
from serving import asynchronous, client_of

from pacos.cli.serve import Asked, specs_of
from pacos.errors import CapacityError, FormatError, ModelNotFound, UsageError
from pacos.hub.parts import split_file
from pacos.server.model_file import ModelSpec, file_bytes, read_model_file, read_models_folder, spec_of
from pacos.server.residency import Residency
from pacos.server.said import Said
from pacos.settings.fetch import FetchOptions
from pacos.settings.serve import ServeOptions

SIZE = file_bytes(fake_spec())


def _residency(count: int = 3, models: FakeModels | None = None, **more: Any) -> tuple[Residency, FakeModels]:
    models = models or FakeModels()
    specs = [fake_spec(f"m{number}") for number in range(count)]
    return Residency(specs, open_model=models.open, **more), models  # type: ignore[arg-type]


@asynchronous
async def test_opened_once_for_many_who_ask_at_once() -> None:
    count = 0

    def open_model(spec: ModelSpec) -> FakeLLM:
        nonlocal count
        count += 1
        return FakeLLM()

    residency = Residency([fake_spec("m")], open_model=open_model)  # type: ignore[arg-type]

    async def use() -> int:
        async with residency.use("m") as resident:
            await asyncio.sleep(0)
            return id(resident)

    assert len(set(await asyncio.gather(*(use() for _ in range(20))))) == 1
    assert count == 1
    assert residency.open["m"].users == 0


@asynchronous
async def test_longest_unused_model_makes_room() -> None:
    residency, models = _residency(memory_bytes=2 * SIZE)
    for name in ("m0", "m1", "m0", "m2"):
        async with residency.use(name):
            pass
    assert set(residency.open) == {"m0", "m2"}
    assert models.opened["m1"].closed
    assert not models.opened["m0"].closed


@asynchronous
async def test_model_in_use_is_not_closed_but_waited_for() -> None:
    residency, models = _residency(memory_bytes=SIZE)
    order = []

    async def second() -> None:
        async with residency.use("m1"):
            order.append("second")

    async with residency.use("m0"):
        task = asyncio.ensure_future(second())
        await soon(lambda: "m1" in residency.loading)
        await asyncio.sleep(0.05)  # time in which it could go on
        order.append("first")
        assert not models.opened["m0"].closed
    await task
    assert order == ["first", "second"]
    assert models.opened["m0"].closed


@asynchronous
async def test_caches_take_room_too() -> None:
    opened: list[FakeLLM] = []

    def open_model(spec: ModelSpec) -> FakeLLM:
        opened.append(FakeLLM(spec.path))
        opened[-1].cache_bytes = SIZE if spec.name != "huge" else 9 * SIZE
        return opened[-1]

    specs = [fake_spec(name) for name in ("m0", "m1", "huge")]
    residency = Residency(specs, memory_bytes=3 * SIZE, open_model=open_model)  # type: ignore[arg-type]
    for name in ("m0", "m1"):
        async with residency.use(name) as resident:
            assert resident.bytes == 2 * SIZE
    assert [llm.closed for llm in opened] == [True, False]
    for _ in range(2):
        with pytest.raises(CapacityError, match="huge takes"):
            async with residency.use("huge"):
                pass
    assert [llm.closed for llm in opened] == [True, False, True], "the second time it is known, and not opened"
    assert list(residency.open) == ["m1"]


@asynchronous
async def test_no_room_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacos.server.residency._ROOM_SECONDS", 0.05)
    residency, _ = _residency(memory_bytes=SIZE)
    async with residency.use("m0"):
        with pytest.raises(CapacityError, match="m0 are in use"):
            async with residency.use("m1"):
                pass
    with pytest.raises(CapacityError, match="may use"):
        async with Residency([fake_spec()], memory_bytes=1).use("fake"):
            pass


@asynchronous
async def test_unused_model_closes_when_its_time_is_over() -> None:
    hour = 3600.0
    residency, models = _residency(1, keep_alive_seconds=hour)

    def passes() -> None:
        expires = residency.open["m0"].expires
        assert expires is not None
        residency.open["m0"].expires = expires - hour

    async with residency.use("m0"):
        passes()
        await residency.shut_expired()
        assert not models.opened["m0"].closed
    await residency.shut_expired()
    assert not models.opened["m0"].closed
    passes()
    await residency.shut_expired()
    assert models.opened["m0"].closed
    assert not residency.open


@asynchronous
async def test_request_may_say_how_long_a_model_is_kept() -> None:
    residency, models = _residency(1)
    async with residency.use("m0", keep_alive_seconds=0):
        pass
    await residency.shut_expired()
    assert models.opened["m0"].closed


@asynchronous
async def test_client_that_leaves_does_not_stop_the_opening() -> None:
    go = threading.Event()

    def open_model(spec: ModelSpec) -> FakeLLM:
        go.wait(SECONDS)
        return FakeLLM()

    residency = Residency([fake_spec("m")], open_model=open_model)  # type: ignore[arg-type]

    async def use() -> str:
        async with residency.use("m") as resident:
            return resident.name

    leaving, staying = asyncio.ensure_future(use()), asyncio.ensure_future(use())
    await soon(lambda: "m" in residency.loading)
    leaving.cancel()
    go.set()
    assert await staying == "m"
    assert residency.open["m"].users == 0


@asynchronous
async def test_opening_that_fails_can_be_tried_again() -> None:
    tries = 0

    def open_model(spec: ModelSpec) -> FakeLLM:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise FormatError("damaged")
        return FakeLLM()

    residency = Residency([fake_spec("m")], open_model=open_model)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        body = {"prompt": "x", "model": "m"}
        first, second = [await client.post("/v1/completions", json=body) for _ in range(2)]
    assert (first.status_code, second.status_code) == (422, 200)


@asynchronous
async def test_health_tells_the_progress_of_opening() -> None:
    go = threading.Event()

    def open_model(spec: ModelSpec) -> FakeLLM:
        go.wait(SECONDS)
        return FakeLLM()

    residency = Residency([fake_spec("m"), fake_spec("n")], open_model=open_model)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        opening = asyncio.ensure_future(residency.open_ahead(["m", "n"]))
        await soon(lambda: "m" in residency.loading)
        early = await client.get("/health")
        go.set()
        await opening
        late = await client.get("/health")
    assert early.status_code == 503
    assert early.json()["progress"]["of"] == 2
    assert early.json()["progress"]["loading"][0]["model"] == "m"
    assert (late.status_code, late.json()) == (200, {"status": "ok", "models": ["m", "n"]})


@asynchronous
async def test_model_defaults_yield_to_the_request() -> None:
    models = FakeModels()
    residency = Residency([fake_spec("m", defaults={"n_predict": 3, "seed": 5})], open_model=models.open)
    async with client_of(residency) as client:
        short = (await client.post("/v1/completions", json={"prompt": "abcdefgh"})).json()
        longer = (await client.post("/v1/completions", json={"prompt": "abcdefgh", "max_tokens": 5, "seed": 9})).json()
    assert (short["choices"][0]["text"], longer["choices"][0]["text"]) == ("abc", "abcde")
    assert [stream.seed for stream in models.opened["m"].streams] == [5, 9]


@asynchronous
async def test_defaults_of_chats_and_of_constraints() -> None:
    given = {"reasoning": "off", "json_schema": '{"type": "object"}', "template_options": {"a": 1, "b": 2}}
    models = FakeModels()
    residency = Residency([fake_spec(defaults=given)], open_model=models.open)  # type: ignore[arg-type]
    messages = [{"role": "user", "content": "x"}]
    async with client_of(residency) as client:
        for more in ({}, {"chat_template_kwargs": {"b": 3}, "grammar": 'root ::= "x"', "reasoning": "on"}):
            assert (await client.post("/v1/chat/completions", json={"messages": messages, **more})).status_code == 200
        assert (await client.post("/v1/completions", json={"prompt": "x"})).status_code == 200
    chat, other, _ = (stream.given for stream in models.opened["fake"].streams)
    assert (chat["reasoning"], chat["template_options"]) == ("off", {"a": 1, "b": 2})
    assert chat["json_schema"] == given["json_schema"]
    assert (other["reasoning"], other["template_options"]) == ("on", {"a": 1, "b": 3})
    assert "json_schema" not in other


def test_names() -> None:
    residency, _ = _residency(2)
    residency.add(fake_spec("org/model", aliases=("gpt-4o",)))
    assert [residency.spec(name).name for name in (None, "", "default", "m1", "gpt-4o")] == [
        *["m0"] * 3,
        "m1",
        "org/model",
    ]
    with pytest.raises(ModelNotFound, match="did you mean gpt-4o"):
        residency.spec("gpt-4")
    with pytest.raises(ModelNotFound, match="no model is served"):
        Residency([]).spec(None)


def test_spec_of_a_path(tmp_path: Path) -> None:
    file = tmp_path / "big-00001-of-00002.gguf"
    file.write_bytes(bytes(10))
    (tmp_path / "big-00002-of-00002.gguf").write_bytes(bytes(5))
    assert spec_of(str(file)).name == "big"
    assert spec_of(f"mine={file}").name == "mine"
    assert spec_of("storyteller").name == "storyteller"
    assert file_bytes(spec_of(str(file))) == 15


GOOD = """
[models.small]
model = "small.gguf"
aliases = ["gpt-4o-mini"]
ctx_size = 128
keep_alive_seconds = 1.5
ahead = false
defaults = {temp = 0.5, stop = ["x"]}
[models.story]
model = "storyteller"
"""


def test_model_file(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"")
    file = tmp_path / "models.toml"
    file.write_text(GOOD)
    small, story = read_model_file(file)
    assert (small.name, small.path, small.aliases) == ("small", str(tmp_path / "small.gguf"), ("gpt-4o-mini",))
    assert (small.options.ctx_size, small.keep_alive_seconds, small.ahead) == (128, 1.5, False)
    assert small.defaults == {"temp": 0.5, "stop": ["x"]}
    assert (story.name, story.ahead, story.aliases) == ("story", True, ())


BAD = {
    "no TOML": ("[models", "is not TOML"),
    "no models": ("", "holds no models"),
    "other table": ("[servers.a]\n", "unknown key 'servers'"),
    "no model": ("[models.a]\nctx_size = 1\n", "models.a: there is no model"),
    "unknown key": ('[models.a]\nmodel = "storyteller"\nctx_sise = 1\n', "unknown key 'ctx_sise'"),
    "wrong value": ('[models.a]\nmodel = "storyteller"\nctx_size = "1"\n', "ctx_size is '1'"),
    "wrong default": ('[models.a]\nmodel = "storyteller"\ndefaults = {temp = -1}\n', "temp is -1"),
    "unknown default": ('[models.a]\nmodel = "storyteller"\ndefaults = {tmep = 1}\n', "unknown option 'tmep'"),
    "aliases": ('[models.a]\nmodel = "storyteller"\naliases = "b"\n', "aliases is no list"),
    "keep alive": ('[models.a]\nmodel = "storyteller"\nkeep_alive_seconds = true\n', "keep_alive_seconds is True"),
    "template": (
        '[models.a]\nmodel = "storyteller"\nchat_template = "nosuch"\n',
        "models.a: there is no chat template",
    ),
    "ahead": ('[models.a]\nmodel = "storyteller"\nahead = 1\n', "ahead is 1"),
    "taken alias": (
        '[models.a]\nmodel = "storyteller"\n[models.b]\nmodel = "storyteller"\naliases = ["a"]\n',
        "two models are called 'a'",
    ),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_model_file_that_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_model_file(file)
    assert said in str(caught.value)


def test_models_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "mmproj-F16.gguf", ".hidden.gguf", "notes.txt", "sub/inner.gguf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(STORYTELLER)
    (tmp_path / "empty").mkdir()
    found = read_models_folder(tmp_path, Said({"ctx_size": 64, "temp": 0.0}))
    assert [one.name for one in found] == ["a", "b", "inner"]
    assert {(one.ahead, one.options.ctx_size, one.defaults["temp"]) for one in found} == {(False, 64, 0.0)}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "gone.gguf").symlink_to(tmp_path / "nowhere")
    assert len(read_models_folder(tmp_path)) == 3
    (tmp_path / "other" / "a.gguf").symlink_to(STORYTELLER)
    with pytest.raises(UsageError, match="two models are called 'a'"):
        read_models_folder(tmp_path)


@pytest.mark.parametrize(("name", "problem"), [("none", "cannot be read"), ("empty", "holds no model")])
def test_folders_without_models(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=problem):
        read_models_folder(tmp_path / name)


def test_only_first_parts_are_models(tmp_path: Path) -> None:
    split = tmp_path / "split"
    split.mkdir()
    split_file(STORYTELLER, split / "big", max_tensors=20)
    assert len(list(split.iterdir())) == 2
    (found,) = read_models_folder(split)
    assert found.name == "big"


def test_a_folder_is_served_alone_or_beside_names(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").symlink_to(STORYTELLER)
    serving = ServeOptions(models_dir=str(tmp_path))
    asked = Asked(serving, FetchOptions(), Said({"ctx_size": 64}))
    assert [one.name for one in specs_of([], asked)] == ["a"]
    assert [one.name for one in specs_of(["storyteller"], asked)] == ["storyteller", "a"]
