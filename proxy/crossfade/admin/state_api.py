"""The part of the admin API that shows the state: routes, backends, rollouts, decisions."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from crossfade.admin.asked import json_response, query_of, tagged_response
from crossfade.admin.operation import Operation
from crossfade.admin.query import ChallengerQuery
from crossfade.admin.roles import Role
from crossfade.control import views
from crossfade.control.pages import without_given
from crossfade.control.viewing import Views
from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.quality.summary import summary

V1 = "/api/v1"
DECISIONS, MAX_DECISIONS = 100, 1000  # in one response: the default, and the maximum


class Routes(msgspec.Struct):
    routes: list[views.RouteView]


class Backends(msgspec.Struct):
    backends: list[views.BackendView]


class Rollouts(msgspec.Struct):
    rollouts: list[views.RolloutView]


class Decisions(msgspec.Struct):
    """`next`: give it as `after` for those that follow; null at the end, and where no `after` was given."""

    decisions: list[views.Decision]
    next: int | None


class RolloutsQuery(msgspec.Struct, forbid_unknown_fields=True):
    route: str | None = None


class DecisionsQuery(msgspec.Struct, forbid_unknown_fields=True):
    route: str | None = None
    after: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_DECISIONS)] = DECISIONS
    brief: bool = False


class WhyQuery(ChallengerQuery):
    brief: bool = False


class StateApi:
    def __init__(self, shown: Views) -> None:
        self.views = shown

    async def status(self, request: web.Request) -> web.Response:
        return json_response(self.views.status(time.time()))

    async def routes(self, request: web.Request) -> web.Response:
        return json_response(Routes(self.views.routes()))

    async def route(self, request: web.Request) -> web.Response:
        name = request.match_info["route"]
        return tagged_response(request, self.views.tag(name), self.views.route(name))

    async def backends(self, request: web.Request) -> web.Response:
        return json_response(Backends(self.views.backends()))

    async def backend(self, request: web.Request) -> web.Response:
        return json_response(self.views.backend(request.match_info["backend"]))

    async def rollouts(self, request: web.Request) -> web.Response:
        route = query_of(request, RolloutsQuery).route
        return json_response(Rollouts(self.views.rollouts(time.time(), route)))

    async def rollout(self, request: web.Request) -> web.Response:
        challenger = query_of(request, ChallengerQuery).challenger
        route = request.match_info["route"]
        view = self.views.rollout(route, time.time(), challenger)
        return tagged_response(request, self.views.tag(route), view)

    async def why(self, request: web.Request) -> web.Response:
        asked = query_of(request, WhyQuery)
        found = await self.views.why(request.match_info["route"], asked.challenger)
        if asked.brief and found.decision is not None:
            found.decision = without_given(found.decision)
        return json_response(found)

    async def comparison(self, request: web.Request) -> web.Response:
        challenger = query_of(request, ChallengerQuery).challenger
        table, subject = self.views.comparison(request.match_info["route"], challenger)
        return json_response(await asyncio.to_thread(summary, table, subject))

    async def decisions(self, request: web.Request) -> web.Response:
        asked = query_of(request, DecisionsQuery)
        found = await self.views.page(asked.route, asked.after, asked.limit, asked.brief)
        follows = None
        if (
            found
            and asked.after is not None
            and await self.views.page(asked.route, found[-1].id, 1, asked.brief)
        ):
            follows = found[-1].id
        records = b",".join(record.text for record in found)
        body = b'{"decisions":[%b],"next":%b}' % (records, msgspec.json.encode(follows))
        return web.Response(body=body, content_type="application/json")


BRIEF = "true: without `evidence.given`, all that the evaluation read, which can be large"
SEVERAL = "The route has several, and no challenger is named"
OPERATIONS = (
    Operation(
        method="GET",
        path=f"{V1}/status",
        handler=StateApi.status,
        role=Role.VIEWER,
        summary="Workers, routes, rollouts, backends and configuration",
        answer=views.StatusView,
    ),
    Operation(
        method="GET",
        path=f"{V1}/routes",
        handler=StateApi.routes,
        role=Role.VIEWER,
        summary="All routes",
        answer=Routes,
    ),
    Operation(
        method="GET",
        path=f"{V1}/routes/{{route}}",
        handler=StateApi.route,
        role=Role.VIEWER,
        summary="One route",
        answer=views.RouteView,
        has_etag=True,
    ),
    Operation(
        method="GET",
        path=f"{V1}/backends",
        handler=StateApi.backends,
        role=Role.VIEWER,
        summary="All backends",
        answer=Backends,
    ),
    Operation(
        method="GET",
        path=f"{V1}/backends/{{backend}}",
        handler=StateApi.backend,
        role=Role.VIEWER,
        summary="One backend",
        answer=views.BackendView,
    ),
    Operation(
        method="GET",
        path=f"{V1}/rollouts",
        handler=StateApi.rollouts,
        role=Role.VIEWER,
        summary="All rollouts",
        answer=Rollouts,
        query=RolloutsQuery,
        notes={"route": "only those of this route"},
        errors={404: "There is no such route"},
    ),
    Operation(
        method="GET",
        path=f"{V1}/rollouts/{{route}}",
        handler=StateApi.rollout,
        role=Role.VIEWER,
        summary="The rollout of a route",
        answer=views.RolloutView,
        query=ChallengerQuery,
        errors={409: SEVERAL},
        has_etag=True,
    ),
    Operation(
        method="GET",
        path=f"{V1}/rollouts/{{route}}/why",
        handler=StateApi.why,
        role=Role.VIEWER,
        summary="The last decision, its evidence, and what would change it",
        answer=views.WhyView,
        query=WhyQuery,
        notes={"brief": BRIEF},
        errors={409: SEVERAL},
    ),
    Operation(
        method="GET",
        path=f"{V1}/comparisons/{{route}}",
        handler=StateApi.comparison,
        role=Role.VIEWER,
        summary="What mirrored pairs of answers say: the challenger's answers beside the champion's to the same requests",
        answer=ComparisonSummary,
        query=ChallengerQuery,
        notes={"challenger": "names the comparison; required where the route has several"},
        errors={409: SEVERAL},
    ),
    Operation(
        method="GET",
        path=f"{V1}/decisions",
        handler=StateApi.decisions,
        role=Role.VIEWER,
        summary=(
            "Decisions, oldest first: those above `after`, or the newest; fewer than `limit` where they are larger "
            "than 4 MiB together"
        ),
        answer=Decisions,
        query=DecisionsQuery,
        notes={"brief": BRIEF},
    ),
)
