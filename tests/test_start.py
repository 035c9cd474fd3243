"""Starting is quick: a bare import loads nothing, `pacos --help` nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import pacos

HEAVY = {"numpy", "rich", "prompt_toolkit", "jinja2", "asyncio", "logging", "filelock", "platformdirs", "tokenizers"}


def modules_after(code: str) -> set[str]:
    """Names of all modules that are loaded after the code ran in a fresh Python."""
    script = f"import sys, json\n{code}\nprint(json.dumps(list(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = modules_after("import pacos") - modules_after("pass")
    assert {module for module in loaded if module.startswith("pacos")} == {"pacos"}
    assert not loaded & HEAVY


def test_help_loads_nothing_heavy() -> None:
    help_code = "import pacos.cli.main as m\ntry: m.main(['--help'])\nexcept SystemExit: pass"
    assert not modules_after(help_code) & (HEAVY - {"logging"})


def processor_seconds(*arguments: str) -> tuple[float, str]:
    """What a fresh Python takes at least, in processor time: other programs on the machine do not count."""
    seconds = []
    for _ in range(5):
        before = os.times()
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    return min(seconds), done.stdout


def test_help_is_quick() -> None:
    """Three times as long as it takes to import click alone: 150 ms on a machine where that takes 50."""
    ours, said = processor_seconds("-m", "pacos", "--help")
    least, _ = processor_seconds("-c", "import click")
    assert "Usage: pacos" in said
    assert ours < 3 * least, f"{ours:.3f} s, click alone {least:.3f} s"


@pytest.mark.parametrize("name", pacos.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(pacos, name) is not None
    assert name in dir(pacos)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pacos.nothing  # noqa: B018 (the access is the test)
