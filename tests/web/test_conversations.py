"""Conversations on the page, in a browser, with the bundled model: asked, stopped, changed, kept, found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from page_acting import ENDLESS, answered, ask, conversation, frames, growing, imported, send
from patience import until
from playwright.sync_api import expect
from serving import Server

Open = Any
KEPT = """async count => {
    const { list, messagesOf } = await import(new URL("./js/browser_store.js", document.baseURI));
    const messages = await messagesOf((await list())[0]?.id ?? "");
    return messages.some(one => one.state === "running" && one.content.length > count);
}"""


def test_an_answer_streams_is_counted_and_gets_an_address(page: Any) -> None:
    text = ask(page, "Tell me a story about a dragon.")
    assert len(text) > 50
    expect(page.locator(".message.user .question-text")).to_have_text("Tell me a story about a dragon.")
    expect(page.locator(".message.assistant .cost")).to_contain_text("tokens/s")
    expect(page.locator(".meter")).to_contain_text("/ 1024")
    expect(page).to_have_title("Tell me a story about a dragon. · Pacos")
    expect(page.locator(".entry.chosen")).to_have_text("Tell me a story about a dragon.")
    assert "#/chat/" in page.url


def test_an_answer_grows_is_stopped_and_continued(open_page: Open, server: Server) -> None:
    page = open_page(preferences=ENDLESS)
    send(page, "Tell me a story.")
    before = len(growing(page).inner_text())
    assert len(growing(page, before + 100).inner_text()) > before
    page.keyboard.press("Escape")
    expect(page.locator(".ending")).to_contain_text("Stopped.")
    kept = answered(page).locator(".markdown").inner_text()
    wait_until_idle(server)
    frames(page)
    assert page.locator(".markdown").inner_text() == kept
    page.get_by_role("button", name="Continue", exact=True).click()
    growing(page, len(kept) + 200)
    page.get_by_role("button", name="Stop the answer").click()
    more = answered(page).locator(".markdown").inner_text()
    assert more.startswith(kept.rstrip()[:-20])
    assert len(more) > len(kept)


def wait_until_idle(server: Server) -> None:
    """Until the server computes nothing more: what is stopped is stopped there too."""
    until(lambda: not any(slot["is_processing"] for slot in httpx.get(f"{server.url}/slots").json()))


def test_an_edited_message_is_a_branch_and_the_old_one_stays(page: Any) -> None:
    old = ask(page, "Tell me a story about a cat.")
    page.locator(".message.user").hover()
    page.get_by_role("button", name="Edit message").click()
    page.get_by_label("Edit message").fill("Tell me a story about a boat.")
    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(page.locator(".question-text")).to_have_text("Tell me a story about a boat.")
    new = answered(page).locator(".markdown").inner_text()
    versions = page.locator(".message.user .versions")
    expect(versions).to_contain_text("2 / 2")
    versions.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".question-text")).to_have_text("Tell me a story about a cat.")
    expect(page.locator(".message.assistant .markdown")).to_have_text(old, use_inner_text=True)
    page.reload()
    expect(page.locator(".question-text")).to_have_text("Tell me a story about a cat.")
    versions.get_by_role("button", name="Later version").click()
    expect(page.locator(".message.assistant .markdown")).to_have_text(new, use_inner_text=True)


def test_an_answer_has_versions_is_edited_and_deleted(page: Any) -> None:
    first = ask(page, "Tell me a story.")
    page.get_by_role("button", name="Answer again").click()
    versions = page.locator(".message.assistant .versions")
    expect(versions).to_contain_text("2 / 2")
    answered(page)
    page.get_by_role("button", name="Edit answer").click()
    page.get_by_label("Edit answer").fill("My *own* words.")
    page.get_by_role("button", name="Keep").click()
    expect(versions).to_contain_text("3 / 3")
    expect(page.locator(".markdown em")).to_have_text("own")
    page.get_by_role("button", name="Delete message").last.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(versions).to_contain_text("2 / 2")
    versions.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".message.assistant .markdown")).to_have_text(first, use_inner_text=True)
    page.locator(".message.user").hover()
    page.get_by_role("button", name="Delete message").first.click()
    expect(page.locator("dialog")).to_contain_text("2 more")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator(".entry")).to_have_count(0)


def test_an_answer_under_way_is_taken_up_after_a_reload(open_page: Open) -> None:
    page = open_page(preferences=ENDLESS)
    send(page, "Tell me a story.")
    growing(page, 400)
    page.wait_for_function(KEPT, arg=400)  # it is written down every second
    page.reload()
    growing(page, 3000)
    page.keyboard.press("Escape")
    text = answered(page).locator(".markdown").inner_text()
    expect(page.locator(".ending")).to_contain_text("Stopped.")
    page.reload()
    expect(page.locator(".markdown")).to_have_text(text, use_inner_text=True)


def test_conversations_are_found_renamed_and_deleted(page: Any) -> None:
    imported(
        page,
        conversation("About whales", "They sing.", title="Whales"),
        conversation("About owls", "They HOOT at night.", title="Owls"),
    )
    entries = page.locator(".entry")
    expect(entries).to_have_count(2)
    page.keyboard.press("Control+k")
    page.keyboard.type("night hoot")
    expect(entries).to_have_text(["Owls"])
    page.keyboard.type(" nowhere")
    expect(page.locator(".nothing")).to_have_text("Nothing found.")
    page.locator("#search").fill("")
    entries.filter(has_text="Owls").get_by_role("link").dblclick()
    page.get_by_label("Title").fill("Night birds")
    page.keyboard.press("Enter")
    expect(entries.filter(has_text="Night birds")).to_have_count(1)
    expect(page.locator(".markdown")).to_have_text("They HOOT at night.")
    page.get_by_role("button", name="More for Night birds").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(entries).to_have_text(["Whales"])
    page.reload()
    expect(entries).to_have_text(["Whales"])


def test_a_conversation_leaves_as_json_and_markdown_and_comes_back(page: Any, tmp_path: Path) -> None:
    imported(page, conversation("About *owls*", "They hoot.", title="Owls", system="Be brief.", options={"top_k": 7}))
    page.locator(".entry a").click()

    def exported(name: str) -> Path:
        page.get_by_role("button", name="More for Owls").click()
        with page.expect_download() as found:
            page.get_by_role("menuitem", name=name).click()
        path = tmp_path / found.value.suggested_filename
        found.value.save_as(path)
        return path

    markdown = exported("Export as Markdown")
    assert markdown.name == "Owls.md"
    assert "# Owls" in markdown.read_text()
    assert "Be brief." in markdown.read_text()
    assert "About *owls*" in markdown.read_text()
    made = exported("Export as JSON")
    page.locator("input[aria-label='Conversations']").set_input_files(made)
    expect(page.locator(".entry")).to_have_count(2)
    (again,) = json.loads(made.read_text())["conversations"]
    assert again["conversation"]["options"] == {"top_k": 7}
    assert [one["content"] for one in again["messages"]] == ["About *owls*", "They hoot."]
    chosen = page.locator("input[aria-label='Conversations']")
    chosen.set_input_files({"name": "x.json", "mimeType": "application/json", "buffer": b'{"a": 1}'})
    expect(page.locator(".notice.error")).to_contain_text("has no conversations of Pacos")


def test_code_and_messages_are_copied(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    imported(page, conversation("Code?", "Here:\n\n```python\nprint('1')\n```\n"))
    page.locator(".entry a").click()
    page.get_by_role("button", name="Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()") == "print('1')\n"
    page.get_by_role("button", name="Copy answer").click()
    page.get_by_role("button", name="Copied").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("Here:\n\n```python")


def test_shortcuts_work_and_are_told(page: Any) -> None:
    ask(page, "Tell me a story about a dog.")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Edit message")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+O")
    expect(page.locator(".welcome")).to_be_visible()
    page.keyboard.press("Control+/")
    expect(page.locator("dialog")).to_contain_text("Search conversations")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("Control+b")
    expect(page.locator(".sidebar")).to_be_hidden()
    page.keyboard.press("Control+,")
    expect(page.locator("#options")).to_be_visible()
