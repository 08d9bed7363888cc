"""The examples in the document are valid: each fits the schema beside it, and none is missing."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from crossfade.admin.openapi import EXAMPLES, document
from crossfade.admin.operation import JSON, Operation
from crossfade.admin.operations import OPERATIONS
from tests.admin.make_examples import examples

DOCUMENT = document("1", OPERATIONS)
NAMED = [pytest.param(operation, id=operation.name) for operation in OPERATIONS]
NOT_SHOWN = {"get_openapi_json"}  # it is the document


def check(content: dict[str, Any]) -> int:
    if "example" not in content:
        return 0
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(schema).validate(content["example"])
    return 1


@pytest.mark.parametrize("operation", NAMED)
def test_the_answers_and_the_body_of_an_operation_have_valid_examples(operation: Operation) -> None:
    described = DOCUMENT["paths"][operation.shown_path][operation.method.lower()]
    shown = [
        check(content)
        for content in described["responses"][str(operation.status)].get("content", {}).values()
    ]
    if operation.media == JSON and operation.answer is not None and operation.name not in NOT_SHOWN:
        assert shown == [1], "run python -m tests.admin.make_examples"
    body = described.get("requestBody", {}).get("content", {})
    checked = sum(check(content) for content in body.values())
    if operation.body is not None and operation.body.example is not None:
        assert checked == 1
        msgspec.convert(operation.body.example, operation.body.kind)


def test_a_wrong_example_is_found() -> None:
    content = {"schema": {"$ref": "#/components/schemas/RouteView"}, "example": {"name": 1}}
    with pytest.raises(jsonschema_rs.ValidationError):
        check(content)


async def test_an_admin_api_answers_with_the_fields_of_the_examples() -> None:
    """An example may lack a field that is new; it has none that is gone."""
    kept, now = EXAMPLES, await examples()
    assert kept.keys() == now.keys()
    for name, answer in now.items():
        assert kept[name].keys() <= answer.keys(), "run python -m tests.admin.make_examples"
