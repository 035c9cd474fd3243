"""Markdown on the page: drawn block by block as it grows, with code, formulas and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from page_acting import conversation, imported, opened
from playwright.sync_api import expect
from serving import Server

TEXT = """# Title

First *paragraph* with `code` and [a link](https://example.org/) and $a^2 + b^2$, for $5 and $6.

| name | n |
|:-----|--:|
| one  | 1 |

- [x] done
- [ ] open
  1. inner

```python
def f(x: int) -> str:
    return "a" * x
```

$$
\\int_0^1 x\\,dx = \\frac{1}{2}
$$

Last <b>bold</b> line[^1] and \\(x < y\\).
"""


@pytest.fixture(scope="module")
def page(browser: Any, server: Server) -> Iterator[Any]:
    with opened(browser, server.url) as one:
        yield one


DRAW = """async ([text, steps]) => {
    const { Drawing } = await import("/js/markdown.js");
    const root = document.createElement("div");
    root.className = "markdown";
    document.body.append(root);
    const drawing = new Drawing(root);
    const kept = new Map();
    let drawn = 0;
    for (let at = 1; at <= text.length; at += steps) {
        drawing.update(text.slice(0, at), true);
        for (const block of root.children) if (!kept.has(block)) kept.set(block, drawn++);
    }
    drawing.update(text, false);
    const grown = root.textContent;
    const first = [...root.children].map((one) => kept.get(one));
    const whole = document.createElement("div");
    document.body.append(whole);
    new Drawing(whole).update(text, false);
    return { grown, whole: whole.textContent, blocks: root.children.length, first, drawn };
}"""


def test_a_growing_text_is_drawn_as_a_whole_one_is(page: Any) -> None:
    page.evaluate("import('/js/code.js')")
    for steps in (1, 7, 40):
        found = page.evaluate(DRAW, [TEXT, steps])
        assert found["grown"].replace(" ", "") == found["whole"].replace(" ", "")
        assert found["blocks"] == 7


def test_finished_blocks_are_not_drawn_again(page: Any) -> None:
    text = "\n\n".join(f"Paragraph {number} of *some* words." for number in range(50))
    found = page.evaluate(DRAW, [text, len(text) // 200])
    assert found["blocks"] == 50
    first = [place for place in found["first"] if place is not None]
    assert first == sorted(first)
    # about four steps fall into a paragraph, and each draws that one alone; the last may be drawn once more
    assert len(first) >= 49
    assert found["drawn"] < 270


def test_growing_code_is_written_on_in_its_place(page: Any) -> None:
    text = "A line\n\n    indented = 1\n\n```python\n" + "x = 'y'  # z\n" * 40 + "```\n\nEnd."
    found = page.evaluate(DRAW, [text, 5])
    assert found["grown"] == found["whole"]
    assert found["blocks"] == 4
    assert found["drawn"] < 30


def test_a_link_may_be_explained_later(page: Any) -> None:
    text = "See [the docs][d].\n\nMore.\n\n[d]: https://example.org/\n"
    page.evaluate(DRAW, [text, 3])
    expect(page.locator("body > .markdown").last.get_by_text("the docs")).to_have_attribute(
        "href", "https://example.org/"
    )


def test_code_formulas_and_tables_are_drawn(page: Any) -> None:
    imported(page, conversation("All of it?", TEXT))
    page.locator(".entry a").click()
    shown = page.locator(".message.assistant .markdown")
    expect(shown.locator("h1")).to_have_text("Title")
    expect(shown.locator(".hljs-keyword").first).to_have_text("def")
    expect(shown.locator(".katex")).to_have_count(3)
    expect(shown.locator(".katex-display")).to_have_count(1)
    expect(shown.locator("p").first).to_contain_text("for $5 and $6.")
    expect(shown.locator("td[align=right]")).to_have_text("1")
    expect(shown.locator(".task")).to_have_text(["☑", "☐"])
    expect(shown.locator("a")).to_have_attribute("target", "_blank")
    assert page.evaluate("document.fonts.ready.then(() => [...document.fonts].some(one => one.status === 'loaded'))")
