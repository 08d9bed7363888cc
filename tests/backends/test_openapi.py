"""The model server does what its document says, for whatever schemathesis makes up: all checks on.

Left out is `PUT /faults`: with the faults that schemathesis makes up, the server errs on purpose.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from crossfade_backends.batching import BatchLimits
from crossfade_backends.faults import FaultSwitch
from crossfade_backends.handlers import ModelServer
from crossfade_backends.inference import InferenceRequest
from crossfade_backends.metrics import ServerMetrics
from crossfade_backends.openapi import document
from crossfade_backends.operations import OPERATIONS
from tests.backends.serving import fetch, serving

KNOWN = Path(__file__).with_name("schemathesis.toml")
PAGE_FILES = "/docs/{file}"


async def test_the_server_is_what_its_document_says(registry: Path, tmp_path: Path) -> None:
    async with serving(registry) as client:
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", str(KNOWN), "run"),
            *(str(client._build_url("/openapi.json")), "--checks=all", "--phases=examples,coverage,fuzzing"),
            *("--max-examples=5", "--seed=15", "--generation-deterministic", "--no-color"),
            *("--exclude-operation-id=put_faults", "--request-timeout=30"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()[-9000:]
        assert "Tested: " in said.decode()


def test_each_schema_is_one() -> None:
    schemas = document("churn", "v3", "1")["components"]["schemas"]
    assert "CustomerRow" in schemas
    for schema in schemas.values():
        jsonschema_rs.Draft202012Validator(schema | {"components": {"schemas": schemas}})


def test_each_route_is_in_the_document() -> None:
    server = ModelServer("churn", "v3", FaultSwitch(None), ServerMetrics("churn", "v3"), BatchLimits())
    served = {(route.method, route.path) for route in server.routes() if route.path != PAGE_FILES}
    assert served == {(each.method, each.path) for each in OPERATIONS}


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.body], ids=lambda operation: operation.name
)
async def test_the_example_of_each_body_is_taken(client, operation) -> None:
    path = operation.path.format(model="churn", version="v3")
    status, answer = await fetch(client, operation.method, path, json=operation.body_example)
    assert status == 200, answer
    await client.delete("/faults")


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.answer_example])
def test_the_example_of_each_answer_is_one(operation) -> None:
    operation.answer.model_validate(operation.answer_example)


def test_what_validates_is_in_the_document() -> None:
    schemas = document("churn", "v3", "1")["components"]["schemas"]
    assert schemas["CustomerRow"]["properties"]["support_tickets_90d"]["maximum"] == 1_000_000
    assert set(schemas["InferenceRequest"]["properties"]) == set(InferenceRequest.model_fields)
