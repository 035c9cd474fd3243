"""Pulling from a hub, a registry and plain addresses: what is fetched, every fault, and going on after a kill."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import here
from fake_hub import COMMIT, GATED_TOKEN, FakeHub, Fault, fake_hub
from patience import SECONDS
from pulling import BIG, Q4, Q8, TEXT, content, hub

from pacos.errors import DownloadError, ModelNotFound, PacosError, UsageError
from pacos.hub import endpoints, hub_cache, web
from pacos.hub.download import read_progress
from pacos.hub.entries import find_entry
from pacos.hub.names import find
from pacos.hub.variants import variants
from pacos.llm.preset import opening_options
from pacos.settings import places

SECRET = "hf_secret"
__all__ = ("hub",)


def pulled(*arguments: str, code: int = 0, **variables: str) -> Any:
    done = here("pull", *arguments, "--json", **variables)
    assert done.code == code, done.err
    return done.data if code == 0 else done.err


def test_the_preferred_model_comes_in_the_layout_of_the_hub(hub: FakeHub) -> None:
    done = here("pull", "org/tale")
    assert done.code == 0, done.err
    assert [line.split()[:2] for line in done.err.splitlines()] == [
        ["*", "Q4_K_M"],
        ["Q5_K_M", "41.15"],
        ["Q8_0", "30.58"],
    ]
    folder = places.hub_folder() / "models--org--tale"
    digest = hashlib.sha256(hub.repos["org/tale"][Q4]).hexdigest()
    link = folder / "snapshots" / COMMIT / Q4
    assert os.readlink(link) == f"../../blobs/{digest}"
    assert link.read_bytes() == hub.repos["org/tale"][Q4]
    assert (folder / "refs" / "main").read_text() == COMMIT
    assert [path.name for path in (folder / "blobs").iterdir()] == [digest]
    assert find("org/tale").path == link
    assert find("tale-Q4_K_M").path == link
    assert hub.count("/cdn/") >= 6, "the stretches of a file come at once"
    before = len(hub.asked)
    assert pulled("org/tale")["name"] == "org/tale:Q4_K_M"
    assert all("/api/" in one.path for one in hub.asked[before:]), "nothing is fetched twice"
    assert here("verify").code == 0


@pytest.mark.parametrize(
    ("text", "more", "files"),
    [
        ("org/tale:q8_0", (), [Q8]),
        (f"org/tale/{Q8}", (), [Q8]),
        ("org/tale", ("--file", Q8), [Q8]),
        ("hf.co/org/tale:Q8_0", ("--mmproj",), [Q8, "mmproj-F16.gguf"]),
        ("org/tale:Q5_K_M", (), [BIG.format(1), BIG.format(2)]),
        ("org/tale", ("--file", TEXT), [TEXT]),
        ("org/tale:Q8_0", ("--all",), [Q8, Q4, BIG.format(1), BIG.format(2)]),
    ],
)
def test_what_is_fetched(hub: FakeHub, text: str, more: tuple[str, ...], files: list[str]) -> None:
    found = pulled(text, *more)
    assert sorted(Path(one).name for one in found["files"]) == sorted(files)
    for one in found["files"]:
        assert Path(one).read_bytes() == hub.repos["org/tale"][Path(one).name]


def test_addresses_of_the_hub_revisions_aliases_and_lists_in_pages(hub: FakeHub) -> None:
    hub.page_size = 2
    found = pulled(f"{hub.url}/org/tale/blob/v1/{Q8}", "--alias", "small")
    assert Path(found["path"]).name == Q8
    assert (places.hub_folder() / "models--org--tale" / "refs" / "v1").read_text() == COMMIT
    assert find("small").path == Path(found["path"])
    assert "no revision v9" in pulled("org/tale", "--revision", "v9", code=3)
    assert "cannot be one" in pulled("org/tale", "--revision", "../x", code=2)


def test_a_folder_of_safetensors(hub: FakeHub) -> None:
    hub.repos["org/folder"] = {
        **{"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": bytes(5000)},
        **{"pytorch_model.bin": bytes(9000), "original/params.json": b"{}"},
    }
    found = pulled("org/folder")
    assert sorted(Path(one).name for one in found["files"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert find("org/folder").path == Path(found["path"])
    assert Path(found["path"]).is_dir()


REFUSALS: list[tuple[str, Callable[[FakeHub], object], dict[str, str], int, str]] = [
    ("org/none", lambda hub: None, {}, 3, "private, or does not exist.*HF_TOKEN"),
    ("org/none", lambda hub: None, {"HF_TOKEN": SECRET}, 3, "not on the hub"),
    ("org/tale", lambda hub: hub.gated.add("org/tale"), {}, 5, "gated.*ask for access at .*/org/tale.*HF_TOKEN"),
    ("org/tale", lambda hub: hub.gated.add("org/tale"), {"HF_TOKEN": SECRET}, 5, "gated.*ask for access"),
    ("org/tale:Q2_K", lambda hub: None, {}, 3, "no Q2_K.*it has Q4_K_M, Q5_K_M, Q8_0"),
    ("org/tale", lambda hub: hub.repos.update({"org/tale": {TEXT: b"x"}}), {}, 3, "holds no model"),
    ("org/tale", lambda hub: hub.repos["org/tale"].update({"../x.gguf": b"x"}), {}, 2, "not safe"),
    ("org/tale", lambda hub: None, {"HF_HUB_OFFLINE": "1"}, 2, "nothing is downloaded"),
    ("org/tale", lambda hub: None, {"HF_ENDPOINT": "ftp://x"}, 2, "HF_ENDPOINT is"),
    ("org/tale", lambda hub: None, {"HF_ENDPOINT": "http://hub.example.com"}, 2, "not encrypted"),
    ("org/tale", lambda hub: hub.faults["/api/"].extend([Fault(500)] * 5), {}, 5, "status 500, 5 times in a row"),
    ("org/tale", lambda hub: hub.faults["/cdn/"].extend([Fault(404)] * 99), {}, 5, "status 404 from http://localhost"),
    ("..", lambda hub: None, {}, 2, "no model that can be pulled"),
    ("ollama:..", lambda hub: None, {}, 2, "cannot be a model's name"),
    ("ollama:a/b/c", lambda hub: None, {}, 2, "no model of the registry"),
    ("ollama:none", lambda hub: None, {}, 3, "no model none:latest"),
    ("http://models.example.com/x.gguf", lambda hub: None, {}, 2, "not encrypted"),
    ("https://name:word@models.example.com/x.gguf", lambda hub: None, {}, 2, "no address"),
    ("https://models.example.com/x.zip", lambda hub: None, {}, 2, "no GGUF file"),
]


@pytest.mark.parametrize(("text", "prepare", "variables", "code", "said"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals_say_why_and_what_to_do(
    hub: FakeHub, text: str, prepare: Callable[[FakeHub], object], variables: dict[str, str], code: int, said: str
) -> None:
    prepare(hub)
    done = here("pull", text, **variables)
    assert done.code == code, done.err
    assert __import__("re").search(said, done.err), done.err
    assert SECRET not in done.err


def test_a_gated_repository_opens_for_a_token_that_no_other_machine_sees(hub: FakeHub) -> None:
    hub.gated.add("org/tale")
    pulled("org/tale:Q8_0", HF_TOKEN=GATED_TOKEN)
    assert {one.token for one in hub.asked if one.host == "127.0.0.1"} == {GATED_TOKEN}
    elsewhere = [one.token for one in hub.asked if one.host == "localhost"]
    assert elsewhere
    assert set(elsewhere) == {""}


FAULTS = {
    "cut": [Fault(cut_bytes=1000), Fault(cut_bytes=0), Fault(cut_bytes=50_000)],
    "status": [Fault(500), Fault(429, {"Retry-After": "0"}), Fault(503), Fault(408)],
    "flip": [Fault(flip=True)],
    "whole": [Fault(whole=True)] * 30,
    "longer": [Fault(extra=b"more")] * 3,
    "address over": [Fault(403), Fault(401)],
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_that_are_overcome(hub: FakeHub, kind: str) -> None:
    hub.faults["/cdn/"] = list(FAULTS[kind])
    if kind == "address over":
        hub.faults["/cdn/"] = [Fault(), Fault(), Fault(), Fault(), Fault(), Fault(), *FAULTS[kind]]
        hub.repos["org/tale"][Q4] = content(4, 1_200_000)
    path = Path(pulled("org/tale")["path"])
    assert path.read_bytes() == hub.repos["org/tale"][Q4]


LOST: dict[str, tuple[list[Fault], str]] = {
    "flips": ([Fault(flip=True)] * 99, "what came twice has the digest"),
    "cuts": ([Fault(cut_bytes=0)] * 99, "5 times in a row"),
    "other stretch": ([Fault(told="bytes 7-9/10")] * 9, "asked was for bytes"),
    "rest": ([Fault(429, {"Retry-After": "1000000000"})] * 9, "s of rest"),
    "loop": ([Fault(moved="/cdn/x")] * 99, "one address after the other"),
    "to a file": ([Fault(moved="file:///etc/passwd")] * 9, "not followed"),
}


@pytest.mark.parametrize("kind", LOST)
def test_faults_that_are_told(hub: FakeHub, kind: str) -> None:
    hub.faults["/cdn/"] = list(LOST[kind][0])
    assert LOST[kind][1] in pulled("org/tale", code=5)
    with pytest.raises(ModelNotFound):
        find("org/tale")
    hub.faults.clear()
    assert Path(pulled("org/tale")["path"]).read_bytes() == hub.repos["org/tale"][Q4]


def test_redirects_into_private_networks_are_not_followed() -> None:
    for url, location in (
        ("https://hub.example.com/x", "http://hub.example.com/x"),
        ("https://hub.example.com/x", "https://127.0.0.1/x"),
        ("https://hub.example.com/x", "https://169.254.169.254/latest"),
        ("https://hub.example.com/x", "https://router.local/x"),
        ("https://hub.example.com/x", ""),
    ):
        with pytest.raises(DownloadError, match="not followed"):
            web._target(url, location)
    assert web._target("https://a.example.com/x", "/y") == "https://a.example.com/y"
    assert endpoints.is_local("10.1.2.3")
    assert not endpoints.is_local("8.8.8.8")


def pull_in_process(name: str = "org/tale") -> subprocess.Popen[bytes]:
    code = (
        "import pacos.hub.fetching as f, pacos.hub.download as d; f.SEGMENT_BYTES = 100_000; d._SAVE_SECONDS = 0.02\n"
        f"from pacos.cli.main import main; main(['pull', {name!r}])"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def partial_of(hub: FakeHub) -> Path:
    digest = hub.digest(hub.repos["org/tale"][Q4])
    return places.hub_folder() / "models--org--tale" / "blobs" / f"{digest}.incomplete"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_pull_that_is_killed_goes_on_where_it_stopped(hub: FakeHub, number: signal.Signals) -> None:
    hub.repos["org/tale"][Q4] = content(4, 2_000_000)
    gate = threading.Event()
    hub.faults["/cdn/"] = [*[Fault()] * 8, *[Fault(gate=gate)] * 99]
    process = pull_in_process()
    while read_progress(partial_of(hub))[1].bytes < 600_000:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS / 2)  # the hub is silent for longer
    gate.set()
    if number == signal.SIGINT:
        assert process.returncode == 130, err
    there = read_progress(partial_of(hub))[1].bytes
    assert here("verify").code == 0
    assert [model["name"] for model in here("list", "--json").data] == ["storyteller"]
    hub.faults.clear()
    before = hub.sent("/cdn/")
    path = Path(pulled("org/tale")["path"])
    assert path.read_bytes() == hub.repos["org/tale"][Q4]
    assert hub.sent("/cdn/") - before <= len(hub.repos["org/tale"][Q4]) - there
    assert not partial_of(hub).exists()


def test_two_pulls_at_once_fetch_the_file_once(hub: FakeHub) -> None:
    hub.faults["/cdn/"] = [Fault(slow_seconds=0.01)] * 99
    processes = [pull_in_process() for _ in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert hub.sent("/cdn/") == len(hub.repos["org/tale"][Q4])
    assert here("verify").code == 0


def test_force_fetches_again(hub: FakeHub) -> None:
    path = Path(pulled("org/tale:Q8_0")["path"])
    sent = hub.sent("/cdn/")
    pulled("org/tale:Q8_0", "--force")
    assert hub.sent("/cdn/") == 2 * sent
    assert path.read_bytes() == hub.repos["org/tale"][Q8]


def test_a_plain_address(hub: FakeHub, tmp_path: Path) -> None:
    hub.plain["/models/own.gguf"] = content(1, 200_000)
    with fake_hub() as other:
        other.plain = hub.plain
        address = f"{other.url}/models/own.gguf"
        found = pulled(f"{address}?key=secret")
        assert found["name"] == "own"
        entry = find_entry("own")
        assert entry is not None
        assert entry.source == address
        assert "there is a model own" in pulled(address, code=2)
        for kind in (Fault(whole=True), Fault(cut_bytes=9000)):
            other.faults["own.gguf"] = [kind] * 3
            pulled(address, "--force")
        assert here("verify", "own").code == 0
        other.plain = {"/my own/my model.gguf": content(2, 3000)}
        odd = f"{other.url}/my%20own/my%20model.gguf"
        assert "cannot be a model's name" in pulled(odd, code=2)
        assert Path(pulled(odd, "--alias", "odd:1")["path"]).name == "odd_3A1.gguf"
        other.plain = {"/models/page.gguf": b"<html>log in</html>"}
        assert "a web page" in pulled(f"{other.url}/models/page.gguf", code=3)
        assert find_entry("page") is None
        assert "nothing at" in pulled(f"{other.url}/models/none.gguf", code=3)
    assert here("rm", "own").code == 0
    assert not Path(found["path"]).exists()


def test_a_model_of_an_ollama_registry(hub: FakeHub) -> None:
    weights = content(7, 150_000)
    layers = {"model": weights, "params": b'{"temperature": 0.5}', "system": b"Be brief.", "license": b"Free."}
    hub.add_ollama("small/1b", {**layers, "template": b"{{ .Secret }} in {{ .Go }}"})
    done = here("pull", "ollama:small:1b")
    assert done.code == 0, done.err
    assert "template in Go's language is not used" in done.err
    model = find("small:1b")
    assert model.path.read_bytes() == weights
    assert (model.preset.options, model.preset.system, model.preset.licence) == ({"temp": 0.5}, "Be brief.", "Free.")
    hub.add_ollama("twin/latest", {"model": weights})
    sent = hub.sent("/blobs/")
    assert pulled("ollama:twin", "--alias", "other")["name"] == "other"
    assert hub.sent("/blobs/") == sent, "the content is here already"
    assert here("rm", "small:1b").code == 0
    assert find("other").path.exists()
    assert len(list(places.blobs_folder().iterdir())) == 1
    assert here("verify").code == 0


MANIFESTS: list[tuple[Any, str]] = [
    (b"<html>", "damaged"),
    (b"[" * 5_000_000, "sends more than"),
    ({"layers": []}, "0 layers"),
    ({"layers": [{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]}, "the digest"),
    ({"layers": [{"mediaType": "x", "digest": "sha256:" + "A" * 64, "size": 1}]}, "the digest"),
    ({"layers": [{"mediaType": "x", "digest": "sha256:" + "a" * 64, "size": -1}]}, "the size"),
    ({"layers": [{"mediaType": "x", "digest": "sha256:" + "a" * 64, "size": 1}]}, "unknown kind"),
    ({"layers": [{"digest": "sha256:" + "a" * 64}]}, "damaged"),
    ({"layers": 7}, "damaged"),
]


@pytest.mark.parametrize("number", range(len(MANIFESTS)))
def test_bad_manifests_are_refused(hub: FakeHub, number: int) -> None:
    manifest, said = MANIFESTS[number]
    hub.ollama["bad/latest"] = manifest
    done = here("pull", "ollama:bad")
    assert done.code in (3, 5)
    assert said in done.err
    assert not places.blobs_folder().exists()


def test_an_adapter_is_pulled_with_its_model(hub: FakeHub) -> None:
    adapter = b"adapter"
    hub.add_ollama("lora/latest", {"model": content(7, 150_000), "adapter": adapter})
    pulled("ollama:lora")
    (path,) = opening_options(find("lora").preset)["lora"]
    assert Path(path).read_bytes() == adapter


def test_models_without_weights_are_refused(hub: FakeHub) -> None:
    hub.add_ollama("none/latest", {"system": b"x"})
    assert "0 layers of weights" in pulled("ollama:none", code=3)


def test_names_of_every_kind_of_repository() -> None:
    from pacos.hub.hub_api import RepoFile

    files = [
        RepoFile(name, 1, "a" * 64) for name in ("a-Q4_0.gguf", "b-Q4_0.gguf", "x-00001-of-00002.gguf", "own.gguf")
    ]
    assert [one.label for one in variants(files)] == ["a-Q4_0.gguf", "b-Q4_0.gguf", "own.gguf"]
    assert hub_cache.repo_folder(Path("r"), "o/n") == Path("r/models--o--n")
    for kind in (DownloadError, UsageError):
        assert issubclass(kind, PacosError)
