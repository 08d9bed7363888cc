"""JSON answers and error answers.

Rule: handlers raise `Refused`. Only `render_refusals` makes bodies of refusals, of aiohttp's
errors and of unexpected exceptions: `{"detail": [{loc, msg, type}]}`, or below `/v2` the
`{"error": "..."}` of the Open Inference Protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

logger = logging.getLogger("backends")


@dataclass(frozen=True, slots=True)
class Problem:
    """`loc` is the path to the value in the request; it starts with `body`."""

    loc: tuple[str | int, ...]
    msg: str
    type: str

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.loc if part != "body")
        return f"{where}: {self.msg}" if where else self.msg


class Refused(Exception):
    def __init__(self, status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None):
        super().__init__("; ".join(map(str, problems)))
        self.status = status
        self.problems = problems
        self.headers = headers


def refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> Refused:
    return Refused(status, [Problem((), message, "refused")], headers)


def json_reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), status=status, headers=headers, content_type="application/json"
    )


@web.middleware
async def render_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        refusal = refused
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        refusal = refuse(error.status, f"{request.method} {request.path}: {error.reason}", headers)
    except Exception:
        logger.exception("%s %s", request.method, request.path)
        refusal = refuse(500, "internal error")
    return json_reply(_body_of(refusal, request.path), refusal.status, refusal.headers)


def _body_of(refusal: Refused, path: str) -> dict[str, Any]:
    if path == "/v2" or path.startswith("/v2/"):
        return {"error": str(refusal)}
    return {"detail": refusal.problems}
