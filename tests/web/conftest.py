"""A browser, a server on the bundled model, and pages that fail their test when they break the page's promises."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright
from serving import Server, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 15_000  # on machines that do much else


@pytest.fixture(scope="module")  # while one is open, an event loop runs: other files' tests could run none
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is here; install the system's package chromium")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with served() as running:
        running.wait_until_ready()
        yield running


class Watch:
    """What a page asked for and complained of. `expected` are words of complaints that a test provokes."""

    def __init__(self, page: Any, origin: str) -> None:
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("request", lambda request: self.note(request.url, origin))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def note(self, url: str, origin: str) -> None:
        if not url.startswith((f"{origin}/", "data:", "blob:")):
            self.elsewhere.append(url)

    def check(self) -> None:
        assert self.elsewhere == []
        assert [one for one in self.complaints if not any(words in one for words in self.expected)] == []


Open = Callable[..., Any]


@contextmanager
def opened(browser: Any, url: str, **context: Any) -> Iterator[Any]:
    """A page of its own context at the server; `page.watch` says what it did."""
    preferences = context.pop("preferences", "")
    known = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **context})
    known.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = known.new_page()
    page.watch = Watch(page, url)
    if preferences:
        page.add_init_script(
            f"localStorage.getItem('pacos.preferences') ?? localStorage.setItem('pacos.preferences', {preferences!r})"
        )
    page.goto(f"{url}/")
    page.locator("#app main").wait_for()
    yield page
    page.watch.check()
    known.close()


@pytest.fixture
def open_page(browser: Any, server: Server) -> Iterator[Open]:
    """Opens pages, which are closed and checked when the test ends."""
    with ExitStack() as stack:
        yield lambda url=server.url, **context: stack.enter_context(opened(browser, url, **context))


@pytest.fixture
def page(open_page: Open) -> Any:
    return open_page()
