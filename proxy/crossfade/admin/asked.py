"""What a request asks for: its query and its body as the types that its operation declares."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web

from crossfade.admin.connections import body_of
from crossfade.admin.operation import operation_of
from crossfade.admin.query import Query, read_query
from crossfade.control.refusal import Invalid
from crossfade.log_lines import printable

MAX_REASON = 500  # characters


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """`reason`: goes into the journal; white space in it becomes single spaces."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


def query_of(request: web.Request, kind: type[Query]) -> Query:
    """The query as this struct, which must be the one that the operation declares. Raises Invalid."""
    operation = operation_of(request)
    assert operation is not None and operation.query is kind
    return read_query(request, kind)


async def json_of(request: web.Request, kind: Any, default: Any = None) -> Any:
    """The JSON body as this type, which must be the one that the operation declares. An empty body gives `default`, if there is one."""
    operation = operation_of(request)
    assert operation is not None and operation.body is not None and operation.body.kind == kind
    content = await body_of(request)
    if not content and default is not None:
        return default
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"The body is not valid: {error}.") from None
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=f"The body is not JSON: {error}.") from None


async def reason_of(request: web.Request) -> str:
    """Of the body, on one line; "" without one."""
    given = await json_of(request, Reason, Reason())
    return printable(" ".join(given.reason.split()))


def json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
