"""The page stays at the end of an answer, however fast it grows, until its reader goes up."""

from __future__ import annotations

import json
from typing import Any

from page_acting import answered, conversation, frames, imported, send
from playwright.sync_api import expect

# What a view does with a place of 600 pixels: [height of what is shown, what happens, where the reader put it].
FOLLOW = """async (steps) => {
    const { Following } = await import(new URL("./js/following.js", document.baseURI));
    const place = { clientHeight: 600, scrollHeight: 0, top: 0,
        get scrollTop() { return this.top },
        set scrollTop(top) { this.top = Math.max(0, Math.min(top, this.scrollHeight - this.clientHeight)) } };
    const following = new Following();
    return steps.map(([height, what, top]) => {
        place.scrollHeight = height;
        place.scrollTop = top ?? place.scrollTop;
        if (what) following[what](place);
        return following.on ? Math.max(0, height - 600) - place.scrollTop : null;
    });
}"""
AT_END = """() => {
    const { scrollHeight, scrollTop, clientHeight } = document.querySelector(".scroller");
    return scrollHeight - scrollTop - clientHeight < 2;
}"""
# Lets the answer grow after the page went to its end, and before the browser tells that it was scrolled.
GROW_BETWEEN = """async () => {
    const messages = document.querySelector(".messages");
    const grow = () => messages.append(document.createElement("p"), "more ".repeat(900));
    const sizes = new ResizeObserver(() => setTimeout(grow));
    sizes.observe(messages);
    for (let frame = 0; frame < 40; frame++) await new Promise(requestAnimationFrame);
    sizes.disconnect();
}"""


def test_only_the_reader_leaves_the_end(page: Any) -> None:
    def followed(*steps: tuple[Any, ...]) -> list[int | None]:
        return list(page.evaluate(FOLLOW, [list(step) for step in steps]))

    # the browser tells of the scrolling when the answer has grown again
    assert followed((900, "resized"), (2900, "scrolled"), (2900, "resized")) == [0, 2000, 0]
    # a shorter version begins: the browser goes up of itself, and tells it when that one has grown
    assert followed((5000, "resized"), (700, "resized"), (1900, "scrolled"), (1900, "resized")) == [0, 0, 1200, 0]
    # the reader goes up, and the answer grows
    assert followed((5000, "resized"), (5000, "scrolled", 3000), (6000, "resized")) == [0, None, None]
    # and comes back to the end
    assert followed((5000, "resized"), (5000, "scrolled", 9), (5000, "scrolled", 4390), (9000, "resized"))[-1] == 0
    # or turns to something that unfolds
    assert followed((5000, "resized"), (5000, "leave"), (7000, "resized"))[-1] is None
    # or is there because what is shown became short, or asks for it
    assert followed((5000, "resized"), (5000, "scrolled", 9), (500, "resized"), (900, "resized"))[-1] == 0
    assert followed((5000, "resized"), (5000, "scrolled", 9), (5000, "begin"), (5001, "resized"))[2:] == [0, 0]


def test_what_grows_between_two_frames_is_followed(page: Any) -> None:
    imported(page, conversation("Long?", "Some text.\n\n" * 80, title="Long"))
    page.get_by_role("link", name="Long").click()
    expect(page.locator(".message").last).to_be_in_viewport()
    page.evaluate(GROW_BETWEEN)
    page.wait_for_function(AT_END)
    expect(page.get_by_role("button", name="Go to the end")).to_have_count(0)


def test_what_is_unfolded_or_edited_stays_in_sight(page: Any) -> None:
    found = conversation("Long?", "Some text.\n\n" * 80, title="Long")
    found["messages"][1]["reasoning"] = "Some thought.\n\n" * 80
    imported(page, found)
    page.get_by_role("link", name="Long").click()
    expect(page.locator(".message").last).to_be_in_viewport()
    thought = page.locator(".thought summary")
    thought.click()
    expect(page.locator(".thought p")).to_have_count(80)
    frames(page)
    expect(thought).to_be_in_viewport()
    expect(page.get_by_role("button", name="Go to the end")).to_be_visible()
    page.locator(".message.user").hover()
    page.get_by_role("button", name="Edit message").click()
    frames(page)
    expect(page.get_by_label("Edit message")).to_be_in_viewport()


def test_a_thousand_pieces_at_once_are_followed(page: Any) -> None:
    text = [f"Paragraph {number} of an answer.\n\n" for number in range(1000)]
    chunks = [{"model": "m", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in text]
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=stream, content_type="text/event-stream"))
    send(page, "Much.")
    expect(answered(page).locator(".markdown p")).to_have_count(1000)
    frames(page)
    page.wait_for_function(AT_END)
    button = page.get_by_role("button", name="Go to the end")
    expect(button).to_have_count(0)
    page.locator(".scroller").evaluate("(one) => (one.scrollTop = 500)")
    expect(button).to_be_visible()
    send(page, "More.")
    expect(page.locator(".message.assistant")).to_have_count(2)
    answered(page)
    page.wait_for_function(AT_END)
    page.locator(".message.user").last.hover()
    page.locator(".scroller").evaluate("(one) => (one.scrollTop = 500)")
    button.click()
    page.wait_for_function(AT_END)
    expect(button).to_have_count(0)
