"""Run a server until a signal ends it: listen, open models, answer, drain."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from pacos.errors import UsageError
from pacos.log import logger
from pacos.server.app import create_app
from pacos.server.background import held
from pacos.server.connection import connections
from pacos.server.dialects.responses.folder import ResponseFolder
from pacos.server.guard import check_exposure
from pacos.server.keys import Keys
from pacos.server.requests import Requests
from pacos.server.residency import Residency
from pacos.sessions import Sessions
from pacos.settings.serve import ServeOptions

if TYPE_CHECKING:
    import ssl

_BACKLOG = 2048
_FILES_BESIDE = 256  # open files that are no connections
_FORCED_SECONDS = 0.15  # that a forced end may take
_FLUSH_SECONDS = 1  # for the last words to those who were cut short


def serve(residency: Residency, options: ServeOptions, *, background: bool = False) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. The first signal drains, a second one ends it at once.

    Models are opened once it listens. `background` makes it the one that `pacos.server.background` knows.
    Errors: UsageError for options that contradict each other or an address that cannot be listened on; when none of
    the models can be opened, what the first one's opening raised.
    """
    check_exposure(options, Keys(options.api_key, options.api_key_file))
    tls_context(options)
    if options.responses_dir:
        ResponseFolder(options.responses_dir)  # said here, since what the application raises is told as a fault
    if options.conversations:
        Sessions().close()  # as above
    _raise_file_limit(options.connections_max)
    sockets = listen(options)
    url = address(options, sockets)
    try:
        return asyncio.run(_serve(residency, options, sockets, url, background=background))
    finally:
        for one in sockets:
            one.close()
        if options.host.endswith(".sock"):
            with suppress(OSError):
                Path(options.host).unlink()


async def _serve(
    residency: Residency, options: ServeOptions, sockets: Sequence[socket.socket], url: str, *, background: bool
) -> int:
    app = create_app(residency, options)
    config = uvicorn.Config(
        app,
        http=connections(options),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=options.idle_seconds,  # type: ignore[arg-type]  # it takes fractions too
        timeout_graceful_shutdown=options.drain_seconds + _FLUSH_SECONDS,  # type: ignore[arg-type]
        h11_max_incomplete_event_size=options.header_bytes_max,
    )
    config.load()
    config.ssl = tls_context(options)
    if config.ssl is not None:  # uvicorn leaves the time for a handshake to asyncio: a minute
        loop = asyncio.get_running_loop()
        started = functools.partial(loop.create_server, ssl_handshake_timeout=options.head_seconds)
        loop.create_server = started  # type: ignore[method-assign]
    server = _Server(config, app.state.requests, options.drain_seconds)
    opening = asyncio.ensure_future(_open_ahead(residency, server))
    logger(__name__).info("listening on %s", url)
    try:
        with held(url) if background else nullcontext():
            await server.serve(sockets=list(sockets))
    finally:
        opening.cancel()
        (failure,) = await asyncio.gather(opening, return_exceptions=True)
    if isinstance(failure, Exception):
        raise failure
    return server.exit_code


async def _open_ahead(residency: Residency, server: uvicorn.Server) -> None:
    try:
        await residency.open_ahead(name for name, spec in residency.specs.items() if spec.ahead)
    except Exception:
        server.should_exit = True
        raise


class _Server(uvicorn.Server):
    """uvicorn's server with our way to end."""

    def __init__(self, config: uvicorn.Config, requests: Requests, drain_seconds: float) -> None:
        super().__init__(config)
        self.exit_code = 0
        self._requests = requests
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at once at the second."""
        if self.should_exit:
            self.force_exit = True
            self.exit_code = 128 + sig
            # What is being computed or opened must not keep the process: a second signal means now.
            threading.Thread(target=_end_soon, args=(self.exit_code,), daemon=True).start()
        else:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse who waits, let who runs end, cut short who is not done by then."""
        logger(__name__).info("stopping: %d running requests have %g s", self._requests.running, self._drain_seconds)
        self._requests.drain()
        late = asyncio.get_running_loop().call_later(self._drain_seconds, self._requests.cut_short)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()


def _end_soon(code: int) -> None:
    time.sleep(_FORCED_SECONDS)
    os._exit(code)


def _raise_file_limit(connections_max: int) -> None:
    """Ask the system for as many open files as there may be connections."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + _FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            logger(__name__).warning(
                "the system allows %d open files: fewer than %d connections", most, connections_max
            )


def address(options: ServeOptions, sockets: Sequence[socket.socket]) -> str:
    """The URL of a server, with the port that it got."""
    if options.host.endswith(".sock"):
        return f"unix:{options.host}"
    scheme = "https" if options.ssl_cert_file else "http"
    host, port = sockets[0].getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def listen(options: ServeOptions) -> list[socket.socket]:
    """Sockets on the address of the options. Errors: UsageError."""
    try:
        if options.host.endswith(".sock"):
            return [_unix_socket(Path(options.host))]
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there it would let two servers share a port
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(where)
            made.listen(_BACKLOG)
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        hint = "stop the other server, or give another --port" if taken else "give another --host or --port"
        where_text = options.host if options.host.endswith(".sock") else f"{options.host} port {options.port}"
        raise UsageError(f"cannot listen on {where_text}: {error.strerror or error}", hint=hint) from error
    return [made]


def _unix_socket(path: Path) -> socket.socket:
    """A socket that only its owner may use; one that a crashed server left is replaced."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def tls_context(options: ServeOptions) -> ssl.SSLContext | None:
    """What TLS needs, from 1.2 on; None without TLS. Errors: UsageError for files that are missing or do not fit."""
    if bool(options.ssl_key_file) != bool(options.ssl_cert_file):
        given, missing = ("key", "cert") if options.ssl_key_file else ("cert", "key")
        raise UsageError(f"--ssl-{given}-file is given without --ssl-{missing}-file", hint="TLS needs both")
    if not options.ssl_key_file:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    key, certificate = options.ssl_key_file, options.ssl_cert_file
    try:
        if os.name == "posix" and Path(key).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger(__name__).warning("others on this machine may read %s; chmod 600 keeps it secret", key)
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problem = f"TLS cannot start with {certificate} and {key}: {what}"
        raise UsageError(problem, hint="give a certificate and its key in PEM, without a password") from error
    return context
