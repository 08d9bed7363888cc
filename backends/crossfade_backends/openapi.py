"""The model server's API as OpenAPI 3.1, made of the table of operations and of the types that validate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from crossfade_backends.answers import ProtocolRefusal, Refusal
from crossfade_backends.lines import NDJSON
from crossfade_backends.operations import OPERATIONS, Operation

JSON = "application/json"
_COMPONENT = "#/components/schemas/{model}"
_OF_ALL = {500: "An error of the server; its log has the details"}

Schemas = Mapping[Any, dict[str, Any]]  # by type and mode


def document(model: str, version: str, software: str) -> dict[str, Any]:
    """`software`: the version of the package. The paths take this model and this version only."""
    schemas, components = models_json_schema(_types(), ref_template=_COMPONENT)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        described = _described(operation, schemas, {"model": model, "version": version})
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Model server: {model} {version}", "version": software},
        "paths": paths,
        "components": {"schemas": components["$defs"]},
    }


def _types() -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    found = [
        kind
        for each in OPERATIONS
        for kind in (each.body, each.answer, each.line, *each.line_answers)
        if kind
    ]
    kinds: list[type[BaseModel]] = [*found, Refusal, ProtocolRefusal]
    return [(kind, "validation") for kind in dict.fromkeys(kinds)]


def _described(operation: Operation, schemas: Schemas, served: Mapping[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
        for name, value in served.items()
        if f"{{{name}}}" in operation.path
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content = {JSON: {"schema": schemas[operation.body, "validation"], "example": operation.body_example}}
        if operation.line:
            content[NDJSON] = {"schema": schemas[operation.line, "validation"]}
        described["requestBody"] = {"required": True, "content": content}
    described["responses"] = _responses(operation, schemas)
    return described


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"type": "string"}}
    if operation.answer:
        content = {"schema": schemas[operation.answer, "validation"]}
    if operation.answer_example is not None:
        content["example"] = operation.answer_example
    refusal = ProtocolRefusal if operation.path.startswith("/v2") else Refusal
    refused = {JSON: {"schema": schemas[refusal, "validation"]}}
    found: dict[int, Any] = {
        status: {"description": text, "content": {operation.media: content}}
        for status, text in {200: "OK", **operation.same}.items()
    }
    if operation.line_answers:
        lines = [schemas[kind, "validation"] for kind in operation.line_answers]
        found[200]["content"] = {**found[200]["content"], NDJSON: {"schema": {"anyOf": lines}}}
    for status, text in {**operation.errors, **_OF_ALL}.items():
        found[status] = {"description": text, "content": refused}
    return {str(status): found[status] for status in sorted(found)}
