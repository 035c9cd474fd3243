"""Requests that schemathesis makes up from the OpenAPI document: whatever comes, nothing fails inside."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from patience import SECONDS
from serving import Server, served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import schemathesis

from pacos.server import openapi

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # it and the libraries under it warn of much


SCHEMA = schemathesis.openapi.from_dict(openapi.document())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = str(tmp_path_factory.mktemp("state"))
    limits = ("--ctx-size", "256", "--timeout", "20", "--allowed-hosts", "*", "--metrics", "--conversations")
    with served("storyteller", *limits, environment={"PACOS_HOME": folder}) as running:
        running.wait_until_ready()
        yield running
    assert not [line for line in running.log if "Traceback" in line]


@SCHEMA.parametrize()
@settings(
    max_examples=3,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_fault(server: Server, case: Any) -> None:
    reply = case.call(base_url=server.url, timeout=SECONDS)
    assert reply.status_code < 500 or reply.status_code in {501, 503, 504}, reply.text
