"""Requests that schemathesis makes up from the OpenAPI document: whatever comes, nothing fails inside."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from serving import served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import schemathesis

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # it and the libraries under it warn of much


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = str(tmp_path_factory.mktemp("state"))
    limits = ("--ctx-size", "256", "--timeout", "20", "--allowed-hosts", "*", "--metrics")
    with served("storyteller", *limits, environment={"PACOS_STATE": folder, "XDG_STATE_HOME": folder}) as server:
        server.wait_until_ready()
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    assert not [line for line in server.log if "Traceback" in line]


@schemathesis.pytest.from_fixture("document").parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_fault(case: Any) -> None:
    reply = case.call(timeout=60)
    assert reply.status_code < 500 or reply.status_code in {501, 503}, reply.text
