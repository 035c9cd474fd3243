"""Options of the HTTP server; names follow llama-server's where it has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.settings.option import check, option

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*", re.ASCII)


def _parts(value: Any) -> Any:
    """A list from "a,b,c"."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _prefix(value: Any) -> Any:
    """A path without a slash at its end. Errors: UsageError."""
    found = value.rstrip("/") if isinstance(value, str) else value
    if isinstance(found, str) and not _PREFIX.fullmatch(found):
        raise UsageError(f"api_prefix is {value[:80]!a}", hint="use a path of letters, digits and -._~, such as /llm")
    return found


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How models are served over HTTP."""

    host: str = option(
        "127.0.0.1",
        flags=("--host",),
        help="Address to listen on, or the path of a unix socket, NAME.sock; any but loopback needs an API key.",
    )
    port: int = option(8080, flags=("--port",), minimum=0, maximum=65535, help="Port to listen on; 0 takes a free one.")
    api_key: tuple[str, ...] = option(
        (), flags=("--api-key",), parse=_parts, most=1024, help="Key that clients must send; repeatable."
    )
    api_key_file: str = option(
        "",
        flags=("--api-key-file",),
        metavar="FILE",
        help="File of keys, each in a line, as KEY or NAME:KEY; read again when it changes.",
    )
    insecure_no_auth: bool = option(False, flags=("--insecure-no-auth",), help="Let other machines in without a key.")
    alias: tuple[str, ...] = option(
        (), flags=("--alias", "-a"), parse=_parts, most=64, help="Another name of the first model; repeatable."
    )
    models_file: str = option(
        "", flags=("--models-file",), metavar="FILE", help="TOML file of models and their settings."
    )
    models_dir: str = option(
        "",
        flags=("--models-dir",),
        metavar="FOLDER",
        help="Folder whose models are offered too, also those in folders of it; each is opened when it is asked for.",
    )
    models_preset: str = option(
        "",
        flags=("--models-preset",),
        metavar="FILE",
        help="INI file with a section of arguments for each model, and [*] for all, as llama-server's.",
    )
    models_max: int = option(
        0,
        flags=("--models-max",),
        minimum=0,
        maximum=1 << 20,
        help="Most models that are open at a time: the longest unused one is closed for another; 0 is no limit.",
    )
    models_autoload: bool = option(
        True,
        flags=("--models-autoload",),
        off_flags=("--no-models-autoload",),
        help="Open a model when a request names it; else only POST /models/load does.",
    )
    store: bool = option(
        True,
        flags=("--store",),
        off_flags=("--no-store",),
        help="Offer the models of the store too, opened when they are asked for; clients may pull and remove some.",
    )
    memory_limit: float = option(
        0.0, flags=("--memory-limit",), minimum=0, maximum=1e6, help="GB that all open models may take; 0 is no limit."
    )
    keep_alive_seconds: float = option(
        -1.0,
        flags=("--keep-alive",),
        minimum=-1,
        maximum=1e9,
        help="Seconds that an unused model stays open; -1 is for ever.",
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        flags=("--allowed-hosts",),
        parse=_parts,
        most=256,
        help="Names that the Host header may have beside loopback and this machine's own; * is any. Repeatable.",
    )
    allowed_origins: tuple[str, ...] = option(
        (),
        flags=("--allowed-origins", "--cors-origins"),
        parse=_parts,
        most=256,
        help="Web pages (https://name:port) whose scripts may ask, beside the server's own; * is any. Repeatable.",
    )
    ui: bool = option(True, flags=("--ui",), off_flags=("--no-ui",), help="Serve the web page at /.")
    path: str = option("", flags=("--path",), metavar="DIR", help="Folder of another web page that is served instead.")
    conversations: bool = option(
        False,
        flags=("--conversations",),
        help="Let users of the web page keep conversations on this machine; without keys, `pacos chat` has the same.",
    )
    responses_dir: str = option(
        "",
        flags=("--responses-dir",),
        metavar="FOLDER",
        help="Folder where responses of /v1/responses outlive the server; else the latest ones are kept in memory.",
    )
    api_prefix: str = option(
        "",
        flags=("--api-prefix",),
        normal=_prefix,
        metavar="PATH",
        help="Path under which everything is served, such as /llm, for a proxy that gives the rest to others.",
    )
    ssl_key_file: str = option("", flags=("--ssl-key-file",), metavar="FILE", help="Private key for TLS, PEM.")
    ssl_cert_file: str = option("", flags=("--ssl-cert-file",), metavar="FILE", help="Certificate for TLS, PEM.")
    body_bytes_max: int = option(
        16 << 20, flags=("--max-body",), minimum=1024, maximum=1 << 32, help="Most bytes of a request's body."
    )
    header_bytes_max: int = option(
        32 << 10, flags=("--max-header",), minimum=1024, maximum=1 << 24, help="Most bytes of a request's head."
    )
    connections_max: int = option(
        2048, flags=("--max-connections",), minimum=1, maximum=1 << 20, help="Most connections at a time."
    )
    requests_max: int = option(
        1024,
        flags=("--max-requests",),
        minimum=1,
        maximum=1 << 20,
        help="Most requests at a time, waiting ones included.",
    )
    head_seconds: float = option(
        10.0,
        flags=("--head-timeout",),
        above=0,
        maximum=1e6,
        help="Seconds that a client has to send a request's head.",
    )
    body_seconds: float = option(
        300.0,
        flags=("--body-timeout",),
        above=0,
        maximum=1e6,
        help="Seconds that a client has to send a body; one that sends under 1 KiB/s for 10 s is dropped before.",
    )
    queue_seconds: float = option(
        120.0, flags=("--queue-timeout",), above=0, maximum=1e6, help="Seconds that a request may wait for its turn."
    )
    request_seconds: float = option(
        600.0,
        flags=("--timeout", "-to"),
        above=0,
        maximum=1e6,
        help="Seconds that a request may take which is answered at once; streams have no such limit.",
    )
    idle_seconds: float = option(
        15.0, flags=("--idle-timeout",), above=0, maximum=1e6, help="Seconds that an unused connection stays open."
    )
    slow_client_seconds: float = option(
        30.0,
        flags=("--write-timeout",),
        above=0,
        maximum=1e6,
        help="Seconds after which a client that takes no byte is dropped.",
    )
    stream_ping_seconds: float = option(
        15.0,
        flags=("--sse-ping-interval",),
        above=0,
        maximum=1e6,
        help="Seconds of silence after which a stream gets a comment.",
    )
    drain_seconds: float = option(
        30.0,
        flags=("--drain",),
        minimum=0,
        maximum=1e6,
        help="Seconds that running requests have to end when the server stops; 0 cuts them short.",
    )
    stall_seconds: float = option(
        30.0,
        flags=("--stall-timeout",),
        above=0,
        maximum=1e6,
        help="Seconds without a step, while there is work, after which /health says stalled.",
    )
    slots: bool = option(
        True, flags=("--slots",), off_flags=("--no-slots",), help="Show at /slots what is being answered."
    )
    slot_save_path: str = option(
        "",
        flags=("--slot-save-path",),
        metavar="FOLDER",
        help="Folder where /slots may save computed texts; none by default.",
    )
    metrics: bool = option(False, flags=("--metrics",), help="Serve numbers for Prometheus at /metrics.")
    log_format: str = option("text", flags=("--log-format",), choices=("text", "json"), help="Form of the log's lines.")
    log_requests: bool = option(
        True, flags=("--log-requests",), off_flags=("--no-log-requests",), help="Log a line for each request."
    )

    def __post_init__(self) -> None:
        check(self)
