"""The generated pages say what the program says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from patience import SECONDS

from pacos.models import architectures

ROOT = Path(__file__).resolve().parents[2]


def test_pages_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "docs"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * SECONDS)
    assert done.returncode == 0, done.stderr


def test_the_number_of_architectures_is_true() -> None:
    places = {"README.md": "**Models**: {} architectures", "docs/compare.md": "| {} of them ([models.md]"}
    for page, words in places.items():
        assert words.format(len(architectures())) in (ROOT / page).read_text()


def test_a_row_of_a_table_is_one_line() -> None:
    for line in (ROOT / "docs" / "settings.md").read_text().splitlines():
        assert line.startswith("|") == line.endswith("|"), line
