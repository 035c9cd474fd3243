#!/usr/bin/env python3
"""How fast the web page opens a long conversation and how smoothly it scrolls: `python bench/page.py [MESSAGES ...]`.

Units: seconds until the last message is drawn; milliseconds of the frames while it scrolls, median and 99 of 100.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from page_acting import CHROMIUM, conversation, imported, scrolled  # noqa: E402  it lies among the tests
from serving import served  # noqa: E402

ANSWER = (
    "# Title\n\nText with `code`, $x^2$ and [a link](https://example.org/).\n\n```python\nx = 1  # one\n```\n\n"
    "| a |\n|--|\n| 1 |\n\n"
) + "\n\n".join(f"Paragraph {number}: " + "some words " * 30 for number in range(4))


def measured(page: Any, messages: int) -> tuple[float, float, float]:
    """Seconds to open a conversation, median and 99th percentile of the milliseconds of a frame."""
    title = f"{messages} messages"
    said = (ANSWER if place % 2 else f"Question {place}?" for place in range(messages))
    imported(page, conversation(*said, title=title))
    link = page.get_by_role("link", name=title)
    link.wait_for()
    begun = time.perf_counter()
    link.click()
    page.wait_for_function("count => document.querySelectorAll('.message').length === count", arg=messages)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    opened = time.perf_counter() - begun
    times, _ = scrolled(page, 150, 300)
    return opened, times[len(times) // 2], times[int(len(times) * 0.99)]


def main() -> None:
    """Measure each length in a page of its own."""
    counts = [int(one) for one in sys.argv[1:]] or [200, 1000]
    with tempfile.TemporaryDirectory() as home, served(environment={"PACOS_HOME": home}) as server:
        server.wait_until_ready()
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for count in counts:
                page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
                page.goto(server.url)
                opened, median, most = measured(page, count)
                frames = f"frames of {median:.1f} ms, 99 % within {most:.1f} ms"
                print(f"{count} messages: opened in {opened:.2f} s, {frames}")
            browser.close()


if __name__ == "__main__":
    main()
