"""What all tests share. Nothing is built here: a missing or outdated native library stops the run with one line."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from patience import SECONDS

from pacos import log, native
from pacos.errors import NativeError

# the same examples on every machine, however slow it is
settings.register_profile("any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop before the first test when the native library cannot be loaded.

    A run in the background may ignore Ctrl-C or the loss of its terminal, which the commands it starts would inherit.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        native.library()
    except NativeError as error:
        pytest.exit(f"the native library is needed by the tests: {error}", returncode=3)


@pytest.fixture(scope="session", autouse=True)
def clients_are_patient() -> None:
    """A busy machine may need more than the five seconds that httpx waits for an answer: the default of all calls."""
    from httpx._config import DEFAULT_TIMEOUT_CONFIG

    for what in ("connect", "read", "write", "pool"):
        setattr(DEFAULT_TIMEOUT_CONFIG, what, SECONDS)


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the models and the state of servers apart from the user's, and from that of tests beside these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACOS_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("HF_HUB_OFFLINE", "1")  # no test asks another machine
        yield


@pytest.fixture(autouse=True)
def messages_stay_in_their_test() -> Iterator[None]:
    """Undo what a command that ran inside this process did to the package's logger."""
    yield
    log.warnings_to(None)
    ours = logging.getLogger("pacos")
    ours.handlers.clear()
    ours.propagate = True
    ours.setLevel(logging.NOTSET)
