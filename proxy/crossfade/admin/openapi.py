"""The admin API as OpenAPI 3.1, made of the table of operations and of the types that they name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from crossfade.admin.access import COOKIE
from crossfade.admin.examples import read_examples
from crossfade.admin.operation import JSON, NDJSON, QUERY_NOTES, Operation, Parameter
from crossfade.admin.problems import MEDIA_TYPE
from crossfade.admin.query import without_none
from crossfade.admin.roles import Role
from crossfade.config.problem import Problem

EXAMPLES = read_examples()
COMPONENT = "#/components/schemas/{name}"
PROBE_PATHS = frozenset({"/healthz", "/readyz"})

# What each operation of a kind can answer beside its success.
OF_ALL = {500: "An error of the proxy; its log has the details"}
OF_GUARDED = {
    401: "No token, a wrong one, or a session that has ended",
    429: "Too many wrong tokens came from this address",
}
OF_PAGES = {
    403: "The caller's role does not allow it; or a page of another site asks, or one of a host name where there are no tokens"
}
OF_NAMED = {404: "There is nothing of this name"}
OF_CONDITIONAL = {412: "By If-Match, the caller has seen another state than this one; nothing has changed"}
OF_QUERIED = {422: "The request is not valid"}
OF_BODIES = {
    400: "The body cannot be read",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is of a type of content that is not taken here",
    422: "The request is not valid",
}

IF_NONE_MATCH = Parameter("If-None-Match", "the ETag of the answer that the caller has")
IF_MATCH = Parameter(
    "If-Match",
    "the ETag of the state that the caller has seen; nothing is done where it is another one by now",
)

SECURITY = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}


class ProblemAnswer(msgspec.Struct):
    """An error (RFC 9457). `problems`: of a configuration that is not valid. Further fields are possible."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[Problem] | None = None


def document(version: str, operations: Sequence[Operation]) -> dict[str, Any]:
    schemas = Schemas(operations)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.shown_path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Crossfade admin API", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": SECURITY,
        },
        "security": [{name: []} for name in SECURITY],
    }


class Schemas:
    """The JSON Schema of each type that an operation names."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        kinds: list[Any] = [ProblemAnswer, IF_NONE_MATCH.kind]
        for operation in operations:
            kinds += [each for each in (operation.answer, operation.preview) if each is not None]
            kinds += [*(without_none(f.type) for f in _query_fields(operation))]
            kinds += [parameter.kind for parameter in operation.headers]
            if operation.body is not None:
                kinds += [operation.body.kind] + ([operation.body.lines] if operation.body.lines else [])
        kinds = [part for kind in kinds for part in _alternatives(kind)]
        found, self.components = msgspec.json.schema_components(kinds, ref_template=COMPONENT)
        self.found = list(zip(kinds, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        schemas = [
            dict(next(schema for each, schema in self.found if each == part)) for part in _alternatives(kind)
        ]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The parts of a union of structs, which is an answer of one of these; else the type itself."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    are_structs = all(isinstance(part, type) and issubclass(part, msgspec.Struct) for part in parts)
    return parts if parts and are_structs else (kind,)


def _query_fields(operation: Operation) -> Sequence[msgspec.structs.FieldInfo]:
    return msgspec.structs.fields(operation.query) if operation.query is not None else ()


def _described(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "x-crossfade-role": str(operation.role),
        "responses": _successes(operation, schemas),
    }
    if operation.has_etag:
        described["responses"]["304"] = {"description": "The same that the caller has, by If-None-Match"}
    problem = {MEDIA_TYPE: {"schema": schemas.of(ProblemAnswer)}}
    for status, text in sorted(errors_of(operation).items()):
        described["responses"][str(status)] = {"description": text, "content": problem}
    if parameters := _parameters(operation, schemas):
        described["parameters"] = parameters
    if operation.role is Role.OPEN:
        described["security"] = []
    if operation.body is not None:
        described["requestBody"] = _body(operation, schemas)
    return described


def _successes(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if operation.answer is not None:
        schema = schemas.of(operation.answer)
        if operation.preview is not None:
            schema = {"anyOf": [schema, schemas.of(operation.preview)]}
        content = {"schema": schema}
        if operation.name in EXAMPLES:
            content["example"] = EXAMPLES[operation.name]
        answer = {"content": {operation.media: content}}
    texts = {operation.status: "OK", **operation.also}
    return {str(status): {"description": text, **answer} for status, text in texts.items()}


def errors_of(operation: Operation) -> dict[int, str]:
    """Each status of an error that the operation can answer, and what it says."""
    found = dict(OF_ALL)
    if operation.shown_path not in PROBE_PATHS:
        found |= OF_PAGES
    if operation.role is not Role.OPEN:
        found |= OF_GUARDED
    if operation.query is not None:
        found |= OF_QUERIED
    if operation.path_parameters():
        found |= OF_NAMED
    if operation.body is not None:
        found |= OF_BODIES
    if operation.takes_if_match:
        found |= OF_CONDITIONAL
    return found | dict(operation.errors)


def _parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    shown = [_in_path(parameter) for parameter in operation.path_parameters()]
    for field in _query_fields(operation):
        name = field.encode_name
        schema = schemas.of(without_none(field.type))
        if field.default is not msgspec.NODEFAULT and field.default is not None:
            schema["default"] = field.default
        described: dict[str, Any] = {"name": name, "in": "query", "schema": schema}
        if note := operation.notes.get(name) or QUERY_NOTES.get(name):
            described["description"] = note
        if field.required:
            described["required"] = True
        shown.append(described)
    tags = [(operation.has_etag, IF_NONE_MATCH), (operation.takes_if_match, IF_MATCH)]
    for header in (*operation.headers, *(header for is_there, header in tags if is_there)):
        schema = schemas.of(header.kind)
        shown.append(
            {"name": header.name, "in": "header", "description": header.description, "schema": schema}
        )
    return shown


def _in_path(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.values:
        schema["enum"] = list(parameter.values)
    described = {"name": parameter.name, "in": "path", "required": True, "schema": schema}
    return {**described, "description": parameter.description}


def _body(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    body = operation.body
    assert body is not None
    content: dict[str, Any] = {media: {"schema": schemas.of(body.kind)} for media in body.media}
    if body.lines is not None:
        content[NDJSON] = {"schema": schemas.of(body.lines)}
    if body.example is not None and JSON in content:
        content[JSON]["example"] = body.example
    return {"required": body.required, "content": content}
