"""Every error of the admin API as `application/problem+json` (RFC 9457).

Rule: one middleware maps every exception to a response. The response to an internal error has no details; the
traceback goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from crossfade.config.problem import ConfigError
from crossfade.control.refusal import (
    Changed,
    ControlError,
    Invalid,
    LastEndpoint,
    Refused,
    UnknownName,
    Unreadable,
    Unwritten,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

KINDS: dict[type[ControlError], tuple[str, str]] = {
    UnknownName: ("unknown-name", "No such route, backend, endpoint or rollout"),
    Refused: ("refused", "Not possible now"),
    LastEndpoint: ("last-endpoint", "The last endpoint of its backend"),
    Invalid: ("invalid", "The request is not valid"),
    Changed: ("changed", "Somebody else was there first"),
    Unwritten: ("unwritten", "It cannot be written now"),
    Unreadable: ("unreadable", "It cannot be read now"),
}

DETAILS = {
    404: "There is nothing at {path}; GET /openapi.json lists all paths.",
    405: "{method} is not allowed here.",
    413: "The body is larger than the admin API accepts.",
}


def problem(
    status: int,
    detail: str,
    kind: str = "",
    title: str = "",
    headers: Mapping[str, str] | None = None,
    **fields: object,
) -> web.Response:
    """`kind`: names a problem type of ours; without it the type is `about:blank`."""
    body: dict[str, object] = {
        "type": f"urn:crossfade:problem:{kind}" if kind else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **fields,
    }
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type=MEDIA_TYPE, headers=headers
    )


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _http_problem(request, error)
    except ControlError as error:
        kind, title = KINDS.get(type(error), ("refused", "Not done"))
        return problem(error.status, str(error), kind, title)
    except ConfigError as error:
        return _config_problem(error)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "Internal error of the proxy; its log has the details.")


def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    """Of errors that aiohttp raises, and of those that handlers raise with a text."""
    template = DETAILS.get(error.status)
    detail = error.text or ""
    if template and detail in ("", f"{error.status}: {error.reason}"):
        detail = template.format(path=request.path, method=request.method)
    kept = ("Allow", "WWW-Authenticate", "Retry-After")
    headers = {name: error.headers[name] for name in kept if name in error.headers}
    response = problem(error.status, detail, headers=headers)
    if error.status in (408, 413):  # the rest of the body is not waited for
        response.force_close()
    return response


def _config_problem(error: ConfigError) -> web.Response:
    problems: list[Any] = [msgspec.to_builtins(p) for p in error.problems]
    return problem(
        422,
        f"The configuration has {len(problems)} problem(s); the one in use stays.",
        "invalid-config",
        "The configuration is not valid",
        problems=problems,
    )
