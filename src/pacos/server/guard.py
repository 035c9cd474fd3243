"""Who may ask: API keys, the Host header against DNS rebinding, the Origin of web pages, and the form of a body."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request

from pacos.errors import UsageError
from pacos.server.problem import RequestError
from pacos.settings.serve import ServeOptions

KEY_FILE_BYTES_MAX = 1 << 20
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")  # the second is what `curl -d` says of JSON
_PREFLIGHT_SECONDS = 600


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address: loopback, or a unix socket."""
    if host.endswith(".sock") or host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Keys:
    """The API keys, as hashes; a file of them is read again when it changes."""

    def __init__(self, keys: tuple[str, ...] = (), file: str = "") -> None:
        self._given = tuple(_digest(key) for key in keys if key)
        self._file = Path(file) if file else None
        self._state: tuple[int, int, int] | None = None
        self._looked = -1.0
        self._from_file: tuple[bytes, ...] = ()
        if self._file is not None:
            self._read(self._file)
        self.needed = bool(self._given) or self._file is not None

    def owner(self, key: str | None) -> str | None:
        """A short name of the key's holder, always the same for a key; None when it is none of ours.

        Every key is compared, in a time that does not depend on which one fits.
        """
        self._refresh()
        digest = _digest(key or "")
        found = False
        for one in (*self._given, *self._from_file):
            found |= hmac.compare_digest(one, digest)
        return f"key-{digest.hex()[:8]}" if found and key else None

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked < 1:
            return
        try:
            self._read(self._file)
        except UsageError:
            self._from_file = ()  # a file that went away lets nobody in

    def _read(self, file: Path) -> None:
        self._looked = time.monotonic()
        try:
            found = file.stat()
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if state == self._state:
                return
            if found.st_size > KEY_FILE_BYTES_MAX:
                raise UsageError(f"--api-key-file {file} has {found.st_size} bytes", hint="give one key a line")
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"--api-key-file {file} cannot be read: {what}", hint="give one key a line") from error
        lines = (line.strip() for line in text.splitlines())
        self._from_file = tuple(_digest(line) for line in lines if line and not line.startswith("#"))
        self._state = state


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class Guard:
    """Admits requests or refuses them."""

    def __init__(self, options: ServeOptions, keys: Keys | None = None) -> None:
        self.keys = keys if keys is not None else Keys(options.api_key, options.api_key_file)
        own = {name.lower() for name in (*_LOOPBACK_NAMES, options.host, socket.gethostname())}
        self._hosts = own | {name.lower() for name in options.allowed_hosts}
        self._any_host = "*" in self._hosts or options.host.endswith(".sock")
        # A page that rebinds a name does not know a key: those who gave keys, yet no names, may use any name.
        self._any_host |= self.keys.needed and not options.allowed_hosts
        self._origins = {origin.rstrip("/").lower() for origin in options.allowed_origins}

    def admit(self, request: Request, *, keyless: bool) -> None:
        """Let a request pass and note whose it is. Errors: RequestError (401, 403)."""
        self._check_host(request)
        self._check_origin(request)
        if not self.keys.needed:
            return
        owner = self.keys.owner(_key_of(request))
        if owner is not None:
            request.scope["state"]["owner"] = owner
        elif not keyless:
            problem = "the API key is missing" if _key_of(request) is None else "the API key is wrong"
            raise RequestError(
                problem,
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
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "X-Request-Id, Retry-After, X-Queue-Position",
            "Vary": "Origin",
        }

    def preflight_headers(self, request: Request, methods: str) -> Mapping[str, str]:
        """The answer to a browser that asks whether it may ask. Errors: RequestError (403)."""
        self._check_host(request)
        self._check_origin(request)
        return {
            **self.cors_headers(request),
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": request.headers.get("access-control-request-headers", "*")[:1000],
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host", "")
        name = _host_name(host)
        if self._any_host or not host or name in self._hosts or _is_address(name):
            return
        raise RequestError(
            f"the host {host[:100]!a} is not served here",
            status=403,
            code="host_not_allowed",
            hint="start the server with --allowed-hosts NAME",
        )

    def _check_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
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
        try:
            found = urlsplit(origin)
            name, port = (found.hostname or "").lower(), found.netloc
        except ValueError:
            return False
        if found.scheme not in ("http", "https") or not name:
            return False
        return name in _LOOPBACK_NAMES or port.lower() == request.headers.get("host", "").lower()


def _key_of(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key") or None


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Whether a host is an IP address: no name that points elsewhere tomorrow."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def read_body(request: Request, options: ServeOptions) -> bytes:
    """The whole body. Errors: RequestError 413 when it is too long, 408 when it takes too long."""
    limit = options.body_bytes_max
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > limit:
        raise _too_long(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(options.read_seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise _too_long(limit)
    except TimeoutError:
        problem = f"the body did not come within {options.read_seconds:g} s"
        raise RequestError(problem, status=408, code="timeout", headers={"Connection": "close"}) from None
    return bytes(body)


def _too_long(limit: int) -> RequestError:
    problem = f"the body has more than {limit} bytes"
    return RequestError(problem, status=413, code="body_too_large", headers={"Connection": "close"})


def check_json_type(request: Request) -> None:
    """Refuse bodies that say they are no JSON in UTF-8. Errors: RequestError (415)."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError("compressed bodies are not taken", status=415, code="unsupported_media_type")
    kind, _, parameters = request.headers.get("content-type", "application/json").partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().partition("charset=")[2].strip().strip('"')
    if (kind not in _JSON_TYPES and not kind.endswith("+json")) or charset not in ("", "utf-8", "utf8"):
        raise RequestError(
            f"the body is {request.headers.get('content-type', '')[:80]!a}",
            status=415,
            code="unsupported_media_type",
            hint="send Content-Type: application/json",
        )


def check_exposure(options: ServeOptions, keys: Keys) -> None:
    """Other machines reach a server only when it asks for a key. Errors: UsageError."""
    if not is_loopback(options.host) and not keys.needed:
        raise UsageError(
            f"host {options.host} is reached from other machines, and there is no API key",
            hint="give --api-key or --api-key-file, or listen on 127.0.0.1",
        )
