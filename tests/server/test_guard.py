"""Who may ask: keys, hosts, origins, addresses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fake_llm import FakeModels
from serving import asynchronous, client_of

from pacos.errors import UsageError
from pacos.server.dialects import dialects
from pacos.server.guard import check_exposure, is_loopback
from pacos.server.keys import SCOPES, Holder, Keys
from pacos.settings.serve import ServeOptions

MODELS = "/v1/models"

# id of the catalogue: options, headers, status
CASES: dict[str, tuple[dict[str, Any], dict[str, str], int]] = {
    "N-19-none-needed": ({}, {}, 200),
    "N-19-missing": ({"api_key": ("k1", "k2")}, {}, 401),
    "N-19-wrong": ({"api_key": ("k1", "k2")}, {"Authorization": "Bearer k3"}, 401),
    "N-19-part": ({"api_key": ("k1", "k2")}, {"Authorization": "Bearer k"}, 401),
    "N-19-empty": ({"api_key": ("k1", "k2")}, {"Authorization": "Bearer "}, 401),
    "N-19-basic": ({"api_key": ("k1", "k2")}, {"Authorization": "Basic k1"}, 401),
    "N-19-long": ({"api_key": ("k1", "k2")}, {"Authorization": "Bearer " + "k" * 9000}, 431),
    "N-19-second-key": ({"api_key": ("k1", "k2")}, {"Authorization": "Bearer k2"}, 200),
    "N-19-scheme-in-small-letters": ({"api_key": ("k1",)}, {"Authorization": "bearer k1"}, 200),
    "N-19-anthropic-header": ({"api_key": ("k1",)}, {"X-Api-Key": "k1"}, 200),
    "H-05-loopback": ({}, {"Host": "localhost:8080"}, 200),
    "H-05-upper-case": ({}, {"Host": "LOCALHOST:8080"}, 200),
    "H-05-ipv6": ({}, {"Host": "[::1]:8080"}, 200),
    "H-05-own-address": ({"host": "10.1.2.3", "api_key": ("k",)}, {"Host": "10.1.2.3:80", "X-Api-Key": "k"}, 200),
    "H-05-other-address": ({}, {"Host": "192.168.0.7:8080"}, 403),
    "H-05-trailing-dot": ({}, {"Host": "localhost.:8080"}, 200),
    "H-05-rebinding": ({}, {"Host": "evil.com"}, 403),
    "H-05-lookalike": ({}, {"Host": "127.0.0.1.evil.com"}, 403),
    "H-05-userinfo": ({}, {"Host": "localhost@evil.com"}, 400),
    "H-05-path": ({}, {"Host": "a/v1?x"}, 400),
    "H-05-bracket": ({}, {"Host": "[::1"}, 400),
    "H-05-zone": ({}, {"Host": "[fe80::1%25eth0]"}, 400),
    "H-05-port-zero": ({}, {"Host": "localhost:0"}, 400),
    "H-05-port-too-large": ({}, {"Host": "localhost:99999"}, 400),
    "H-05-idn": ({}, {"Host": "xn--bcher-kva.example"}, 403),
    "H-05-allowed": ({"allowed_hosts": ("models.example",)}, {"Host": "MODELS.example:443"}, 200),
    "H-05-not-allowed": ({"allowed_hosts": ("models.example",)}, {"Host": "other.example"}, 403),
    "H-05-any": ({"allowed_hosts": ("*",)}, {"Host": "other.example"}, 200),
    "H-05-with-a-key-too": ({"api_key": ("k1",)}, {"Host": "other.example", "X-Api-Key": "k1"}, 403),
    "H-22-own": ({}, {"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080"}, 200),
    "H-22-other-port": ({}, {"Origin": "http://localhost:3000"}, 403),
    "H-22-other-scheme": ({}, {"Origin": "https://127.0.0.1:8080"}, 403),
    "H-23-foreign": ({}, {"Origin": "https://evil.com"}, 403),
    "H-22-null": ({}, {"Origin": "null"}, 403),
    "H-22-file": ({}, {"Origin": "file://"}, 403),
    "H-22-lookalike": ({}, {"Origin": "http://localhost.evil.com"}, 403),
    "H-22-allowed": ({"allowed_origins": ("https://app.example",)}, {"Origin": "https://app.example"}, 200),
    "H-22-any": ({"allowed_origins": ("*",)}, {"Origin": "https://evil.com"}, 200),
    "H-04-many-fields": ({}, {f"x-{number}": "1" for number in range(101)}, 431),
    "H-04-long-field": ({}, {"x-long": "1" * 9000}, 431),
    "H-10-expect": ({}, {"Expect": "200-ok"}, 417),
}


@pytest.mark.parametrize(("options", "headers", "status"), CASES.values(), ids=CASES)
@asynchronous
async def test_admission(options: dict[str, Any], headers: dict[str, str], status: int) -> None:
    async with client_of(**options) as client:
        reply = await client.get(MODELS, headers=headers)
    assert reply.status_code == status
    allowed = reply.headers.get("access-control-allow-origin")
    wanted = "*" if "*" in options.get("allowed_origins", ()) else headers.get("Origin")
    assert allowed == (wanted if status == 200 else None)
    assert "access-control-allow-credentials" not in reply.headers
    if status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
        assert not any(key in reply.text for key in ("k1", "k2", "k3"))


@asynchronous
async def test_n_19_every_route_but_two_needs_a_key() -> None:
    public = {"/health", "/v1/health", "/"}
    async with client_of(api_key=("k",), metrics=True) as client:
        for operation in (one for dialect in dialects() for one in dialect.operations):
            reply = await client.request(operation.method, operation.path.replace("{", "").replace("}", ""))
            assert reply.status_code == 401 or (operation.path in public and reply.status_code == 200), operation.path
            assert operation.keyless == (operation.path in public)
        assert (await client.get("/nowhere")).status_code == 401


@asynchronous
async def test_n_20_no_route_answers_strangers() -> None:
    async with client_of() as client:
        for operation in (one for dialect in dialects() for one in dialect.operations):
            for headers in ({"Host": "evil.com"}, {"Origin": "https://evil.com"}):
                path = operation.path.replace("{", "").replace("}", "")
                reply = await client.request(operation.method, path, headers=headers)
                assert reply.status_code == 403, (operation.path, headers)


@asynchronous
async def test_x_10_many_wrong_keys() -> None:
    async with client_of(api_key=("k",)) as client:
        codes = [(await client.get(MODELS, headers={"X-Api-Key": f"x{number}"})).status_code for number in range(25)]
        right = await client.get(MODELS, headers={"X-Api-Key": "k"})
    assert codes == [401] * 20 + [429] * 5
    assert right.status_code == 200


@asynchronous
async def test_h_22_preflight() -> None:
    ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with client_of(api_key=("k",), allowed_origins=("https://app.example",)) as client:
        reply = await client.options("/v1/chat/completions", headers=ask)
        foreign = await client.options("/v1/chat/completions", headers={**ask, "Origin": "https://evil.com"})
        simple = await client.options("/v1/chat/completions")
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    assert reply.headers["access-control-allow-methods"] == "POST"
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers
    assert (simple.status_code, simple.headers["allow"]) == (204, "POST")


@asynchronous
async def test_h_23_cross_site_post_without_origin() -> None:
    async with client_of() as client:
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/v1/completions", json={"prompt": "x"}, headers=headers)).status_code == 403


@asynchronous
async def test_h_02_long_address() -> None:
    async with client_of() as client:
        assert (await client.get("/v1/models", params={"x": "y" * 9000})).status_code == 414


@asynchronous
async def test_owner_and_cache_of_a_key_are_its_own() -> None:
    models = FakeModels()
    async with client_of(models=models, api_key=("a", "b")) as client:
        for key in ("a", "b", "a"):
            await client.post("/v1/completions", json={"prompt": "x"}, headers={"X-Api-Key": key})
        forged = await client.post("/v1/completions", json={"prompt": "x", "owner": "z"}, headers={"X-Api-Key": "a"})
    owners = [stream.owner for stream in models.opened["fake"].streams]
    salts = [stream.cache_salt for stream in models.opened["fake"].streams]
    assert owners[0] == owners[2] != owners[1]
    assert salts[0] == salts[2] != salts[1]
    assert forged.status_code == 400


def test_key_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"# comment\r\n\n  one  \r\nalice: two\n")
    keys = Keys(("given",), str(file))
    assert [keys.holder(key) is not None for key in ("one", "two", "given", "", "# comment")] == [True] * 3 + [
        False
    ] * 2
    assert keys.holder("one") == keys.holder("one") != keys.holder("two") == Holder("alice")
    file.write_text("three\n")
    os.utime(file, ns=(1, 1))
    keys._looked = -10
    assert [keys.holder(key) is not None for key in ("one", "three", "given")] == [False, True, True]
    file.unlink()
    keys._looked = -10
    assert [keys.holder(key) is not None for key in ("three", "given")] == [False, True]


@asynchronous
async def test_keys_do_only_what_their_scopes_allow(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("[infer] alice:a\n[manage] b\n[infer, manage] carl:c\nd\n[] e\n")
    async with client_of(api_key_file=str(file), slot_save_path=str(tmp_path)) as client:

        async def codes(key: str) -> tuple[int, int]:
            headers = {"X-Api-Key": key}
            asked = await client.post("/v1/completions", json={"prompt": "x"}, headers=headers)
            changed = await client.post("/slots/0?action=erase", headers=headers)
            return asked.status_code, changed.status_code

        assert [await codes(key) for key in "abcde"] == [(200, 403), (403, 200), (200, 200), (200, 200), (403, 403)]
        refused = await client.post("/slots/0?action=erase", headers={"X-Api-Key": "a"})
        assert "lacks the scope manage" in refused.json()["error"]["message"]
        assert (await client.get("/health", headers={"X-Api-Key": "e"})).status_code == 200


def test_every_operation_has_a_scope_and_those_that_change_the_server_another() -> None:
    operations = [one for dialect in dialects() for one in dialect.operations]
    assert {one.scope for one in operations} <= set(SCOPES)
    assert {one.path for one in operations if one.scope == "manage"} >= {
        *("/slots/{slot}", "/lora-adapters"),
        *("/api/pull", "/api/create", "/api/copy", "/api/delete"),
    }


def test_scope_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("[infer, root] alice:a\n")
    with pytest.raises(UsageError, match=r"'root'.*infer, manage"):
        Keys((), str(file))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (2 << 20)])
def test_key_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="--api-key-file"):
        Keys((), str(file))


def test_empty_key_file_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("")
    keys = Keys((), str(file))
    assert keys.needed
    assert keys.holder("") is None
    assert keys.holder(None) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "/run/pacos.sock"])
def test_loopback_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    check_exposure(ServeOptions(host=host), Keys())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "example.com", "127.0.0.1.example.com", ""])
def test_other_addresses_need_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="API key"):
        check_exposure(ServeOptions(host=host), Keys())
    check_exposure(ServeOptions(host=host), Keys(("k",)))
    check_exposure(ServeOptions(host=host, insecure_no_auth=True), Keys())
