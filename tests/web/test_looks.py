"""The page on a phone, in the dark, for those who do not see it, and when a conversation is long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_acting import ask, conversation, imported, scrolled
from playwright.sync_api import expect

Open = Any
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
RICH = (
    "# Title\n\nText with `code`, $x^2$ and [a link](https://example.org/).\n\n```python\nx = 1  # one\n```\n\n"
    "| a |\n|--|\n| 1 |"
)


def found_by_axe(page: Any, part: str = "body") -> list[str]:
    """What axe finds serious or critical."""
    found = Axe().run(page, context=part, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]} {node['any'][:1]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


def test_a_phone_shows_all_of_it(open_page: Open) -> None:
    page = open_page(**PHONE)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    expect(page.locator(".sidebar")).to_be_hidden()
    ask(page, "Tell me a story.")
    page.get_by_role("button", name="Show conversations").tap()
    expect(page.locator(".sidebar")).to_be_visible()
    imported(
        page, conversation("Rich?", RICH + "\n\n" + "wide" * 100 + "\n\n```\n" + "wide " * 100 + "\n```", title="Rich")
    )
    page.get_by_role("link", name="Rich").tap()
    expect(page.locator(".sidebar")).to_be_hidden()
    expect(page.locator(".markdown h1")).to_be_visible()
    assert page.evaluate(fits)
    small = page.evaluate(
        """[...document.querySelectorAll("main button, main a, main summary")].filter((one) => {
            const { width, height } = one.getBoundingClientRect();
            return one.checkVisibility() && !one.closest(".markdown") && (width < 24 || height < 24);
        }).map((one) => one.outerHTML.slice(0, 100))"""
    )
    assert small == []
    page.get_by_role("button", name="Options").tap()
    expect(page.locator("#options")).to_be_in_viewport()
    assert page.evaluate(fits)
    page.goto(page.url.partition("#")[0] + "#/playground")
    expect(page.get_by_role("button", name="Run")).to_be_visible()
    assert page.evaluate(fits)


def brightness(page: Any) -> float:
    """Of the page's background, 0 to 255."""
    return float(
        page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number).sort()[1]"
        )
    )


def test_dark_follows_the_system_or_the_choice(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    assert brightness(page) < 60
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert brightness(page) > 200
    theme = page.get_by_role("button", name="Theme: system")
    theme.click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert brightness(page) < 60
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert brightness(page) < 60


def test_axe_finds_nothing_serious(open_page: Open) -> None:
    thought = conversation("Rich?", RICH, title="Rich")
    thought["messages"][1] |= {"reasoning": "Hm.", "state": "stopped"}
    thought["messages"][0]["attachments"] = [{"name": "a.txt", "size": 1, "text": "x"}]
    page = open_page()
    assert found_by_axe(page, ".thread") == []
    for theme in ("light", "dark"):
        page.evaluate("theme => localStorage.setItem('pacos.preferences', JSON.stringify({ theme }))", theme)
        page.reload()
        imported(page, thought)
        page.locator(".entry a").first.click()
        page.locator(".thought summary").click()
        page.wait_for_function("() => document.querySelector('.katex') && document.querySelector('.hljs-number')")
        page.get_by_role("button", name="Options").click()
        expect(page.locator(".option").first).to_be_visible()
        page.get_by_role("button", name="More for this conversation").click()
        assert found_by_axe(page) == [], theme
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Delete message").last.click()
        expect(page.locator("dialog")).to_be_visible()
        assert found_by_axe(page, "dialog") == [], theme
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Playground").click()
        expect(page.get_by_role("tab", selected=True)).to_be_visible()
        assert found_by_axe(page, ".playground") == [], theme
        page.get_by_role("link", name="Chat").click()


def test_two_hundred_messages_scroll_smoothly(page: Any) -> None:
    text = RICH + "\n\n" + "\n\n".join(f"Paragraph {number}: " + "some words " * 30 for number in range(4))
    imported(page, conversation(*(text if place % 2 else f"Question {place}?" for place in range(200)), title="Long"))
    page.get_by_role("link", name="Long").click()
    expect(page.locator(".message")).to_have_count(200)
    expect(page.locator(".message").last).to_be_in_viewport()
    seen = []
    for _ in range(5):  # a machine that does much else leaves out frames of a page that stands still, too
        (still, _), (times, moved) = scrolled(page, 0, 90), scrolled(page, 150, 90)
        assert moved > 10_000
        seen.append([times[place] / still[place] for place in (45, 81)])  # half of them at most, and nine of ten
        if seen[-1][0] < 2 and seen[-1][1] < 4:
            return
    pytest.fail(f"frames take so many times as long as those of a page that stands still: {seen}")


def test_the_playground_holds_answers_to_a_form(page: Any) -> None:
    page.get_by_role("link", name="Playground").click()
    box = page.get_by_label("JSON schema").and_(page.locator("textarea"))
    good = box.input_value()
    box.fill('{"type": "object",\n  oops}')
    expect(page.get_by_role("alert")).to_contain_text("line 2, column 3")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    box.fill(good)
    page.get_by_role("button", name="Run").click()
    result = page.locator(".result").first
    expect(page.locator(".verdict").first).to_have_text("Complete JSON")
    made = json.loads(result.inner_text())
    assert sorted(made) == ["age", "friends", "kind", "name"]
    assert made["kind"] in {"dragon", "dog", "rabbit"}
    page.get_by_role("tab", name="Choices").click()
    page.get_by_role("button", name="Run").click()
    page.wait_for_function("() => ['happy', 'sad', 'angry'].includes(document.querySelector('.result').textContent)")
    page.get_by_text("Request for a shell").click()
    expect(page.locator(".result").last).to_contain_text('"choice"')


def test_the_playground_calls_tools_and_takes_their_results(page: Any) -> None:
    page.get_by_role("link", name="Playground").click()
    page.get_by_role("tab", name="Tools").click()
    page.get_by_role("button", name="Run").click()
    call = page.locator(".call")
    expect(call.first.locator("header")).to_have_text("get_weather")
    expect(page.get_by_role("button", name="Send results")).to_be_enabled()
    assert set(json.loads(call.first.locator(".result").inner_text())) == {"place", "unit"}
    call.first.get_by_label("Its result").fill('{"sky": "clear"}')
    with page.expect_request("**/v1/chat/completions") as found:
        page.get_by_role("button", name="Send results").click()
    messages = json.loads(found.value.post_data)["messages"]
    assert [one["role"] for one in messages][:3] == ["user", "assistant", "tool"]
    assert messages[2]["content"] == '{"sky": "clear"}'
    expect(page.get_by_role("button", name="Run")).to_be_enabled()
    expect(page.locator(".ending.bad")).to_have_count(0)
