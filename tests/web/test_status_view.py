"""The status view in a browser: live numbers and charts, models that are opened and closed, the drawing of a plan."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from page_acting import frames
from patience import SECONDS
from playwright.sync_api import expect
from serving import Server, served

Open = Any
ENDLESS = {"messages": [{"role": "user", "content": "Tell me a story."}], "stream": True, "ignore_eos": True}


def look(page: Any) -> None:
    page.locator(".views a", has_text="Status").click()
    page.locator(".tiles").wait_for()


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """While the block runs, so is an answer."""
    going, enough = threading.Event(), threading.Event()

    def ask() -> None:
        while not enough.is_set():
            with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=ENDLESS, timeout=SECONDS) as reply:
                for _ in reply.iter_lines():
                    going.set()
                    if enough.is_set():
                        return

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert going.wait(SECONDS)
        yield
    finally:
        enough.set()
        asking.join()


def test_what_runs_is_shown_and_drawn(page: Any, server: Server) -> None:
    look(page)
    with busy(server):
        card = page.get_by_role("article", name="storyteller")
        expect(card.locator("tbody tr").first).to_contain_text("writes")
        expect(card.get_by_role("button", name="Close")).to_be_disabled()
        chart = page.get_by_role("img", name="Tokens a second. generated: now")
        expect(chart).to_have_accessible_name(re.compile(r"generated: now \S+, at most [1-9]"))
        expect(page.get_by_role("img", name="Time to first token. median: now")).to_be_visible()
        assert chart.locator("canvas").bounding_box()["width"] > 200
    expect(card.locator("table")).to_have_count(0)
    expect(card.get_by_role("button", name="Close")).to_be_enabled()


def test_the_pointer_tells_the_past(page: Any) -> None:
    look(page)
    chart = page.get_by_role("img", name="Memory. this process: now")
    expect(chart).to_be_visible()
    spot = chart.locator(".u-over").bounding_box()
    page.mouse.move(spot["x"] + spot["width"] - 2, spot["y"] + 40)
    expect(page.locator(".chart", has=chart).locator(".line b")).to_contain_text("MB")


def test_the_plan_of_a_model_is_drawn(page: Any) -> None:
    look(page)
    page.get_by_role("article", name="storyteller").get_by_role("button", name="Plan").click()
    plan = page.get_by_role("region", name="Plan of storyteller")
    expect(plan.locator(".part-name")).to_have_text(["Input", "Layers 0–3", "Output"])
    layers = plan.locator(".parts > li.many")
    expect(layers.locator("summary")).to_contain_text("4 × 838 kB = 3.4 MB")
    expect(layers.locator(".weight", has_text="ffn_down")).to_contain_text("Q8_0 256 × 768 209 kB")
    expect(layers.locator(".operations > li", has_text="attention")).to_contain_text("cache of keys and values")
    expect(plan.locator(".parts > li").last).to_contain_text("as before")
    expect(plan.locator(".legend li").first).to_contain_text("Q8_0 3.9 MB (100 %), 29 tensors")
    plan.get_by_label("sequences").fill("10")
    plan.get_by_label("tokens", exact=True).fill("1000")
    expect(plan.locator("output")).to_have_text("20 MB, with the weights 24 MB")
    layers.locator("summary").click()
    expect(layers.locator(".operations")).to_be_hidden()
    plan.get_by_role("button", name="Close the plan").click()
    expect(plan).to_have_count(0)


def test_models_are_closed_and_a_server_that_was_away_is_found_again(open_page: Open) -> None:
    with served("<u>m=storyteller") as server:
        server.wait_until_ready()
        port = urlsplit(server.url).port or 0
        page = open_page(server.url)
        look(page)
        card = page.get_by_role("article")
        expect(card.locator("h3")).to_have_text("<u>m")
        card.get_by_role("button", name="Close").click()
        expect(page.locator(".notice")).to_contain_text("<u>m is closed.")
        expect(page.locator(".status")).to_contain_text("None: the first question opens one.")
        page.watch.expected = ("Failed to load resource",)
    expect(page.locator(".status .ending")).to_have_text("The server cannot be reached. It is asked again.")
    with served("<u>m=storyteller", port=port):
        expect(page.locator(".status .ending")).to_have_count(0)
        expect(card.locator("h3")).to_have_text("<u>m")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Open, server: Server, theme: str) -> None:
    page = open_page(color_scheme=theme)
    look(page)
    page.get_by_role("button", name="Plan").click()
    page.locator(".parts").wait_for()
    with busy(server):
        page.locator("tbody tr").wait_for()
        found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    line = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--chart-1')")
    assert (line == "#4fc4b5") == (theme == "dark")


def test_it_fits_a_phone(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Show conversations").click()
    look(page)
    page.get_by_role("button", name="Plan").click()
    page.locator(".parts").wait_for()
    assert page.evaluate("document.querySelector('.status').scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".chart").first.bounding_box()["width"] > 300


def test_rows_are_joined_and_layers_are_told_as_ranges(page: Any) -> None:
    joined = """async ([older, newer, seconds]) =>
        (await import(new URL('./status/source.js', document.baseURI))).joined(older, newer, seconds)"""
    first = {"time": [1, 2, 3], "running": [0, 1, 2]}
    assert page.evaluate(joined, [None, first, 300]) == first
    assert page.evaluate(joined, [first, {"time": [], "running": []}, 300]) == first
    assert page.evaluate(joined, [first, {"time": [4], "running": [5]}, 3]) == {"time": [2, 3, 4], "running": [1, 2, 5]}
    away = page.evaluate(joined, [first, {"time": [100], "running": [7]}, 300])
    assert away == {"time": [1, 2, 3, 4, 100], "running": [0, 1, 2, None, 7]}
    ranges = "async (numbers) => (await import(new URL('./status/plan.js', document.baseURI))).rangesText(numbers)"
    assert page.evaluate(ranges, [0, 1, 2, 4, 6, 7]) == "0–2, 4, 6–7"
    assert page.evaluate(ranges, [5]) == "5"


def test_leaving_the_view_leaves_nothing_behind(page: Any) -> None:
    look(page)
    page.get_by_role("img", name="Tokens a second").first.wait_for()
    page.locator(".views a", has_text="Playground").click()
    page.locator("main").get_by_role("textbox").first.wait_for()
    frames(page)  # what was observed is told a frame later; the page's fixture fails for an error
