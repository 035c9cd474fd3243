"""The web page: the files of one folder as a browser asks for them, to everybody; what the page asks for needs the key.

A path is followed only along names that the listings of its folders have, and must end inside the folder: no spelling
of a path leads out of it.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from email.utils import formatdate
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp

from pacos.errors import UsageError
from pacos.server.call import Call
from pacos.server.dialects import Operation
from pacos.server.problem import RequestError
from pacos.settings.serve import ServeOptions

FOLDER = Path(__file__).parent.parent / "web"
INDEX = "index.html"
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "style-src-attr": "'unsafe-inline'",  # what drawn formulas and charts place their parts with
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "font-src": "'self'",
    "manifest-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in _POLICY.items()),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".woff": "font/woff",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".pdf": "application/pdf",
}
_DEPTH_MAX = 32  # folders of a path: a link to a folder above makes them endless
_PACKED = (".html", ".css", ".js", ".mjs", ".json", ".map", ".svg", ".txt", ".md")
_PACKED_BYTES = range(1 << 10, 4 << 20)  # smaller files are not worth it, larger ones would be held in memory


class Page:
    """The files that browsers get: the package's own page, a folder's of the user, or none."""

    def __init__(self, options: ServeOptions) -> None:
        """Errors: UsageError for a folder that is not there."""
        self.served = options.ui
        self._folder = Path(options.path) if options.path else FOLDER
        self._headers = {} if options.path else HEADERS
        if self.served and not self._folder.is_dir():
            there = "is no folder" if self._folder.exists() else "is not there"
            raise UsageError(f"path {str(self._folder)!a} {there}", hint="give --path the folder of a web page")
        self._real = os.path.realpath(self._folder)

    async def operation(self, path: str) -> Operation | None:
        """What answers a path, which begins with "/"; None where no file is."""
        file = await asyncio.to_thread(self.find, path) if self.served else None
        if file is None:
            return None
        send = partial(self._send, file)
        return Operation("GET", "/{file}", send, "A file of the web page.", keyless=True, light=True)

    def find(self, path: str) -> Path | None:
        """The file that a path names, the folder's index where it names a folder; hidden files are none."""
        *folders, name = path.removeprefix("/").split("/")
        here = str(self._folder)
        if len(folders) > _DEPTH_MAX:
            return None
        for step in (*folders, name or INDEX):
            try:
                with os.scandir(here) as entries:
                    found = next((one.path for one in entries if one.name == step and not step.startswith(".")), None)
            except OSError:
                return None
            if found is None:
                return None
            here = found
        real = Path(os.path.realpath(here))
        fits = real.is_relative_to(self._real) and real.is_file() and os.access(real, os.R_OK)
        return real if fits else None

    async def answer(self, call: Call[Any]) -> ASGIApp:
        """The page itself. Errors: RequestError (404) when there is none."""
        operation = await self.operation("/")
        if operation is None:
            problem = f"{self._folder.name}/{INDEX} is not there" if self.served else "no web page is served"
            hint = f"put an {INDEX} there" if self.served else "start the server without --no-ui"
            raise RequestError(problem, status=404, code="not_found", hint=hint)
        return await operation.run(call)

    async def _send(self, file: Path, call: Call[Any]) -> ASGIApp:
        if not self._headers:
            call.request.scope["state"]["own_rules"] = True
        return await asyncio.to_thread(self._response, file, call.request)

    def _response(self, file: Path, request: Request) -> Response:
        try:
            found = file.stat()
        except OSError:
            raise RequestError(f"{file.name!a} is gone", status=404, code="not_found") from None
        tag = f'W/"{found.st_mtime_ns:x}-{found.st_size:x}"'
        headers = {
            **self._headers,
            "Cache-Control": "no-cache",  # asked for each time, so that no page is stale after an update
            "ETag": tag,
            "Last-Modified": formatdate(found.st_mtime, usegmt=True),
            "Vary": "Accept-Encoding",
        }
        if _unchanged(request, headers):
            return Response(status_code=304, headers=headers)
        kind = MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream")
        packable = file.suffix.lower() in _PACKED and found.st_size in _PACKED_BYTES
        if packable and "gzip" in request.headers.get("accept-encoding", "").lower():
            data = _packed(file, found.st_mtime_ns, found.st_size)
            return Response(data, headers={**headers, "Content-Type": kind, "Content-Encoding": "gzip"})
        return FileResponse(file, headers={**headers, "Content-Type": kind}, stat_result=found)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page to show; programs say that they take anything, or JSON."""
    return "text/html" in request.headers.get("accept", "").lower()


def _unchanged(request: Request, headers: dict[str, str]) -> bool:
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return headers["ETag"].removeprefix("W/") in {tag.strip().removeprefix("W/") for tag in tags.split(",")}
    return request.headers.get("if-modified-since") == headers["Last-Modified"]


@lru_cache(maxsize=128)
def _packed(file: PurePath, changed: int, size: int) -> bytes:
    """A file's bytes, compressed; `changed` and `size` are those that it has now."""
    return gzip.compress(Path(file).read_bytes(), mtime=0)
