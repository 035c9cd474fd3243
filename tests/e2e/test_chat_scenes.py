"""The screens that docs/chat.md shows are what a terminal shows today."""

from __future__ import annotations

import pytest
from chat_scenes import PAGE, SCENES, lasting, played, shown_in
from tmux_screen import needs_tmux

pytestmark = [pytest.mark.e2e, needs_tmux]


def test_the_page_shows_every_scene() -> None:
    assert set(shown_in(PAGE.read_text(encoding="utf-8"))) == set(SCENES)


@pytest.mark.parametrize("name", SCENES)
def test_a_screen_is_as_the_page_shows_it(name: str) -> None:
    """`scripts/screens` writes the page anew."""
    assert lasting(played(name)) == lasting(shown_in(PAGE.read_text(encoding="utf-8"))[name])
