"""Whatever a message, a title or a file name holds: nothing of it runs, loads, or looks like the page itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from page_acting import answered, conversation, frames, imported, opened, send
from playwright.sync_api import expect
from serving import Server

ATTEMPTS = [
    "<script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'>",
    "<svg onload='window.broken = 1'><script>window.broken = 1</script></svg>",
    "<svg><animate onbegin='window.broken = 1' attributeName=x dur=1s></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.broken=1></style></mglyph></table></mtext></math>",
    "<iframe srcdoc='<script>parent.broken = 1</script>'></iframe>",
    "<object data='javascript:window.broken = 1'></object><embed src='javascript:window.broken = 1'>",
    "<details open ontoggle='window.broken = 1'><summary>x</summary></details>",
    "<form action='javascript:window.broken = 1'><button>go</button></form><input autofocus onfocus='broken = 1'>",
    "<a href='javascript:window.broken = 1'>go</a> <a href='&#106;avascript:window.broken = 1'>go</a>",
    "[go](javascript:window.broken=1) [go](JaVaScRiPt:window.broken=1) [go](data:text/html,<script>1</script>)",
    "[go](<java\nscript:window.broken=1>) <javascript:window.broken=1>",
    "![x](https://elsewhere.invalid/a.png) <img src='https://elsewhere.invalid/b.png'>",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIj48L3N2Zz4=)",
    '![x]("onerror=window.broken=1//) ![" onerror="window.broken = 1](x)',
    "<link rel=stylesheet href='https://elsewhere.invalid/c.css'><style>body{display:none}</style>",
    "<base href='//elsewhere.invalid'><script src=/broken.js></script>",
    "<meta http-equiv=refresh content='0;url=https://elsewhere.invalid'>",
    "<video src='https://elsewhere.invalid/v.mp4' autoplay></video><audio src='https://elsewhere.invalid/v.mp3'></audio>",
    "<div class='page notices dialog' id='composer' style='position:fixed;inset:0'>dressed up</div>",
    "<template><script>window.broken = 1</script></template><noscript><img src=x onerror=window.broken=1></noscript>",
    "`<img src=x onerror=window.broken=1>`\n\n```html\n<img src=x onerror=window.broken=1>\n```",
    '```"><img src=x onerror=window.broken=1>\n1\n```',
    "$\\href{javascript:window.broken=1}{go}$ $\\includegraphics{https://elsewhere.invalid/d.png}$",
    "$\\htmlStyle{position:fixed}{x}$ $\\htmlData{a=b}{y}$",
    "$$\\def\\a{\\a\\a}\\a$$",
    "| a |\n|---|\n| <img src=x onerror=window.broken=1> |",
    "<x-page onclick=window.broken=1 class=page>y</x-page><a name=shown>z</a>",
]
NAME = "<img src=x onerror=window.broken=1>"
NOTHING_OF = (
    "script, iframe, object, embed, form, input, button:not(.code-copy), style, link, svg:not(.katex svg), video, audio"
)


@pytest.fixture(scope="module")
def full(browser: Any, server: Server) -> Iterator[Any]:
    """A page that shows all attempts, as messages of both sides, as thoughts, a title and names of files."""
    with opened(browser, server.url) as page:
        yield shown(page)


def shown(page: Any) -> Any:
    found = conversation(*(text for attempt in ATTEMPTS for text in (attempt, attempt)), title=NAME)
    for message in found["messages"]:
        message["reasoning"] = message["content"] if message["role"] == "assistant" else ""
        message["attachments"] = [{"name": NAME, "size": 3, "text": NAME}] if message["role"] == "user" else []
        message["model"] = NAME
        message["error"] = NAME
        message["state"] = "failed"
    imported(page, found)
    page.locator(".entry a").click()
    expect(page.locator(".message")).to_have_count(2 * len(ATTEMPTS))
    page.evaluate("() => document.querySelectorAll('.thought').forEach((one) => (one.open = true))")
    expect(page.locator(".thought .markdown")).to_have_count(len(ATTEMPTS))
    page.wait_for_function("() => document.querySelector('.katex')")
    return page


def test_nothing_of_a_message_runs_or_loads(full: Any) -> None:
    frames(full)
    assert full.evaluate("window.broken") is None
    assert full.locator(".markdown").locator(NOTHING_OF).count() == 0
    links = full.locator(".markdown a[href]").evaluate_all("all => all.map(one => [one.href, one.target, one.rel])")
    assert links
    assert all(href.startswith("https://elsewhere.invalid/") for href, _, _ in links), links
    assert {(target, rel) for _, target, rel in links} == {("_blank", "noopener noreferrer nofollow")}
    pictures = full.locator(".markdown img").evaluate_all("all => all.map(one => one.src)")
    assert all(one.startswith("data:image/png") for one in pictures), pictures
    named = full.locator(".markdown [onerror], .markdown [onload], .markdown [id], .markdown .page, .markdown .notices")
    assert named.count() == 0
    full.get_by_role("button", name="Options").click()
    assert full.evaluate("document.querySelector('.page').checkVisibility() && window.broken === undefined")


def test_titles_and_names_are_text(full: Any) -> None:
    expect(full.locator(".entry a")).to_have_text(NAME)
    expect(full.locator(".file-name").first).to_have_text(NAME)
    expect(full.locator(".file pre").first).to_have_text(NAME)
    expect(full.locator(".ending").first).to_contain_text(NAME)
    assert full.evaluate("window.broken") is None
    full.get_by_role("button", name=f"More for {NAME}").click()
    full.get_by_role("menuitem", name="Delete").click()
    expect(full.locator("dialog p")).to_contain_text(NAME)
    assert full.evaluate("window.broken") is None


def test_what_is_typed_and_attached_is_text(page: Any) -> None:
    chosen = page.locator("input[aria-label='Files']")
    chosen.set_input_files({"name": NAME, "mimeType": "text/html", "buffer": b"<script>window.broken = 1</script>"})
    expect(page.locator(".chip .file-name")).to_have_text(NAME)
    send(page, f"{NAME}<script>window.broken = 1</script>")
    answered(page)
    expect(page.locator(".question-text")).to_contain_text(NAME)
    assert page.evaluate("window.broken") is None


def test_the_page_runs_no_inline_script(page: Any) -> None:
    page.watch.expected = ("Content Security Policy",)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.broken = 1";
            document.body.append(script);
            const button = document.createElement("button");
            button.setAttribute("onclick", "window.broken = 1");
            document.body.append(button);
            button.click();
        }"""
    )
    assert page.evaluate("window.broken") is None
    assert page.watch.complaints
