"""TLS: H-26 of the catalogue, on a real socket.

The pair in tests/data/tls says localhost and 127.0.0.1 for a hundred years; it was made with `openssl req -x509
-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 36500 -nodes -subj /CN=localhost -addext
subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem`.
"""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from patience import SECONDS
from serving import Server, served

from pacos.errors import UsageError
from pacos.server.run import tls_context
from pacos.settings.serve import ServeOptions

DATA = Path(__file__).parents[1] / "data" / "tls"
CERTIFICATE, KEY = DATA / "cert.pem", DATA / "key.pem"


PAIR = ("--ssl-cert-file", str(CERTIFICATE), "--ssl-key-file", str(KEY))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served("storyteller", *PAIR) as running:
        yield running


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=SECONDS)


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def test_h_26_handshake_of_a_client_that_knows_the_certificate(server: Server) -> None:
    assert server.url.startswith("https://127.0.0.1:")
    with httpx.Client(verify=trusting(), base_url=server.url) as client:
        assert client.get("/health").status_code in {200, 503}
        body = {"prompt": "Once", "max_tokens": 3}
        while (reply := client.post("/v1/completions", json=body)).status_code == 503:
            time.sleep(0.05)
        assert reply.json()["usage"]["completion_tokens"] == 3
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/health")


def test_h_26_versions_before_1_2_are_refused(server: Server) -> None:
    old = trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1
    with connect(server) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="localhost")


def test_h_26_stalled_handshake_is_dropped() -> None:
    with served("storyteller", *PAIR, "--head-timeout", "1") as server, connect(server) as connection:
        began = time.monotonic()
        connection.sendall(b"\x16\x03\x01")
        assert connection.recv(100) == b""
        assert time.monotonic() - began > 0.1, "it had time to go on"


def test_h_01_plain_request_to_a_tls_port(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in connection.recv(1000)
    with httpx.Client(verify=trusting()) as client:
        assert client.get(f"{server.url}/health").status_code in {200, 503}


def test_h_26_key_that_does_not_fit_or_is_none(tmp_path: Path) -> None:
    other = tmp_path / "key.pem"
    other.write_text(CERTIFICATE.read_text())
    for key, certificate in ((other, CERTIFICATE), (KEY, KEY), (tmp_path / "none", CERTIFICATE)):
        with pytest.raises(UsageError, match="TLS cannot start"):
            tls_context(ServeOptions(ssl_key_file=str(key), ssl_cert_file=str(certificate)))


def test_h_26_key_that_others_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(KEY.read_bytes())
    options = ServeOptions(ssl_key_file=str(key), ssl_cert_file=str(CERTIFICATE))
    for mode, warned in ((0o600, False), (0o644, True)):
        key.chmod(mode)
        caplog.clear()
        assert tls_context(options) is not None
        assert ("chmod 600" in caplog.text) == warned
