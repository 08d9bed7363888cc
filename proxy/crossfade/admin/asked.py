"""What a request asks for: its query and its body as the types that its operation declares."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web

from crossfade.admin.connections import body_of
from crossfade.admin.operation import operation_of
from crossfade.admin.query import Query, read_query
from crossfade.control.refusal import Invalid
from crossfade.control.seen import Seen
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


def seen_by(request: web.Request) -> Seen:
    """By `If-Match`: the caller has seen one of these; None for `*` and without the header. Weak tags never match."""
    if "If-Match" not in request.headers:
        return None
    tags = request.if_match or ()
    if any(tag.value == "*" for tag in tags):
        return None
    return frozenset(tag.value for tag in tags if not tag.is_weak)


def tagged_response(request: web.Request, tag: str, value: object, status: int = 200) -> web.Response:
    """With its `ETag`; 304 where the caller asks by `If-None-Match` and has this one."""
    known = request.if_none_match if request.method in ("GET", "HEAD") else None
    is_known = any(each.value in (tag, "*") for each in known or ())
    response = web.Response(status=304) if is_known else json_response(value, status)
    response.etag = tag
    return response


def json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
