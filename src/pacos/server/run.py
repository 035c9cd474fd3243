"""Run a server until a signal ends it: listen, open models, answer, drain."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from pacos.errors import UsageError
from pacos.log import logger
from pacos.server.app import create_app
from pacos.server.connection import connections
from pacos.server.guard import Keys, check_exposure
from pacos.server.residency import Residency
from pacos.settings.serve import ServeOptions

_BACKLOG = 2048
_FORCED_SECONDS = 2.0  # that a forced end may take


def serve(residency: Residency, options: ServeOptions, *, ready: Callable[[str], None] = lambda url: None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. The first signal drains, a second one ends it at once.

    `ready` gets the address once it is listened on; the models are opened after that.
    Errors: UsageError for options that contradict each other or an address that cannot be listened on; when none of
    the models can be opened, what the first one's opening raised.
    """
    check_exposure(options, Keys(options.api_key, options.api_key_file))
    _check_tls(options)
    sockets = listen(options)
    try:
        return asyncio.run(_serve(residency, options, sockets, ready))
    finally:
        for one in sockets:
            one.close()
        if options.host.endswith(".sock"):
            with suppress(OSError):
                Path(options.host).unlink()


async def _serve(
    residency: Residency, options: ServeOptions, sockets: Sequence[socket.socket], ready: Callable[[str], None]
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
        timeout_graceful_shutdown=options.drain_seconds,  # type: ignore[arg-type]
        h11_max_incomplete_event_size=options.header_bytes_max,
        ssl_keyfile=options.ssl_key_file or None,
        ssl_certfile=options.ssl_cert_file or None,
    )
    server = _Server(config)
    opening = asyncio.ensure_future(_open_ahead(residency, server))
    url = address(options, sockets)
    logger(__name__).info("listening on %s", url)
    ready(url)
    try:
        await server.serve(sockets=list(sockets))
    finally:
        opening.cancel()
        (failure,) = await asyncio.gather(opening, return_exceptions=True)
    if isinstance(failure, Exception):
        raise failure
    return 130 if server.force_exit else 0


async def _open_ahead(residency: Residency, server: uvicorn.Server) -> None:
    try:
        await residency.open_ahead(name for name, spec in residency.specs.items() if spec.ahead)
    except Exception:
        server.should_exit = True
        raise


def _end_soon() -> None:
    time.sleep(_FORCED_SECONDS)
    os._exit(130)


class _Server(uvicorn.Server):
    """uvicorn's server with our way to end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at once at the second."""
        if self.should_exit:
            self.force_exit = True
            # What is being computed or opened must not keep the process: a second signal means now.
            threading.Thread(target=_end_soon, daemon=True).start()
        else:
            self.should_exit = True
            logger(__name__).info("stopping: running requests have %g s", self.config.timeout_graceful_shutdown or 0)


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


def _check_tls(options: ServeOptions) -> None:
    if bool(options.ssl_key_file) != bool(options.ssl_cert_file):
        given, missing = ("key", "cert") if options.ssl_key_file else ("cert", "key")
        raise UsageError(f"--ssl-{given}-file is given without --ssl-{missing}-file", hint="TLS needs both")
    for name, file in (("--ssl-key-file", options.ssl_key_file), ("--ssl-cert-file", options.ssl_cert_file)):
        if file and not Path(file).is_file():
            raise UsageError(f"{name} {file} is no file", hint="give a PEM file")
