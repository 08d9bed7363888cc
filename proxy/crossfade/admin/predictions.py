"""`GET /api/v1/predictions/{route}`: the rows of a prediction log as lines of JSON, streamed."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from datetime import datetime

from aiohttp import web

from crossfade.control.controller import Controller
from crossfade.control.prediction_export import Asked, Bounds, Page, bounds, page
from crossfade.control.refusal import Invalid, Unwritten

log = logging.getLogger("crossfade.admin")

PAGE = 500  # rows that are read at once; with inputs, 32 MiB at most
PATIENCE = 60.0  # seconds for a client to take a page
MEDIA = "application/x-ndjson"
MOST = 100_000_000  # rows in one answer


class Predictions:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.logs = controller.logs

    async def answer(self, request: web.Request) -> web.StreamResponse:
        route = request.match_info["route"]
        self.controller.state.route(route)
        asked = _asked(request)
        try:
            within = await self.logs.read(route, lambda connection: bounds(connection, asked))
        except sqlite3.Error as error:
            raise Unwritten(f"The prediction log of route {route} cannot be read: {error}.") from None
        response = web.StreamResponse(headers={"Content-Type": MEDIA})
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


def _asked(request: web.Request) -> Asked:
    """Raises Invalid."""
    query = request.query
    for name in query:
        if name not in ("labelled", "since", "until", "limit"):
            raise Invalid(f"{name} is no parameter; there are labelled, since, until and limit.")
    labelled = query.get("labelled")
    if labelled not in (None, "true", "false"):
        raise Invalid("labelled must be true or false.")
    limit = query.get("limit")
    if limit is not None and (not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= MOST):
        raise Invalid(f"limit must be a whole number from 1 to {MOST}.")
    return Asked(
        time_of(query.get("since"), "since", 0.0),
        time_of(query.get("until"), "until", float("inf")),
        None if labelled is None else labelled == "true",
        None if limit is None else int(limit),
    )


def time_of(given: str | None, name: str, default: float) -> float:
    """Seconds since the epoch, or ISO 8601 with a time zone."""
    if given is None:
        return default
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", given):
        return float(given)
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Invalid(
            f"{name} must be seconds since 1970, or a time with its zone such as 2026-01-31T12:00:00Z."
        )
    return at.timestamp()
