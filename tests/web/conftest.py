"""A browser, a server on the bundled model, and pages that fail their test when they break the page's promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from page_acting import CHROMIUM, opened
from playwright.sync_api import sync_playwright
from serving import Server, served

Open = Callable[..., Any]


@pytest.fixture(scope="module")  # while one is open, an event loop runs: other files' tests could run none
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is here; install the system's package chromium")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with served() as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def open_page(browser: Any, server: Server) -> Iterator[Open]:
    """Opens pages, which are closed and checked when the test ends."""
    with ExitStack() as stack:
        yield lambda url=server.url, **context: stack.enter_context(opened(browser, url, **context))


@pytest.fixture
def page(open_page: Open) -> Any:
    return open_page()
