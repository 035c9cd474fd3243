"""What all tests share. Nothing is built here: a missing or outdated native library stops the run with one line."""

from __future__ import annotations

import pytest

from pacos import native
from pacos.errors import NativeError


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop before the first test when the native library cannot be loaded."""
    try:
        native.library()
    except NativeError as error:
        pytest.exit(f"the native library is needed by the tests: {error}", returncode=3)
