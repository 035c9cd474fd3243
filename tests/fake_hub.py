"""A hub, its content network and an Ollama registry in one thread, with faults on demand.

`faults[part of a path]` is a list of faults; each request whose path has that part takes the next one. What is large
comes from another origin ("localhost" in place of "127.0.0.1"), as at the real hub.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from patience import SECONDS

COMMIT = "c0ffee" + "0" * 34
GATED_TOKEN = "hf_good"


@dataclass
class Fault:
    """What goes wrong with one answer.

    `status` with `headers` in place of the content; `cut_bytes` sent and then the connection closed; `slow_seconds`
    between pieces; what is behind the first piece only once the `gate` opens; `flip` one bit; `extra` bytes behind the
    end; `whole` where a stretch was asked for; `moved` to another address; `told` another Content-Range.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_bytes: int = -1
    slow_seconds: float = 0.0
    gate: threading.Event | None = None
    flip: bool = False
    extra: bytes = b""
    whole: bool = False
    moved: str = ""
    told: str = ""


@dataclass
class Asked:
    """A request that came."""

    path: str
    host: str
    token: str
    range: str
    sent: int = 0


class FakeHub:
    """`repos` are files by repository; `ollama` manifests by "name/tag", `blobs` their contents by SHA-256."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.ollama: dict[str, Any] = {}
        self.blobs: dict[str, bytes] = {}
        self.plain: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.small_bytes = 1000  # what is larger is kept as large files are
        self.etag = ""
        self.page_size = 1000
        self.url = self.cdn = ""

    def add_ollama(self, name: str, layers: dict[str, bytes], **changes: Any) -> None:
        """A model of the registry."""
        listed = []
        for kind, content in layers.items():
            digest = hashlib.sha256(content).hexdigest()
            self.blobs[digest] = content
            media = f"application/vnd.ollama.image.{kind}"
            listed.append({"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)})
        self.ollama[name] = {"schemaVersion": 2, "layers": listed, **changes}

    def count(self, part: str) -> int:
        """How many requests had that in their path."""
        return sum(part in one.path for one in self.asked)

    def sent(self, part: str) -> int:
        """How many bytes of content went out for such paths."""
        return sum(one.sent for one in self.asked if part in one.path)

    def digest(self, content: bytes) -> str:
        """How the hub names a content."""
        if len(content) > self.small_bytes:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that answers until the block ends."""
    hub = FakeHub()

    class Handler(_Handler):
        fake = hub

    server = _Server(("127.0.0.1", 0), Handler)
    hub.url, hub.cdn = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *given: Any) -> None:
        """Clients may leave."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *given: Any) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        asked = Asked(self.path, self.headers["Host"].partition(":")[0], token, self.headers.get("Range", ""))
        self.fake.asked.append(asked)
        self.asked = asked
        faults = next((list_ for part, list_ in self.fake.faults.items() if part in self.path and list_), None)
        fault = faults.pop(0) if faults else Fault()
        try:
            if fault.status or fault.moved:
                headers = {"Location": fault.moved} if fault.moved else fault.headers
                self.answer(fault.status or 302, b"", headers)
            else:
                self.route(unquote(urlsplit(self.path).path), fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def route(self, path: str, fault: Fault) -> None:
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            self.api(found[1], found[2], found[3])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(found[1], found[2], found[3], fault)
        elif found := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            contents = [c for files in self.fake.repos.values() for c in files.values()]
            content = next(c for c in contents if self.fake.digest(c) == found[1])
            self.content(content, fault, f'"{found[1]}"')
        elif found := re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/(.+)", path):
            name = f"{found[1].removeprefix('library/')}/{found[2]}"
            manifest = self.fake.ollama.get(name)
            if manifest is None:
                self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            else:
                self.answer(200, manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode())
        elif found := re.fullmatch(r"/v2/[^/]+/[^/]+/blobs/sha256:([0-9a-f]{64})", path):
            self.content(self.fake.blobs[found[1]], fault, "")
        elif path in self.fake.plain:
            self.content(self.fake.plain[path], fault, self.fake.etag)
        else:
            self.answer(404, b"<html>nothing</html>")

    def refuse(self, repo: str) -> bool:
        """Whether the repository is not for everybody."""
        if repo not in self.fake.repos:
            code, status = ("RepoNotFound", 404) if self.asked.token else ("RepoNotFound", 401)
        elif repo in self.fake.gated and self.asked.token != GATED_TOKEN:
            code, status = "GatedRepo", 403 if self.asked.token else 401
        else:
            return False
        self.answer(status, b"", {"X-Error-Code": code})
        return True

    def api(self, repo: str, what: str, revision: str) -> None:
        page, _, number = revision.partition("/page/")
        if self.refuse(repo):
            return
        if page not in ("main", "v1", COMMIT):
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif what == "revision":
            self.answer(200, json.dumps({"sha": COMMIT, "siblings": []}).encode())
        else:
            rows: list[dict[str, Any]] = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0}]
            for path, content in self.fake.repos[repo].items():
                row: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": "1" * 40}
                if len(content) > self.fake.small_bytes:
                    row["lfs"] = {"oid": self.fake.digest(content), "size": len(content), "pointerSize": 134}
                else:
                    row["oid"] = self.fake.digest(content)
                rows.append(row)
            start = int(number or 0) * self.fake.page_size
            more = start + self.fake.page_size < len(rows)
            following = f"{self.fake.url}/api/models/{repo}/tree/{page}/page/{int(number or 0) + 1}"
            link = {"Link": f'<{following}>; rel="next"'} if more else {}
            self.answer(200, json.dumps(rows[start : start + self.fake.page_size]).encode(), link)

    def resolve(self, repo: str, revision: str, file: str, fault: Fault) -> None:
        if self.refuse(repo):
            return
        content = self.fake.repos[repo].get(file)
        if content is None or revision != COMMIT:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif len(content) > self.fake.small_bytes:
            digest = self.fake.digest(content)
            headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            self.answer(302, b"", {**headers, "Location": f"{self.fake.cdn}/cdn/{digest}?signature=secret"})
        else:
            self.content(content, fault, f'"{self.fake.digest(content)}"')

    def content(self, content: bytes, fault: Fault, etag: str) -> None:
        whole, status, headers = content, 200, {"ETag": etag} if etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is not None and not fault.whole:
            begin, end = int(asked[1]), min(int(asked[2] or len(whole) - 1), len(whole) - 1)
            if begin >= len(whole):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(whole)}"})
                return
            content, status = whole[begin : end + 1], 206
            headers["Content-Range"] = fault.told or f"bytes {begin}-{end}/{len(whole)}"
        if fault.flip:
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content) + len(fault.extra)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        piece_bytes = 1 << 14 if fault.slow_seconds or fault.gate else 1 << 18
        sends = content[: fault.cut_bytes] if fault.cut_bytes >= 0 else content + fault.extra
        for begin in range(0, len(sends), piece_bytes):
            self.wfile.write(sends[begin : begin + piece_bytes])
            self.asked.sent += len(sends[begin : begin + piece_bytes])
            time.sleep(fault.slow_seconds)
            if fault.gate is not None and begin + piece_bytes < len(sends):  # else the next request would wait unseen
                fault.gate.wait(SECONDS)
        if fault.cut_bytes >= 0:
            self.close_connection = True
