"""`pacos ps` and `pacos stop` at a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from commands import here
from serving import Server, served

KEY = "sk-ps"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served("storyteller", "--api-key", KEY) as found:
        yield found


def test_models_are_listed_and_closed(server: Server) -> None:
    at = ("--url", server.url)
    body = {"prompt": "Once", "max_tokens": 1}
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=60).status_code == 200
    assert [one["name"] for one in here("ps", *at, "--api-key", KEY, "--json").data] == ["storyteller"]
    shown = here("ps", *at, PACOS_API_KEY=KEY)
    assert shown.out.splitlines()[1].split() == ["storyteller", "3.97", "MB", "Q8_0", "1024", "for", "ever"]
    done = here("stop", "storyteller", *at, "--api-key", KEY)
    assert (done.code, done.out) == (0, "storyteller is closed\n")
    assert here("ps", *at, "--api-key", KEY, "--json").data == []


def test_what_goes_wrong_is_said(server: Server) -> None:
    at = ("--url", server.url)
    refused = here("ps", *at)
    assert refused.code == 1
    assert "give --api-key" in refused.err
    unknown = here("stop", "nosuch", *at, "--api-key", KEY)
    assert unknown.code == 1
    assert "no model 'nosuch'" in unknown.err
    for url, words in (("http://127.0.0.1:9", "no server answers"), ("nonsense", "no server answers")):
        nobody = here("ps", "--url", url)
        assert nobody.code == 2
        assert words in nobody.err


def test_without_a_server_in_the_background(tmp_path: Path) -> None:
    done = here("ps", PACOS_HOME=str(tmp_path))
    assert done.code == 2
    assert "pacos serve start" in done.err
