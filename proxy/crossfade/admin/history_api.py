"""What was, and all routes at a glance: the overview, the history of a route, and the summary for those who do not operate."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from crossfade.admin.asked import json_response, query_of
from crossfade.admin.operation import Operation
from crossfade.admin.query import Moment, seconds_of
from crossfade.admin.roles import Role
from crossfade.control.controller import Controller
from crossfade.control.decision_marks import DecisionMark, Marks, marks_of
from crossfade.control.history_file import HistoryFile
from crossfade.control.history_points import DAY, HOUR, Level
from crossfade.control.history_view import HistoryView, history_view, resolution
from crossfade.control.overview import Overview, overview
from crossfade.control.refusal import Invalid
from crossfade.control.route_summary import Summary, summary_row

V1 = "/api/v1"
POINTS, MOST_POINTS = 600, 5000
SHOWN = 6 * HOUR  # seconds, where nobody says since when
DAYS, MOST_DAYS = 30, 31


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True):
    since: Moment | None = None
    until: Moment | None = None
    points: Annotated[int, Meta(ge=1, le=MOST_POINTS)] = POINTS


class SummaryQuery(msgspec.Struct, forbid_unknown_fields=True):
    days: Annotated[int, Meta(ge=1, le=MOST_DAYS)] = DAYS


class HistoryApi:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.marks = Marks(controller.journal)

    async def overview(self, request: web.Request) -> web.Response:
        return json_response(overview(self.controller.state))

    async def history(self, request: web.Request) -> web.Response:
        asked, route, now = query_of(request, HistoryQuery), request.match_info["route"], time.time()
        self.controller.state.route(route)  # it must be there
        until = int(now if asked.until is None else seconds_of(asked.until))
        since = int(until - SHOWN if asked.since is None else seconds_of(asked.since))
        if since >= until:
            raise Invalid("since must be before until.")
        level, step = resolution(since, until, asked.points, now)
        decisions = await marks_of(self.controller.journal, route, since, until)
        work = partial(_history, route=route, level=level, times=(since, until, step), decisions=decisions)
        return json_response(await self.controller.history.read(work))

    async def summary(self, request: web.Request) -> web.Response:
        days, now = query_of(request, SummaryQuery).days, time.time()
        since = int(now) - int(now) % DAY - (days - 1) * DAY
        sums = await self.controller.history.read(lambda file: file.sums(since))
        marks = await self.marks.read()
        rows = [
            summary_row(
                name, route.champion, route.config.slo, marks.get(name, []), sums.get(name, {}), since
            )
            for name, route in self.controller.state.routes.items()
        ]
        return json_response(Summary(days, since, now, rows))


def _history(
    file: HistoryFile, route: str, level: Level, times: tuple[int, int, int], decisions: list[DecisionMark]
) -> HistoryView:
    since, until, step = times
    found = file.points(route, level, since - since % step, until)
    return history_view(route, times, found, decisions)


DISK = "The disk does not give it now"
OPERATIONS = (
    Operation(
        method="GET",
        path=f"{V1}/overview",
        handler=HistoryApi.overview,
        role=Role.VIEWER,
        summary="All routes at a glance: a small row each",
        answer=Overview,
    ),
    Operation(
        method="GET",
        path=f"{V1}/history/{{route}}",
        handler=HistoryApi.history,
        role=Role.VIEWER,
        summary="What a route did: weights, requests, errors, latency and evidence over time, with the decisions",
        answer=HistoryView,
        query=HistoryQuery,
        notes={
            "since": "seconds since 1970, or RFC 3339 with a zone; 6 hours before `until` if not given",
            "until": "as `since`; now if not given",
            "points": "the most points of time in the answer",
        },
        errors={503: DISK},
    ),
    Operation(
        method="GET",
        path=f"{V1}/summary",
        handler=HistoryApi.summary,
        role=Role.VIEWER,
        summary="For those who do not operate: which model is in charge since when, what changed, how well it serves",
        answer=Summary,
        query=SummaryQuery,
        notes={"days": "today and the days before it, in UTC"},
        errors={503: DISK},
    ),
)
