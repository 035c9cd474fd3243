"""Ask other machines: credentials stay with the machine that they are for, redirects are few and safe, faults are
tried again.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from pacos import __version__
from pacos.errors import DownloadError, PacosError
from pacos.formats.wording import shown
from pacos.hub.endpoints import check_online, is_local, origin

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 5  # in a row that bring nothing
BACKOFF_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 60.0
WAIT_SECONDS_MAX = 120.0  # a machine that asks for more is not waited for
_CONNECT_SECONDS, _STALL_SECONDS = 10.0, 30.0
_REDIRECTS_MAX = 5
_MOVED = {301, 302, 303, 307, 308}
_AGAIN = {408, 425, 429, 500, 502, 503, 504}

Result = TypeVar("Result")


class Again(Exception):
    """Something failed that may work when it is tried again, after `seconds` where the machine named them."""

    def __init__(self, problem: str, seconds: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.seconds = seconds


class Refused(Exception):
    """The machine answered with a status that trying again does not change."""

    def __init__(self, status: int, headers: Mapping[str, str], url: str) -> None:
        super().__init__(f"status {status} from {where(url)}")
        self.status = status
        self.headers = headers
        self.url = url


def where(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return shown(f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}")


class Web:
    """Connections; `credentials` are headers for one origin each. Safe from several threads.

    Errors: UsageError when the user wants no machine to be asked.
    """

    def __init__(self, credentials: Mapping[str, Mapping[str, str]] | None = None) -> None:
        import httpx

        check_online()
        self._credentials = {origin(url): dict(headers) for url, headers in (credentials or {}).items()}
        self.stopped = threading.Event()
        self._client = httpx.Client(
            timeout=httpx.Timeout(_STALL_SECONDS, connect=_CONNECT_SECONDS),
            headers={"User-Agent": f"pacos/{__version__}", "Accept-Encoding": "identity"},
            follow_redirects=False,
            limits=httpx.Limits(max_connections=32),
        )

    def close(self) -> None:
        """End everything, also what other threads wait for."""
        self.stopped.set()
        self._client.close()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The response to a GET, its body still to come. Its `url` is where it came from in the end.

        Errors: Again, Refused; DownloadError for redirects that cannot be followed.
        """
        import httpx

        start = url
        try:
            for _ in range(_REDIRECTS_MAX + 1):
                own = self._credentials.get(origin(url), {})
                with self._client.stream("GET", url, headers={**own, **(headers or {})}) as response:
                    if response.status_code not in _MOVED:
                        _check_status(response, url)
                        yield response
                        return
                    url = _target(url, response.headers.get("location", ""))
            raise DownloadError(f"{where(start)} leads to one address after the other", hint="try again later")
        except httpx.TransportError as error:
            raise Again(f"{where(url)}: {_reason(error)}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise DownloadError(f"{where(url)} cannot be asked: {error}", hint="check the address") from None

    def fetch(self, url: str, most_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        """A small answer and its headers. Errors: Refused; DownloadError for one that is too long, or at last."""

        def work() -> tuple[bytes, Mapping[str, str]]:
            data = bytearray()
            with self.get(url) as response:
                for piece in response.iter_raw():
                    data += piece
                    if len(data) > most_bytes:
                        raise DownloadError(f"{where(url)} sends more than {most_bytes} bytes")
                return bytes(data), response.headers

        return self.retrying(work)

    def retrying(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, tried again after pauses that grow. Errors: DownloadError at last, and its own."""
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except Again as error:
                if attempt + 1 == ATTEMPTS:
                    raise given_up(error) from error
                self.pause(attempt, error)
        raise AssertionError

    def pause(self, attempt: int, error: Again) -> None:
        """Wait before the next attempt. Errors: DownloadError when the machine wants to be left alone for long."""
        seconds = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311
        if error.seconds is not None:
            if error.seconds > WAIT_SECONDS_MAX:
                raise DownloadError(f"{error.problem}; it wants {error.seconds:.0f} s of rest", hint="try again later")
            seconds = max(0.0, error.seconds)
        if self.stopped.wait(seconds):
            raise DownloadError("the download was stopped")


def given_up(error: Again) -> PacosError:
    """The error at the end of all attempts."""
    return DownloadError(f"{error.problem}, {ATTEMPTS} times in a row", hint="pull again: it goes on where it stopped")


def _check_status(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in _AGAIN:
        raise Again(f"{where(url)} answers with status {status}", _retry_after(response.headers.get("retry-after", "")))
    if status not in (200, 206):
        raise Refused(status, response.headers, url)


def _retry_after(text: str) -> float | None:
    """Seconds that a machine asks to wait, as a number or a date."""
    if re.fullmatch(r"\d{1,12}", text):
        return float(text)
    try:
        from datetime import UTC, datetime

        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _target(url: str, location: str) -> str:
    """Where a redirect leads. Errors: DownloadError for an address that a download must not be sent to."""
    try:
        to = urljoin(url, location)
        scheme, host, _ = origin(to)
    except ValueError:
        scheme, host, to = "", "", location
    here, from_host, _ = origin(url)
    unsafe = scheme not in ("http", "https") or (here == "https" and scheme != "https")
    if not location or not host or unsafe or (is_local(host) and not is_local(from_host)):
        raise DownloadError(f"{where(url)} leads to {shown(location, 100)!r}, which is not followed")
    return to


def _reason(error: Any) -> str:
    name = type(error).__name__
    words = {"ReadTimeout": f"nothing came for {_STALL_SECONDS:.0f} s", "ConnectTimeout": "it does not answer"}
    return words.get(name) or shown(f"{error}" or name)
