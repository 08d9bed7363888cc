"""`GET /api/v1/predictions/{route}`: the rows of a prediction log as lines of JSON, streamed."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import Annotated

import msgspec
from aiohttp import web

from crossfade.admin.asked import query_of
from crossfade.admin.operation import NDJSON, Operation
from crossfade.admin.query import Moment, seconds_of
from crossfade.admin.roles import Role
from crossfade.control.controller import Controller
from crossfade.control.prediction_export import Asked, Bounds, Page, PredictionRow, bounds, page
from crossfade.control.refusal import Unwritten

log = logging.getLogger("crossfade.admin")

PAGE = 500  # rows that are read at once; with inputs, 32 MiB at most
PATIENCE = 60.0  # seconds for a client to take a page
MOST = 100_000_000  # rows in one answer


class PredictionsQuery(msgspec.Struct, forbid_unknown_fields=True):
    labelled: bool | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] | None = None


class Predictions:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.logs = controller.logs

    async def answer(self, request: web.Request) -> web.StreamResponse:
        route = request.match_info["route"]
        self.controller.state.route(route)
        given = query_of(request, PredictionsQuery)
        asked = Asked(
            0.0 if given.since is None else seconds_of(given.since),
            float("inf") if given.until is None else seconds_of(given.until),
            given.labelled,
            given.limit,
        )
        try:
            within = await self.logs.read(route, lambda connection: bounds(connection, asked))
        except sqlite3.Error as error:
            raise Unwritten(f"The prediction log of route {route} cannot be read: {error}.") from None
        response = web.StreamResponse(headers={"Content-Type": NDJSON})
        response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            if within is not None and request.method != "HEAD":
                await self._stream(response, route, asked, within)
            await response.write_eof()
        except (ConnectionResetError, TimeoutError):  # the reader has closed, or does not read
            _abort(request)
        except sqlite3.Error as error:
            log.error("the prediction log of route %s cannot be read: %s", route, error)
            _abort(request)  # without an end, so that nobody takes the part for the whole
        return response

    async def _stream(self, response: web.StreamResponse, route: str, asked: Asked, within: Bounds) -> None:
        after: int | None = within.after
        while after is not None:
            rest = Bounds(after, within.last)
            found = await self.logs.read(route, lambda connection: page(connection, asked, rest, PAGE))  # noqa: B023
            lines, after = found or Page(b"", None)
            if lines:
                async with asyncio.timeout(PATIENCE):
                    await response.write(lines)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


UNREADABLE = "The prediction log cannot be read"
OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/predictions/{route}",
        handler=Predictions.answer,
        role=Role.VIEWER,
        summary=(
            "Predictions of a route with `feedback`, oldest first, a line of JSON each: what was asked, what was answered, "
            "and the feedback that came"
        ),
        answer=PredictionRow,
        media=NDJSON,
        query=PredictionsQuery,
        notes={
            "labelled": "true: only rows with feedback; false: only rows without",
            "limit": "the newest so many",
        },
        errors={503: UNREADABLE},
    ),
)
