"""One operation of the admin API: its method and path, who may call it, what it takes and what it answers.

Rule: each operation is declared once, beside its handler. The application, the check of the caller's role, the check of
the query and the OpenAPI document come from that declaration.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from crossfade.admin.query import NoQuery, read_query
from crossfade.admin.roles import Role
from crossfade.config.problem import listed
from crossfade.log_lines import printable

JSON = "application/json"
TEXT = "text/plain"
NDJSON = "application/x-ndjson"
NOT_SAID = "application/octet-stream"  # what no type at all means (RFC 9110, section 8.3)
LINES_MEDIA = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines")

# The first argument is the object whose method it is.
Handler = Callable[[Any, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Body:
    """`kind`: the type that it is read as; `lines`: that of each line, where it may be NDJSON too. `media`: the types of content; the
    document shows the first.
    """

    kind: Any
    media: tuple[str, ...] = (JSON,)
    lines: Any = None
    required: bool = True
    example: object = None

    @property
    def taken(self) -> tuple[str, ...]:
        return self.media if self.lines is None else self.media + LINES_MEDIA


@dataclass(frozen=True, slots=True)
class Parameter:
    """One in a header, or what is known of one in the path. `values`: all that it can be; () for any."""

    name: str
    description: str
    kind: Any = str
    values: tuple[str, ...] = ()
    example: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`path`: as aiohttp has it; `{verb:drain|undrain}` lists the values of a parameter.

    `answer`: the type of the answer; `status`: of success, and `also` further ones with the same type and what they say.
    `query`: a struct with a field for each parameter, with its default; None: any query is ignored. `notes`: what the document
    says of a parameter. `errors`: statuses that this operation has beside
    those that its kind has, and what they say. `has_etag`: who has the same answer already learns so by `If-None-Match`;
    `takes_if_match`: nothing is changed where the caller has seen another state.
    `role_with`: the role that is needed in the place of `role` where this parameter of the query is given and not false. `answer` None: no content.
    `preview`: the type of the answer where `preview=true` is asked for.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    summary: str
    answer: Any
    media: str = JSON
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)
    query: type[msgspec.Struct] | None = NoQuery
    notes: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    role_with: Mapping[str, Role] = field(default_factory=dict)
    preview: Any = None
    has_etag: bool = False
    takes_if_match: bool = False
    has_head: bool = True

    @property
    def shown_path(self) -> str:
        """Without the values of its parameters."""
        return re.sub(r"{(\w+):[^}]*}", r"{\1}", self.path)

    @property
    def name(self) -> str:
        """Of the operation in the document: `put_route_split`."""
        parts = self.shown_path.removeprefix("/api/v1").strip("/").replace(".", "_").split("/")
        named = [part for part in parts if part]
        words = [part.strip("{}") if part.startswith("{") else part for part in named] or ["dashboard"]
        return "_".join([self.method.lower(), *words])

    def role_of(self, request: web.Request) -> Role:
        """That the caller needs. A parameter that is given twice is refused later."""
        for name, role in self.role_with.items():
            if request.query.get(name, "false") != "false":
                return role
        return self.role

    def path_parameters(self) -> list[Parameter]:
        """In the order of the path."""
        found = re.findall(r"{(\w+)(?::([^}]*))?}", self.path)
        return [
            Parameter(name, PATH_NOTES[name], values=tuple(values.split("|")) if "|" in values else ())
            for name, values in found
        ]


PATH_NOTES = {
    "route": "the name of a route",
    "backend": "the name of a backend",
    "endpoint": "its name or its URL, percent-encoded: http:%2F%2F10.0.0.2:8000",
    "verb": "what to do",
    "file": "its path",
    "id": "its number",
}
QUERY_NOTES = {
    "challenger": "names the rollout; required where the route has several",
    "force": "true: also if a backend that gets more traffic is down; without it the answer is then 409",
    "since": "from this time on: seconds since 1970, or RFC 3339 with a zone",
    "until": "before this time",
}

SERVED: web.AppKey[dict[web.AbstractRoute, Operation]] = web.AppKey("served", dict)


def serve(app: web.Application, operation: Operation, owner: object) -> None:
    """`owner`: the object whose method the handler is."""
    call = operation.handler

    async def handle(request: web.Request) -> web.StreamResponse:
        if operation.query is NoQuery:  # the others are read by their handlers
            read_query(request, NoQuery)
        if operation.body is not None and request.body_exists:
            _require_media(operation.body, request.content_type)
        return await call(owner, request)

    resource = app.router.add_resource(operation.path)
    methods = [operation.method]
    if operation.method == "GET" and operation.has_head:
        methods.append("HEAD")
    for method in methods:
        app[SERVED][resource.add_route(method, handle)] = operation


def _require_media(body: Body, given: str) -> None:
    """A body whose type is not said is taken; `curl -d` says a form."""
    if given not in (*body.taken, NOT_SAID):
        raise web.HTTPUnsupportedMediaType(text=f"Send {listed(body.taken)}, not {printable(given)}.")


def operation_of(request: web.Request) -> Operation | None:
    """None where nothing is served at the path, or not by this method."""
    return request.app[SERVED].get(request.match_info.route)
