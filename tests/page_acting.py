"""What people do on the page, for its tests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from patience import SECONDS
from playwright.sync_api import expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Answers that do not end by themselves: the bundled model is too quick to be stopped otherwise.
ENDLESS = json.dumps({"options": {"ignore_eos": True, "context_policy": "shift"}})


def send(page: Any, text: str) -> None:
    """Write a message and send it."""
    page.fill("#composer", text)
    page.press("#composer", "Enter")


def answered(page: Any) -> Any:
    """The last answer, once it is complete."""
    expect(page.locator(".message").last).to_have_class(re.compile("assistant"))
    expect(page.locator(".message.live")).to_have_count(0)
    last = page.locator(".message.assistant").last
    expect(last.locator(".markdown")).not_to_be_empty()
    return last


def ask(page: Any, text: str) -> str:
    """Send a message and wait for the answer."""
    count = page.locator(".message.assistant").count()
    send(page, text)
    expect(page.locator(".message.assistant")).to_have_count(count + 1)
    return str(answered(page).locator(".markdown").inner_text())


def growing(page: Any, characters: int = 200) -> Any:
    """The answer under way, once it has so many characters."""
    live = page.locator(".message.live .markdown")
    live.wait_for()
    page.wait_for_function(
        "count => (document.querySelector('.message.live .markdown')?.textContent.length ?? 0) > count", arg=characters
    )
    return page.locator(".message.live")


def frames(page: Any, count: int = 2) -> None:
    """Let the page draw some frames, with what is told at their ends."""
    page.evaluate(
        """async (count) => {
            while (count--) await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        }""",
        count,
    )


def scrolled(page: Any, pixels: int, steps: int) -> tuple[list[float], float]:
    """Scroll a conversation down from its top; gives the sorted milliseconds of the frames, and how far it came."""
    times, moved = page.evaluate(
        """async ([pixels, steps]) => {
            const scroller = document.querySelector(".scroller");
            const frame = () => new Promise(requestAnimationFrame);
            scroller.scrollTop = 0;
            for (let wait = 0; wait < 5; wait++) await frame();
            const times = [];
            let last = await frame();
            for (let step = 0; step < steps; step++) {
                scroller.scrollTop += pixels;
                const now = await frame();
                times.push(now - last);
                last = now;
            }
            return [times.sort((a, b) => a - b), scroller.scrollTop];
        }""",
        [pixels, steps],
    )
    return times, moved


def imported(page: Any, *conversations: dict[str, Any]) -> None:
    """Bring conversations into the page by its import."""
    text = json.dumps({"format": "pacos.conversations", "version": 1, "conversations": conversations})
    chosen = page.locator("input[aria-label='Conversations']")
    chosen.set_input_files({"name": "some.json", "mimeType": "application/json", "buffer": text.encode()})
    page.locator(".notice.good").get_by_role("button", name="Dismiss").click()


def conversation(*contents: str, title: str = "Imported", **more: Any) -> dict[str, Any]:
    """A conversation as a file has it: user and assistant take turns."""
    messages = [
        {
            "id": str(place),
            "parent": str(place - 1) if place else None,
            "role": ("user", "assistant")[place % 2],
            "content": content,
            "created": 1_700_000_000_000 + place,
        }
        for place, content in enumerate(contents)
    ]
    head = {"id": "c", "title": title, "created": 1, "updated": 1, "leaf": str(len(contents) - 1), **more}
    return {"conversation": head, "messages": messages}


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
        left = [one for one in self.complaints if not any(words in one for words in self.expected)]
        assert left == [], "\n".join(left)


@contextmanager
def opened(browser: Any, url: str, **context: Any) -> Iterator[Any]:
    """A page of its own context at the server; `page.watch` says what it did."""
    preferences = context.pop("preferences", "")
    known = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **context})
    known.set_default_timeout(1000 * SECONDS)
    expect.set_options(timeout=1000 * SECONDS)
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
