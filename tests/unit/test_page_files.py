"""The files of the web page: libraries as released, scripts of a size that one reads, nothing from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "src" / "pacos" / "web"
VENDOR = WEB / "vendor"
OURS = sorted(path for path in WEB.rglob("*") if path.is_file() and VENDOR not in path.parents)
SCRIPTS = [path for path in OURS if path.suffix == ".js"]
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 60
BYTES_MAX = 1_400_000  # unpacked
PDF_BYTES_MAX = 2_000_000  # of the reader of PDF, which only those load who attach one


def test_libraries_are_those_of_the_manifest() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    wanted = {name: digest for entry in manifest.values() for name, digest in entry["files"].items()}
    there = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert there == wanted
    for entry in manifest.values():
        assert entry["licence"]
        assert any(name.endswith("/LICENSE.txt") for name in entry["files"])


def test_all_of_it_is_small() -> None:
    sizes = {path.relative_to(WEB).as_posix(): path.stat().st_size for path in WEB.rglob("*") if path.is_file()}
    pdf = sum(size for name, size in sizes.items() if name.startswith("vendor/pdfjs-"))
    assert pdf < PDF_BYTES_MAX
    assert sum(sizes.values()) - pdf < BYTES_MAX


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_scripts_are_short_and_say_what_they_are(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= LINES_PER_FILE
    assert lines[0].startswith(("/**", "//"))
    start = None
    for number, line in enumerate(lines):
        if re.match(r"(?:export )?(?:default )?(?:async )?function\b", line):
            start = number
        if line == "}" and start is not None:
            assert number - start < LINES_PER_FUNCTION, lines[start]
            start = None


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_nothing_is_named_that_lies_elsewhere(path: Path) -> None:
    found = re.findall(r"\b(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", path.read_text())
    assert [one for one in found if not one.startswith("http://www.w3.org")] == []


def test_every_import_is_a_file() -> None:
    for path in SCRIPTS:
        for name in re.findall(r"""(?:from|import\()\s*["'](\.[^"']+)["']""", path.read_text()):
            assert (path.parent / name).resolve().is_file(), f"{path.name} imports {name}"
    page = (WEB / "index.html").read_text()
    for name in re.findall(r'(?:href|src)="\./([^"]+\.(?:js|mjs|css|svg))"', page):
        assert (WEB / name).is_file(), name
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", page)


def loaded_by(path: Path, found: set[str]) -> set[str]:
    """The modules that a module imports, and those that they do."""
    for name in re.findall(r"""(?:import|export)\b[^;'"]*?\bfrom\s*["'](\.[^"']+)["']""", path.read_text()):
        other = (path.parent / name).resolve()
        if (place := other.relative_to(WEB).as_posix()) not in found:
            found.add(place)
            loaded_by(other, found)
    return found


def test_the_page_names_all_modules_so_that_they_come_at_once() -> None:
    page = (WEB / "index.html").read_text()
    named = set(re.findall(r'<link rel="modulepreload" href="\./([^"]+)">', page))
    assert named == loaded_by(WEB / "js" / "main.js", set())
