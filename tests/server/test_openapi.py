"""The API keeps to its description, whatever is sent: schemathesis over every operation of a live server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from live import Live
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import make_library

from sensorium.server.app import create_app
from sensorium.server.settings import ServerSettings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Answers without an end, and work on folders that chance would choose, have tests of their own.
LEFT_OUT = re.compile(r"/events$|^/api/v1/jobs|^/api/v1/roots")
QUICK = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,  # the same requests every time: a failure is the change's and not chance's
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
THOROUGH = settings(QUICK, max_examples=50, derandomize=False)

# An application is described without a library.
DESCRIPTION = create_app(ServerSettings(library=Path("none"))).openapi()
OPERATIONS = [
    found.ok()
    for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
    if not LEFT_OUT.search(found.ok().path)
]
LABELS = [operation.label for operation in OPERATIONS]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with Live(make_library(tmp_path_factory.mktemp("described") / "library")) as server:
        yield server


def keeps_to_its_description(operation, live: Live, effort: settings) -> None:
    @effort
    @given(operation.as_strategy())
    def check(case):
        case.call_and_validate(
            base_url=live.url.geturl().rstrip("/"), headers={"X-Sensorium-CSRF": live.csrf}, checks=CHECKS
        )

    check()


@pytest.mark.parametrize("operation", OPERATIONS, ids=LABELS)
def test_every_operation_keeps_to_its_description(operation, live):
    keeps_to_its_description(operation, live, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=LABELS)
def test_every_operation_keeps_to_its_description_for_long(operation, live):
    keeps_to_its_description(operation, live, THOROUGH)


def test_the_description_is_what_clients_get(live):
    assert live.document("GET", "/api/v1/openapi.json") == (200, json.loads(json.dumps(DESCRIPTION)))


def test_every_operation_is_described():
    document = DESCRIPTION
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"]
    names = []
    for path, operations_ in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in operations_.items():
            where = f"{method} {path}"
            names.append(operation["operationId"])
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            assert "security" in operation, where
            for status in ("4XX", "5XX"):
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"], where
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in document["components"]["schemas"]
