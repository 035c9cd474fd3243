"""Whether a request may be answered: its head, the Host against DNS rebinding, the page that asks, the key."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from pacos.errors import UsageError
from pacos.server.keys import Failures, Keys
from pacos.server.problem import RequestError
from pacos.settings.serve import ServeOptions

FIELDS_MAX = 100  # header lines of a request
FIELD_BYTES_MAX = 8192  # of one of them
TARGET_BYTES_MAX = 8192  # of a path with its query
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
_FORM = "application/x-www-form-urlencoded"  # what `curl -d` says of JSON
_PREFLIGHT_SECONDS = 600
_BODY_RATE = 1024  # bytes a second that a client must send on average, once _BODY_GRACE_SECONDS are over
_BODY_GRACE_SECONDS = 10.0


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address: loopback, or a unix socket."""
    if host.endswith(".sock") or host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Admits requests or refuses them."""

    def __init__(self, options: ServeOptions, keys: Keys | None = None) -> None:
        self.keys = keys if keys is not None else Keys(options.api_key, options.api_key_file)
        own = (*_LOOPBACK_NAMES, options.host.strip("[]"), socket.gethostname())
        self._hosts = {name.lower() for name in (*own, *options.allowed_hosts)} - {"0.0.0.0", "::", ""}  # noqa: S104
        self._any_host = "*" in self._hosts or options.host.endswith(".sock")
        self._origins = {origin.rstrip("/").lower() for origin in options.allowed_origins}
        self._failures = Failures()

    def admit(self, request: Request, *, keyless: bool, scope: str = "infer") -> None:
        """Let a request pass that does something of this scope, and note whose it is.

        Errors: RequestError (400, 401, 403, 414, 417, 429, 431).
        """
        check_head(request)
        self._check_host(request)
        self._check_origin(request)
        if not self.keys.needed:
            return
        key = _key_of(request)
        holder = self.keys.holder(key)
        if holder is not None:
            request.scope["state"]["owner"] = holder.name
            if scope not in holder.scopes and not keyless:
                problem = f"the API key of {holder.name[:80]!a} may not do this: it lacks the scope {scope}"
                raise RequestError(problem, status=403, code="scope_missing", hint="use another key")
        elif not keyless:
            raise self._wrong_key(request, key)

    def _wrong_key(self, request: Request, key: str | None) -> RequestError:
        if key is not None:
            address = request.client.host if request.client else ""
            if self._failures.too_many(address):
                headers = {"Retry-After": "60"}
                return RequestError("too many wrong API keys", status=429, code="rate_limited", headers=headers)
            self._failures.note(address)
        return RequestError(
            "the API key is missing" if key is None else "the API key is wrong",
            status=401,
            code="invalid_api_key",
            hint="send Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def cors_headers(self, request: Request) -> Mapping[str, str]:
        """Headers that let the page that asks read the answer, when it may."""
        origin = request.headers.get("origin")
        if origin is None or not self._origin_allowed(request, origin):
            return {}
        return {
            "Access-Control-Allow-Origin": "*" if "*" in self._origins else origin,
            "Access-Control-Expose-Headers": "X-Request-Id, Retry-After, X-Queue-Position",
            "Vary": "Origin",
        }

    def preflight_headers(self, request: Request, methods: str) -> Mapping[str, str]:
        """The answer to a browser that asks whether it may ask. Errors: RequestError (403)."""
        check_head(request)
        self._check_host(request)
        self._check_origin(request)
        return {
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": "*, Authorization",
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if self._any_host or not host:
            return
        found = _HOST.fullmatch(host)
        if found is None or (found[1] is not None and not 0 < int(found[1]) <= 65535):
            raise RequestError(f"the Host header is {host[:100]!a}", code="invalid_host", hint="send a name or address")
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
        local = (request.scope.get("server") or ("",))[0]  # the address that the client reached us at
        if name not in self._hosts and not (name == local and _is_address(name)):
            raise RequestError(
                f"the host {host[:100]!a} is not served here",
                status=403,
                code="host_not_allowed",
                hint="start the server with --allowed-hosts NAME",
            )

    def _check_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is None and request.headers.get("sec-fetch-site") == "cross-site" and request.method != "GET":
            origin = "a page of another site"
        if origin is not None and not self._origin_allowed(request, origin):
            raise RequestError(
                f"pages of {origin[:100]!a} may not ask",
                status=403,
                code="origin_not_allowed",
                hint="start the server with --allowed-origins ORIGIN",
            )

    def _origin_allowed(self, request: Request, origin: str) -> bool:
        if "*" in self._origins or origin.rstrip("/").lower() in self._origins:
            return True
        own = f"{request.url.scheme}://{request.headers.get('host', '')}"
        return origin.lower() == own.lower()


def check_head(request: Request) -> None:
    """Refuse heads that are too large or ask for what is not there. Errors: RequestError (414, 417, 431)."""
    raw = request.scope.get("raw_path") or b""
    if len(raw) + len(request.scope.get("query_string", b"")) > TARGET_BYTES_MAX:
        problem = f"the address has more than {TARGET_BYTES_MAX} bytes"
        raise RequestError(problem, status=414, code="address_too_long", headers={"Connection": "close"})
    fields = request.scope["headers"]
    if len(fields) > FIELDS_MAX or any(len(name) + len(value) > FIELD_BYTES_MAX for name, value in fields):
        problem = f"the head has more than {FIELDS_MAX} lines, or one of more than {FIELD_BYTES_MAX} bytes"
        raise RequestError(problem, status=431, code="head_too_large", headers={"Connection": "close"})
    expected = request.headers.get("expect", "100-continue").lower()
    if expected != "100-continue":
        raise RequestError(f"Expect is {expected[:40]!a}", status=417, code="unknown_expectation")


def _key_of(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key") or None


def _is_address(name: str) -> bool:
    """Whether a host is an IP address: no name that points elsewhere tomorrow."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def read_body(request: Request, options: ServeOptions) -> bytes:
    """The whole body. Errors: as `body_pieces`."""
    body = bytearray()
    async for piece in body_pieces(request, options, options.body_bytes_max):
        body += piece
    return bytes(body)


