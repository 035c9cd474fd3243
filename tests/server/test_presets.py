"""llama-server's presets of models, and the user's own settings: who wins, how many are open, and who opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import STORYTELLER
from fake_llm import FakeModels, fake_spec
from serving import asynchronous, client_of, served

from pacos.cli.serve import Asked, specs_of
from pacos.errors import UsageError
from pacos.hub.entries import Entry, write_entry
from pacos.hub.names import find
from pacos.server.preset_file import read_preset_file
from pacos.server.residency import Residency
from pacos.server.said import Said, check_sections, defaults_of, opening_of
from pacos.settings import places
from pacos.settings.fetch import FetchOptions
from pacos.settings.habits import Habits
from pacos.settings.serve import ServeOptions


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))


GOOD = """\ufeffversion = 1

; for all
[*]
c = 128            ; a comment
temp = 0.5
n-gpu-layers = 8 # of this kind too
\t
[small]
model = {path}
ctx-size=64
LLAMA_ARG_N_PARALLEL = 2
no-cache-prompt = on
context-shift = true
jinja = true
stop = <end>,
lora = a.gguf,b.gguf
alias = tiny, little
chat-template = chatml
chat-template-kwargs = {{"enable_thinking": false}}
sleep-idle-seconds = 5
load-on-startup = yes
stop-timeout = 3
activations = f32

[storyteller]
reasoning = off
no-context-shift = false
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "presets.ini"
    file.write_bytes(text.replace("\n", "\r\n").encode())
    return file


def test_a_file_as_llama_server_reads_it(tmp_path: Path) -> None:
    sections = read_preset_file(written(tmp_path, GOOD.format(path=STORYTELLER)))
    assert list(sections) == ["*", "small", "storyteller"]
    assert sections["*"].values == {"ctx_size": 128, "temp": 0.5}
    assert sections["*"].notes == ("n-gpu-layers has no effect: there is nothing to offload to",)
    small = sections["small"]
    assert (small.model, small.aliases, small.ahead) == (str(STORYTELLER), ("tiny", "little"), True)
    assert small.values == {
        "ctx_size": 64,
        "parallel": 2,
        "cache_prompt": False,
        "context_policy": "shift",
        "stop": ("<end>,",),
        "lora": ("a.gguf", "b.gguf"),
        "chat_template": "chatml",
        "template_options": {"enable_thinking": False},
        "keep_alive_seconds": 5.0,
        "activations": "f32",
    }
    assert [note.split(":")[0] for note in small.notes] == ["jinja has no effect", "stop-timeout has no effect"]
    assert sections["storyteller"].values == {"reasoning": "off", "context_policy": "shift"}
    check_sections(sections)


BROKEN = Path(__file__)  # "{%" is not closed in it


