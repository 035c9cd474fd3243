"""The web page as files: which there are, their headers, who gets them; and everything under a prefix."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from patience import SECONDS
from serving import asynchronous, client_of, served

from pacos.errors import UsageError
from pacos.server.dialects import dialects
from pacos.server.page import FOLDER, HEADERS, MEDIA_TYPES
from pacos.settings.serve import ServeOptions

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = {"Authorization": "Bearer k"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page of a user's own, with a secret beside it and links that lead in and out."""
    made = tmp_path / "page"
    (made / "sub").mkdir(parents=True)
    (made / "index.html").write_text("<p>mine</p>")
    (made / "sub" / "index.html").write_text("<p>below</p>")
    (made / "app.mjs").write_text("export {};\n" * 400)
    (made / "letters.woff2").write_bytes(b"wOF2")
    (made / "odd.xyz").write_bytes(b"<script>")
    (made / ".hidden").write_text("secret")
    (made / ".git").mkdir()
    (made / ".git" / "config").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (made / "out.txt").symlink_to(tmp_path / "secret.txt")
    (made / "up").symlink_to(tmp_path)
    (made / "again").symlink_to(made)
    (made / "inside.mjs").symlink_to(made / "app.mjs")
    return made


@asynchronous
async def test_a_browser_gets_the_page_and_a_program_the_health() -> None:
    async with client_of() as client:
        page = await client.get("/", headers=BROWSER)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.text == (await client.get("/index.html")).text == (FOLDER / "index.html").read_text()
        for accept in ("*/*", "application/json"):
            assert (await client.get("/", headers={"Accept": accept})).json()["status"] == "ok"


@asynchronous
async def test_every_file_of_the_package_has_strict_headers() -> None:
    files = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()]
    assert "index.html" in files
    async with client_of(api_key=("k",)) as client:
        for name in files:
            reply = await client.get(f"/{name}")
            assert reply.status_code == 200, name
            assert reply.content == (FOLDER / name).read_bytes(), name
            assert reply.headers["content-type"] == MEDIA_TYPES[Path(name).suffix.lower()], name
            assert HEADERS.items() <= {key.title(): value for key, value in reply.headers.items()}.items()
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-cache"


@asynchronous
async def test_the_policy_lets_no_script_in_from_elsewhere() -> None:
    async with client_of() as client:
        policy = (await client.get("/", headers=BROWSER)).headers["content-security-policy"]
    rules = dict(rule.partition(" ")[::2] for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == rules["style-src"] == "'self'"


@asynchronous
async def test_the_page_needs_no_key_and_what_it_asks_does() -> None:
    async with client_of(api_key=("k",)) as client:
        assert (await client.get("/", headers=BROWSER)).status_code == 200
        assert (await client.get("/index.html")).status_code == 200
        assert (await client.get("/no-such-file.js")).status_code == 401
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=KEY)).status_code == 200
        assert (await client.get("/index.html", headers={"Host": "evil.example"})).status_code == 403
        assert (await client.get("/index.html", headers={"Origin": "https://evil.example"})).status_code == 403


@asynchronous
async def test_no_answer_can_be_made_to_run_as_a_page() -> None:
    """Of all operations, of what is refused and of what is nowhere: a browser guesses no type and runs no script."""
    async with client_of(metrics=True, allowed_origins=("https://friend.example",)) as client:
        operations = [one for dialect in dialects() for one in dialect.operations]
        targets = [(one.method, one.path.replace("{", "").replace("}", "")) for one in operations]
        for method, path in [*targets, ("GET", "/nowhere"), ("POST", "/health"), ("OPTIONS", "/v1/models")]:
            reply = await client.request(method, path, headers={"Origin": "https://friend.example"})
            assert reply.headers["x-content-type-options"] == "nosniff", path
            policy = reply.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'"), path
            assert "frame-ancestors 'none'" in policy, path
            assert "script-src" not in policy, path
            assert reply.headers["access-control-allow-origin"] == "https://friend.example", path


@asynchronous
async def test_only_reading_is_possible() -> None:
    async with client_of() as client:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert (await client.request(method, "/index.html")).status_code == 404
        head = await client.head("/", headers=BROWSER)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/html")