async def body_pieces(request: Request, options: ServeOptions, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Errors: RequestError 413 when it is longer than `limit`, 408 when it comes too slowly."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > limit:
        raise _too_long(limit)
    size = 0
    loop = asyncio.get_running_loop()
    began = loop.time()
    pieces = request.stream()
    try:
        while True:
            left = began + options.body_seconds - loop.time()
            async with asyncio.timeout(min(_BODY_GRACE_SECONDS, max(0.0, left))):
                piece = await anext(pieces, None)
            if piece is None:
                return
            size += len(piece)
            if size > limit:
                raise _too_long(limit)
            if size < (loop.time() - began - _BODY_GRACE_SECONDS) * _BODY_RATE:
                raise TimeoutError
            yield piece
    except TimeoutError:
        problem = f"the body came too slowly: {size} bytes in {loop.time() - began:.0f} s"
        raise RequestError(problem, status=408, code="timeout", headers={"Connection": "close"}) from None


def _too_long(limit: int) -> RequestError:
    problem = f"the body has more than {limit} bytes"
    return RequestError(problem, status=413, code="body_too_large", headers={"Connection": "close"})


def check_json_type(request: Request) -> None:
    """Refuse bodies that say they are no JSON in UTF-8. Errors: RequestError (415).

    A page could send other types without asking first, so they are taken only from what is no browser.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError("compressed bodies are not taken", status=415, code="unsupported_media_type")
    given = request.headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().partition("charset=")[2].strip().strip('"')
    browser = "origin" in request.headers or any(name.startswith("sec-fetch-") for name in request.headers)
    fits = kind == "application/json" or kind.endswith("+json") or (kind in ("", _FORM) and not browser)
    if not fits or charset not in ("", "utf-8", "utf8"):
        raise RequestError(
            f"the body's type is {given[:80]!a}",
            status=415,
            code="unsupported_media_type",
            hint="send Content-Type: application/json",
        )


def check_exposure(options: ServeOptions, keys: Keys) -> None:
    """Other machines reach a server only when it asks for a key. Errors: UsageError."""
    if not is_loopback(options.host) and not keys.needed and not options.insecure_no_auth:
        raise UsageError(
            f"host {options.host} is reached from other machines, and there is no API key",
            hint="give --api-key-file, or listen on 127.0.0.1 (or, knowing what you do, --insecure-no-auth)",
        )
