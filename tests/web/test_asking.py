"""What goes along with a message: options, files, the key; and what the page does when the server goes away."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from page_acting import ENDLESS, answered, ask, conversation, growing, imported, opened, send
from playwright.sync_api import expect
from serving import served

Open = Any


def sent(page: Any, text: str) -> dict[str, Any]:
    """The body of the request that a message makes."""
    with page.expect_request("**/v1/chat/completions") as found:
        send(page, text)
    answered(page)
    return dict(json.loads(found.value.post_data))


def test_options_come_from_the_server_and_go_along(page: Any) -> None:
    page.get_by_role("button", name="Options").click()
    panel = page.locator("#options")
    expect(panel.locator(".group > summary")).to_have_count(7)
    panel.get_by_label("System prompt").fill("You are a pirate.")
    temperature = panel.get_by_label("temperature", exact=True)
    expect(temperature).to_have_attribute("placeholder", "0.8")
    temperature.fill("hot")
    temperature.blur()
    expect(panel.get_by_role("alert")).to_have_text("hot is no number.")
    expect(temperature).to_have_value("hot")
    temperature.fill("-1")
    temperature.blur()
    expect(panel.get_by_role("alert")).to_have_text("Use 0 to 1000.")
    temperature.fill("0.25")
    temperature.blur()
    panel.get_by_label("n_predict", exact=True).fill("5")
    panel.get_by_label("Find an option").fill("sequence breaker")
    panel.get_by_label("dry_sequence_breakers", exact=True).fill("\\n\n;")
    panel.get_by_label("Find an option").fill("")
    body = sent(page, "Tell me a story.")
    assert body["messages"][0] == {"role": "system", "content": "You are a pirate."}
    assert (body["temperature"], body["n_predict"]) == (0.25, 5)
    assert body["dry_sequence_breakers"] == ["\n", ";"]
    expect(page.locator(".ending")).to_contain_text("limit of tokens")
    panel.get_by_role("button", name="Use for new conversations").click()
    panel.get_by_role("button", name="Reset temperature").click()
    page.reload()
    assert "temperature" not in sent(page, "More.")
    page.get_by_role("button", name="New conversation").click()
    assert sent(page, "Again.")["temperature"] == 0.25
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Reset all").click()
    assert set(sent(page, "And again.")) & {"temperature", "n_predict"} == set()


def test_text_files_go_along_and_others_are_refused(page: Any, tmp_path: Path) -> None:
    chosen = page.locator("input[aria-label='Files']")
    code = "```\nfence\n```\n"
    chosen.set_input_files({"name": "a.md", "mimeType": "text/markdown", "buffer": code.encode()})
    chosen.set_input_files({"name": "b.bin", "mimeType": "application/x", "buffer": b"\xff\x00\x01"})
    expect(page.locator(".notice.error")).to_contain_text("b.bin is no text: text files (UTF-8) and PDF can go along.")
    chosen.set_input_files({"name": "c.png", "mimeType": "image/png", "buffer": b"\x89PNG"})
    expect(page.locator(".notice.error").last).to_contain_text("c.png holds no text")
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["dropped text"], "d.txt", { type: "text/plain" }));
            for (const type of ["dragenter", "drop"]) {
                dispatchEvent(new DragEvent(type, { dataTransfer: data }));
            }
            const pasted = new DataTransfer();
            pasted.setData("text/plain", "long ".repeat(200) + "x".repeat(4000));
            const box = document.querySelector("#composer");
            box.dispatchEvent(new ClipboardEvent("paste", { clipboardData: pasted, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator(".chip .file-name")).to_have_text(["a.md", "d.txt", "pasted text.txt"])
    page.get_by_role("button", name="Remove pasted text.txt").click()
    body = sent(page, "What is this?")
    assert body["messages"][0]["content"] == (
        'File "a.md":\n````\n```\nfence\n```\n````\n\nFile "d.txt":\n```\ndropped text\n```\n\nWhat is this?'
    )
    expect(page.locator(".message .file-name")).to_have_text(["a.md", "d.txt"])
    expect(page.locator(".chip")).to_have_count(0)


def pdf(*lines: str) -> bytes:
    """A PDF of one page with these lines; without any, its page is blank."""
    drawn = "BT /F 12 Tf 50 700 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET" if lines else ""
    objects = [
        "<</Type /Catalog /Pages 2 0 R>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1>>",
        "<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources <</Font <</F 5 0 R>>>>>>",
        f"<</Length {len(drawn)}>>\nstream\n{drawn}\nendstream",
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>",
    ]
    data, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(f"{len(data):010} 00000 n \n")
        data += f"{number} 0 obj\n{content}\nendobj\n"
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{''.join(places)}"
    return f"{data}{table}trailer <</Size {len(objects) + 1} /Root 1 0 R>>\nstartxref\n{len(data)}\n%%EOF".encode()


def test_the_text_of_a_pdf_goes_along(page: Any) -> None:
    chosen = page.locator("input[aria-label='Files']")
    whole = pdf("The owl", "said <b>hoot</b>.")
    chosen.set_input_files({"name": "blank.pdf", "mimeType": "application/pdf", "buffer": pdf()})
    expect(page.locator(".notice.error")).to_contain_text("blank.pdf holds no text, only pictures of it")
    damaged = b"%PDF-1.4\n" + b"\xff" * 99
    chosen.set_input_files({"name": "cut.pdf", "mimeType": "application/pdf", "buffer": damaged})
    expect(page.locator(".notice.error").last).to_have_text("cut.pdf is damaged, or no PDF.")
    chosen.set_input_files({"name": "report.pdf", "mimeType": "application/pdf", "buffer": whole})
    expect(page.locator(".chip")).to_have_text([re.compile(f"report.pdf{len(whole)} bytes")])
    body = sent(page, "What does it say?")
    text = 'File "report.pdf":\n```\nThe owl\nsaid <b>hoot</b>.\n```\n\nWhat does it say?'
    assert body["messages"][0]["content"] == text


def test_a_key_is_asked_for_until_it_is_right(browser: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("right\n")
    with served("--api-key-file", str(keys)) as locked, opened(browser, locked.url) as page:
        page.watch.expected = ("401 (Unauthorized)",)
        dialog = page.locator("dialog")
        expect(dialog).to_contain_text("This server answers only those who have a key.")
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_have_text("The server does not know this key.")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Enter the API key").click()
        page.get_by_label("Key", exact=True).fill("right")
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        assert len(ask(page, "Tell me a story.")) > 20
        page.reload()
        expect(page.locator(".picker-name")).to_have_text("storyteller")
        expect(dialog).to_have_count(0)


def test_what_has_come_is_kept_when_the_server_dies(open_page: Open) -> None:
    with served() as first:
        port = first.url.rpartition(":")[2]
        page = open_page(first.url, preferences=ENDLESS)
        page.watch.expected = ("ERR_", "404 (Not Found)")
        send(page, "Tell me a story.")
        growing(page, 400)
        first.process.send_signal(signal.SIGKILL)
        expect(page.locator(".pending")).to_contain_text("trying to read on")
        expect(page.locator(".unreached")).to_contain_text("No answer from the server")
        first.wait()
    with served(port=int(port)) as second:
        second.wait_until_ready()
        expect(page.locator(".unreached")).to_have_count(0)
        ending = page.locator(".ending.bad")
        expect(ending).to_contain_text("The server was started anew before the answer was complete.")
        kept = page.locator(".markdown").inner_text()
        assert len(kept) > 300
        ending.get_by_role("button", name="Continue").click()
        growing(page, len(kept) + 200)
        page.keyboard.press("Escape")
        assert answered(page).locator(".markdown").inner_text().startswith(kept[:300])
        page.reload()
        expect(page.locator(".ending")).to_contain_text("Stopped.")


def test_a_refusal_is_told_and_can_be_tried_again(page: Any) -> None:
    page.watch.expected = ("400 (Bad Request)",)
    imported(page, conversation("A very long tale. " * 400, "Well.", title="Long"))
    page.locator(".entry a").click()
    send(page, "And now?")
    expect(page.locator(".ending.bad")).to_contain_text("context")
    expect(page.locator(".meter.over")).to_have_attribute("title", re.compile(r"tokens of the context: too many"))
    page.locator(".message").last.get_by_role("button", name="Answer again").click()
    expect(page.locator(".message.assistant .versions")).to_contain_text("2 / 2")
    with page.expect_request("**/v1/chat/completions") as found:
        page.get_by_role("button", name="Try again without the oldest text").click()
    assert json.loads(found.value.post_data)["context_policy"] == "shift"
    expect(page.locator(".message.assistant .versions")).to_contain_text("3 / 3")
    expect(answered(page).locator(".ending.bad")).to_have_count(0)


def test_the_server_keeps_conversations_if_it_is_told_to(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        served("--conversations", environment={"PACOS_HOME": str(tmp_path)}) as keeper,
        opened(browser, keeper.url) as page,
        opened(browser, keeper.url, preferences=json.dumps({"keeping": "server"})) as other,
    ):
        ask(page, "Only in this browser.")
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_role("menuitem", name="Keep conversations on the server").click()
        expect(page.locator(".entry")).to_have_count(0)
        text = ask(page, "Tell me a story about a fox.")
        page.get_by_role("button", name="Answer again").click()
        expect(page.locator(".message.assistant .versions")).to_contain_text("2 / 2")
        second = answered(page).locator(".markdown").inner_text()
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_role("menuitem", name="Copy this browser's to the server").click()
        expect(page.locator(".entry")).to_have_count(2)
        other.reload()
        expect(other.locator(".entry")).to_have_count(2)
        other.get_by_role("link", name="Tell me a story about a fox.").click()
        expect(other.locator(".message.assistant .markdown")).to_have_text(second, use_inner_text=True)
        expect(other.locator(".message.assistant .cost")).to_contain_text("tokens/s")
        other.get_by_role("button", name="Earlier version").click()
        expect(other.locator(".message.assistant .markdown")).to_have_text(text, use_inner_text=True)
        other.locator("#search").fill("browser")
        expect(other.locator(".entry")).to_have_text(["Only in this browser."])
        other.locator("#search").fill("")
        other.get_by_role("button", name="Delete message").last.click()
        other.get_by_role("button", name="Delete", exact=True).click()
        expect(other.locator(".message.assistant .versions")).to_have_count(0)
        page.reload()
        expect(page.locator(".message.assistant .markdown")).to_have_text(second, use_inner_text=True)


def test_thoughts_are_folded_and_errors_in_a_stream_are_told(page: Any) -> None:
    pieces = [{"reasoning_content": "First I "}, {"reasoning_content": "*think*."}, {"content": "Then I **answer**."}]
    chunks = [{"model": "m", "choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    broken = 'event: error\ndata: {"error": {"message": "the model fell over"}}\n\n'
    streams = iter(["".join([*events, "data: [DONE]\n\n"]), "".join([*events, broken])])
    page.route(
        "**/v1/chat/completions", lambda route: route.fulfill(body=next(streams), content_type="text/event-stream")
    )
    send(page, "Think.")
    expect(answered(page).locator(".markdown strong")).to_have_text("answer")
    thought = page.locator(".thought")
    expect(thought.locator("em")).to_have_count(0)
    thought.locator("summary").click()
    expect(thought.locator("em")).to_have_text("think")
    send(page, "Break.")
    expect(page.locator(".ending.bad")).to_contain_text("The model fell over.")
    expect(page.locator(".message.assistant").last.locator("strong")).to_have_text("answer")