@asynchronous
async def test_what_a_browser_has_is_not_sent_again(folder: Path) -> None:
    async with client_of(path=str(folder)) as client:
        first = await client.get("/app.mjs", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in first.headers
        known = {"If-None-Match": f'"other", {first.headers["etag"]}'}
        again = await client.get("/app.mjs", headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        by_time = await client.get("/app.mjs", headers={"If-Modified-Since": first.headers["last-modified"]})
        assert by_time.status_code == 304
        (folder / "app.mjs").write_text("export const b = 1;\n")
        assert (await client.get("/app.mjs", headers=known)).text == "export const b = 1;\n"


@asynchronous
async def test_text_is_compressed_for_those_who_take_it(folder: Path) -> None:
    async with client_of(path=str(folder)) as client:
        packed = await client.get("/app.mjs", headers={"Accept-Encoding": "gzip, br"})
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < 200
        assert packed.text == (folder / "app.mjs").read_text()
        assert "content-encoding" not in (await client.get("/", headers=BROWSER)).headers  # too small


@asynchronous
async def test_another_folder_brings_its_own_rules(folder: Path) -> None:
    async with client_of(path=str(folder)) as client:
        page = await client.get("/", headers=BROWSER)
        assert page.text == "<p>mine</p>"
        assert "content-security-policy" not in page.headers
        assert page.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/sub/")).text == "<p>below</p>"
        assert (await client.get("/sub")).status_code == 404
        kinds = {name: (await client.get(f"/{name}")).headers["content-type"] for name in ("letters.woff2", "odd.xyz")}
        assert kinds == {"letters.woff2": "font/woff2", "odd.xyz": "application/octet-stream"}
        assert (await client.get("/inside.mjs")).status_code == 200
        assert (await client.get("/again/again/index.html")).text == "<p>mine</p>"
        assert (await client.get("/again" * 40 + "/index.html")).status_code == 404


ATTEMPTS = [
    "/../secret.txt",
    "/sub/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/..%2fsecret.txt",
    "/%252e%252e/secret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/sub/..%c0%afsecret.txt",
    "/%00/secret.txt",
    "/index.html%00.txt",
    "/sub/%2e/%2e%2e/index.html",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/%2Fetc%2Fpasswd",
    "/C:/Windows/win.ini",
    "/index.html::$DATA",
    "/file:///etc/passwd",
    "/.hidden",
    "/.git/config",
    "/out.txt",
    "/up/secret.txt",
    "/up/page/.hidden",
    "/index.html/",
    "/INDEX.HTML",
    "/~root/.bashrc",
]


def test_no_spelling_of_a_path_leads_out(folder: Path) -> None:
    with served("--path", str(folder), "--no-store") as server:
        port = urlsplit(server.url).port
        for target in [*ATTEMPTS, "/index.html"]:
            reply = _raw(port, target)
            status = int(reply.split(b" ", 2)[1])
            assert status == 200 if target == "/index.html" else status in (400, 404), (target, reply)
            assert b"secret" not in reply.partition(b"\r\n\r\n")[2].replace(b"secret.txt", b""), target
            assert b"root:" not in reply


def _raw(port: int | None, target: str) -> bytes:
    """The answer to a path as it is: a client library would mend it."""
    with socket.create_connection(("127.0.0.1", port or 0), SECONDS) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        found = b""
        while piece := connection.recv(1 << 16):
            found += piece
    return found


@asynchronous
async def test_without_a_page() -> None:
    async with client_of(ui=False) as client:
        reply = await client.get("/", headers=BROWSER)
        assert (reply.status_code, "no web page is served" in reply.text) == (404, True)
        assert (await client.get("/index.html")).status_code == 404
        assert (await client.get("/")).json()["status"] == "ok"


@asynchronous
async def test_a_folder_without_an_index(tmp_path: Path) -> None:
    async with client_of(path=str(tmp_path)) as client:
        reply = await client.get("/", headers=BROWSER)
        assert (reply.status_code, "index.html is not there" in reply.text) == (404, True)


@pytest.mark.parametrize(("name", "problem"), [("missing", "is not there"), ("file", "is no folder")])
@asynchronous
async def test_a_folder_that_is_none_ends_the_start(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=problem):
        async with client_of(path=str(tmp_path / name)):
            pass


@asynchronous
async def test_everything_lies_under_the_prefix() -> None:
    async with client_of(api_prefix="/llm/a", api_key=("k",)) as client:
        assert (await client.get("/llm/a/", headers=BROWSER)).text == (FOLDER / "index.html").read_text()
        assert (await client.get("/llm/a/index.html")).headers["content-security-policy"]
        assert (await client.get("/llm/a/health")).json()["status"] == "ok"
        assert (await client.get("/llm/a/v1/models")).status_code == 401
        assert (await client.get("/llm/a/v1/models", headers=KEY)).json()["data"]
        assert "/llm/a/nowhere" in (await client.get("/llm/a/nowhere", headers=KEY)).text
        said = await client.post("/llm/a/api/chat", headers=KEY, json={"nonsense": 1})
        assert isinstance(said.json()["error"], str)  # in Ollama's shape
        moved = await client.get("/llm/a?x=1", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (307, "/llm/a/?x=1")
        for path in ("/", "/health", "/index.html", "/v1/models", "/llm", "/llm/ab/health", "/llm/a/../health"):
            assert (await client.get(path)).status_code == 401, path
            assert (await client.get(path, headers=KEY)).status_code == 404, path


@pytest.mark.parametrize("prefix", ["llm", "/a b", "//x", "/a//b", "/..", "/a/../b", "/a?b", "/%2e", "/ä"])
def test_prefixes_that_are_no_paths(prefix: str) -> None:
    with pytest.raises(UsageError, match="api_prefix is"):
        ServeOptions(api_prefix=prefix)


def test_a_slash_at_the_end_of_a_prefix_is_none() -> None:
    assert ServeOptions(api_prefix="/llm/").api_prefix == "/llm"
    assert ServeOptions(api_prefix="/").api_prefix == ""