BAD = {
    "unknown key": ("[a]\nctx-sise = 1\n", "line 2: [a]: unknown key 'ctx-sise'"),
    "near key": ("[a]\nctx-sise = 1\n", "did you mean ctx-size?"),
    "no section": ("\nctx-size = 1\n", "line 2: ctx-size stands before the first section"),
    "no pair": ("[a]\nctx-size\n", "line 2: 'ctx-size' is neither KEY = VALUE nor [SECTION]"),
    "open section": ("[a\n", "line 1: '[a' is neither"),
    "no name": ("[ ]\n", "line 1: a section without a name"),
    "section twice": ("[a]\n[b]\n[a]\n", "line 3: [a] is there twice"),
    "key twice": (
        "[a]\nc = 1\nctx-size = 2\n",
        "line 3: [a]: ctx-size was said before (c stands in line 2; drop one of them)",
    ),
    "wrong value": ("[a]\n\nctx-size = many\n", "line 3: [a]: ctx-size is 'many'"),
    "wrong value, short": ("[a]\nc = many\n", "line 2: [a]: c is 'many'"),
    "wrong value of a variable": ("[a]\nLLAMA_ARG_CTX_SIZE = -1\n", "line 2: [a]: LLAMA_ARG_CTX_SIZE is -1"),
    "no comment": ("[a]\nctx-size = 64;32\n", "line 2: [a]: ctx-size is '64;32'"),
    "only a comment": ("[a]\nctx-size = ; 64\n", "line 2: [a]: ctx-size has no value"),
    "unknown template": ("[*]\nchat-template = chatmll\n", "line 2: [*]: there is no chat template named 'chatmll'"),
    "near template": ("[a]\nchat-template = chatmll\n", "did you mean chatml? the names are: alpaca, chatml,"),
    "no file of a template": ("[a]\nchat-template-file = none.jinja\n", "no chat template named 'none.jinja'"),
    "a file that is no template": (f"[a]\nchat-template-file = {BROKEN}\n", "line 2: [a]: the chat template"),
    "out of bounds": ("[a]\ntemp = -1\n", "line 2: [a]: temp is -1"),
    "no value": ("[a]\nctx-size =\n", "line 2: [a]: ctx-size has no value"),
    "no switch": ("[a]\ncache-prompt = 2\n", "line 2: [a]: cache-prompt is '2'"),
    "refused": ("[a]\nmodel-draft = x.gguf\n", "line 2: [a]: model-draft cannot be used"),
    "of the server": ("[*]\nport = 80\n", "line 2: [*]: port is the server's, not a model's"),
    "switch of the server": ("[*]\nmetrics = true\n", "line 2: [*]: metrics is the server's"),
    "key of the server": ("[a]\napi-key = k\n", "line 2: [a]: api-key is the server's"),
    "model of all": ("[*]\nmodel = x.gguf\n", "line 2: [*]: model cannot be said of all models"),
    "version": ("version = 2\n", "line 1: version is '2'"),
    "template's variables": ("[a]\nchat-template-kwargs = 1\n", "line 2: [a]: chat-template-kwargs is '1'"),
    "file of a grammar": ("[a]\ngrammar-file = none.gbnf\n", "line 2: [a]: grammar-file none.gbnf: No such file"),
    "no UTF-8": ("[a]\nstop = \udcff\n", "is not UTF-8 text (byte 11)"),
    "what does not fit": ("[a]\nrope-scale = 2\nrope-freq-scale = 2\n", "line 1: [a]: rope_scale and"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "presets.ini"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        check_sections(read_preset_file(file))
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_comments_begin_behind_a_blank(tmp_path: Path) -> None:
    text = "#x\n;y\n[a];z\nsamplers=top_k;temperature;min-p ;top_p\nmodel = /data/c#/m;1.gguf\t#x ;y\n"
    section = read_preset_file(written(tmp_path, text))["a"]
    assert section.values == {"samplers": ("top_k", "temperature", "min_p")}
    assert section.model == "/data/c#/m;1.gguf"


@pytest.mark.parametrize(
    "line", ["no-mmap = false", "mmap = true", "mlock = off", "ngl = 9", "LLAMA_ARG_N_GPU_LAYERS = 9"]
)
def test_notes_name_what_was_written(tmp_path: Path, line: str) -> None:
    (note,) = read_preset_file(written(tmp_path, f"[a]\n{line}\n"))["a"].notes
    assert note.startswith(f"{line.partition(' ')[0]} has no effect: ")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.ini cannot be read"):
        read_preset_file(tmp_path / "none.ini")


def test_who_wins(tmp_path: Path) -> None:
    write_entry(Entry("brief", model="storyteller", options={"top_k": 3, "ctx_size": 30}, template="chatml"))
    sections = read_preset_file(
        written(tmp_path, "[*]\nmin-p = 0.4\ntypical = 0.4\n[brief]\ntypical = 0.5\nxtc-probability = 0.5\n")
    )
    habits = Habits(
        {"temp": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 0.1, "ctx_size": 10, "template": "zephyr", "quiet": True},
        {"brief": {"top_p": 0.2, "min_p": 0.2, "system_prompt": "Be brief."}},
    )
    said = Said({"xtc_probability": 0.6}, habits, sections)
    values = said.of(("brief",), find("brief"))
    assert opening_of(values).ctx_size == 30
    assert values["chat_template"] is None
    assert defaults_of(values) == {
        "temp": 0.1,
        "top_k": 3,
        "top_p": 0.2,
        "min_p": 0.4,
        "typical_p": 0.5,
        "xtc_probability": 0.6,
    }
    others = said.of(("storyteller",), find("storyteller"))
    assert (others["chat_template"], others["top_k"], others["typical_p"]) == ("zephyr", 1, 0.4)
    assert opening_of(others).ctx_size == 10


def test_what_is_said_in_another_way_gives_way() -> None:
    said = Said({"json_schema": "{}", "rope_freq_scale": 0.5}, Habits({"rope_scale": 2.0}))
    values = said.of(("storyteller",), find("storyteller"))
    assert (opening_of(values).rope_scale, opening_of(values).rope_freq_scale) == (0, 0.5)


def _asked(tmp_path: Path, text: str, given: dict[str, Any] | None = None, **serving: Any) -> Asked:
    sections = read_preset_file(written(tmp_path, text))
    return Asked(ServeOptions(**serving), FetchOptions(), Said(given or {}, Habits(), sections))


def test_sections_are_models_or_are_about_some(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a.gguf").symlink_to(STORYTELLER)
    text = "[*]\nc = 256\n[a]\nc = 64\n[storyteller]\nalias = teller\n"
    text += f"[mine]\nmodel = {STORYTELLER}\nload-on-startup = 1\n"
    given: dict[str, Any] = {"temp": 0.0}
    specs = specs_of(["first=storyteller"], _asked(tmp_path, text, given, models_dir=str(folder)))
    found = {one.name: (one.options.ctx_size, one.ahead, one.aliases, dict(one.defaults)) for one in specs}
    assert found == {
        "first": (256, True, (), {"temp": 0.0}),
        "a": (64, False, (), {"temp": 0.0}),
        "storyteller": (256, False, ("teller",), {"temp": 0.0}),
        "mine": (256, True, (), {"temp": 0.0}),
    }
    with pytest.raises(UsageError, match=r"line 1: \[a\] has a model, and another one is called so"):
        specs_of([], _asked(tmp_path, f"[a]\nmodel = {STORYTELLER}\n", models_dir=str(folder)))
    with pytest.raises(Exception, match=r"line 1: \[nobody\]: no model file, folder or name"):
        specs_of([], _asked(tmp_path, "[nobody]\n"))
    assert [one.name for one in specs_of([], _asked(tmp_path, "[*]\nc = 64\n"))] == ["storyteller"]


def test_no_more_are_opened_ahead_than_may_be_open(tmp_path: Path) -> None:
    names = ["a=storyteller", "b=storyteller", "c=storyteller"]
    assert [one.ahead for one in specs_of(names, _asked(tmp_path, "", models_max=2))] == [True, True, False]


def _states(reply: httpx.Response) -> dict[str, str]:
    return {one["id"]: one["status"]["value"] for one in reply.json()["data"]}


def _chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]}


@asynchronous
async def test_at_most_so_many_are_open() -> None:
    models = FakeModels()
    residency = Residency([fake_spec(name) for name in "abc"], open_model=models.open, models_max=2)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        for name in "abac":
            assert (await client.post("/v1/chat/completions", json=_chat(name))).status_code == 200
        assert _states(await client.get("/v1/models")) == {"a": "loaded", "b": "unloaded", "c": "loaded"}
        assert models.opened["b"].closed


@asynchronous
async def test_models_are_opened_only_by_who_says_so() -> None:
    models = FakeModels()
    residency = Residency([fake_spec(name) for name in "ab"], open_model=models.open, autoload=False)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        for path, body in (
            ("/v1/chat/completions", _chat("a")),
            ("/api/chat", _chat("a")),
            ("/completion", {"model": "a", "prompt": "x"}),
        ):
            refused = await client.post(path, json=body)
            assert (refused.status_code, "'a' is not loaded" in refused.text) == (400, True), path
        assert (await client.get("/props?model=a")).status_code == 400
        assert (await client.post("/v1/chat/completions", json=_chat("none"))).status_code == 404
        assert (await client.post("/models/load", json={"model": "a"})).json() == {"success": True}
        assert (await client.post("/v1/chat/completions", json=_chat("a"))).status_code == 200
        assert (await client.post("/api/generate", json={"model": "b"})).json()["done_reason"] == "load"
        assert (await client.post("/models/unload", json={"model": "b"})).json() == {"success": True}
        assert (await client.post("/v1/chat/completions", json=_chat("b"))).status_code == 400
        assert (await client.post("/v1/chat/completions?autoload=maybe", json=_chat("b"))).status_code == 400
        assert (await client.post("/v1/chat/completions?autoload=true", json=_chat("b"))).status_code == 200
        assert _states(await client.get("/models")) == {"a": "loaded", "b": "loaded"}


@asynchronous
async def test_a_model_that_sleeps_is_woken() -> None:
    models = FakeModels()
    specs = [fake_spec("a", keep_alive_seconds=0), fake_spec("b")]
    residency = Residency(specs, open_model=models.open, autoload=False)  # type: ignore[arg-type]
    async with client_of(residency) as client:
        await client.post("/models/load", json={"model": "a"})
        await residency.shut_expired()
        assert _states(await client.get("/v1/models")) == {"a": "sleeping", "b": "unloaded"}
        assert (await client.post("/v1/chat/completions", json=_chat("a"))).status_code == 200
        await residency.shut_expired()
        assert (await client.post("/models/unload", json={"model": "a"})).status_code == 200
        assert (await client.post("/v1/chat/completions?autoload=0", json=_chat("a"))).status_code == 400
        assert (await client.post("/v1/chat/completions?autoload=1", json=_chat("b"))).status_code == 200


def test_a_server_with_presets_and_settings(tmp_path: Path) -> None:
    text = f"""[*]
n-predict = 5
[small]
model = {STORYTELLER}
c = 64
ngl = 99
load-on-startup = true
[large]
model = {STORYTELLER}
c = 128
top-k = 7
"""
    places.habits_file().parent.mkdir(parents=True)
    places.habits_file().write_text('{"temp": 0.25, "top_k": 5, "n_predict": 9, "models": {"large": {"min_p": 0.5}}}')
    file = str(written(tmp_path, text))
    variables = {"LLAMA_ARG_MODELS_MAX": "1", "PACOS_TYPICAL": "0.5"}
    with served("--models-preset", file, "--top-p", "0.75", environment=variables) as server:
        server.wait_until_ready()
        assert _states(httpx.get(f"{server.url}/v1/models")) == {"small": "loaded", "large": "unloaded"}
        reply = httpx.post(f"{server.url}/v1/chat/completions", json=_chat("large"), timeout=60)
        assert reply.json()["usage"]["completion_tokens"] == 5
        assert _states(httpx.get(f"{server.url}/v1/models")) == {"small": "unloaded", "large": "loaded"}
        found = httpx.get(f"{server.url}/props", params={"model": "large"}).json()["default_generation_settings"]
        keys = ("temperature", "top_k", "min_p", "typical_p", "top_p", "n_predict")
        assert [found["params"][key] for key in keys] == [0.25, 7, 0.5, 0.5, 0.75, 5]
        assert found["n_ctx"] == 128
