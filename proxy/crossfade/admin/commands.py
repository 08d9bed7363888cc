"""The part of the admin API that changes what is served: commands to rollouts, splits, endpoints, trainings.

Rule: handlers read the clock, name the actor and turn JSON into calls of the controller; they decide nothing.
"""

from __future__ import annotations

import time
from typing import Annotated

from aiohttp import web
from msgspec import Meta

from crossfade.admin.access import actor_of
from crossfade.admin.asked import (
    Reason,
    json_of,
    json_response,
    query_of,
    reason_of,
    seen_by,
    tagged_response,
)
from crossfade.admin.operation import Body, Operation
from crossfade.admin.query import ForceQuery
from crossfade.admin.roles import Role
from crossfade.control import views
from crossfade.control.change_preview import ChangePreview, Previews
from crossfade.control.controller import Controller
from crossfade.control.draining import DRAIN, UNDRAIN
from crossfade.control.seen import Meant
from crossfade.control.views import Verb

V1 = "/api/v1"
Weights = Annotated[dict[str, Annotated[float, Meta(ge=0)]], Meta(min_length=1)]


class PreviewQuery(ForceQuery):
    preview: bool = False


class CommandQuery(PreviewQuery):
    challenger: str | None = None


class CommandApi:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.views = controller.views
        self.previews = Previews(controller.state, controller.journal, controller.seam)

    async def set_split(self, request: web.Request) -> web.Response:
        asked = query_of(request, PreviewQuery)
        weights = await json_of(request, Weights)
        route, actor, seen = request.match_info["route"], actor_of(request), seen_by(request)
        if asked.preview:
            shown = self.previews.split(route, weights, asked.force)
            return tagged_response(request, self.views.tag(route), shown)
        view = await self.controller.set_split(route, weights, actor, time.time(), asked.force, seen)
        return tagged_response(request, self.views.tag(route), view)

    async def command(self, request: web.Request) -> web.Response:
        asked, reason = query_of(request, CommandQuery), await reason_of(request)
        route, verb = request.match_info["route"], Verb(request.match_info["verb"])
        actor, now = actor_of(request), time.time()
        if asked.preview:
            shown = self.previews.command(route, verb, asked.challenger, asked.force)
            return tagged_response(request, self.views.tag(route), shown)
        meant = Meant(asked.challenger, seen_by(request))
        view = await self.controller.command(route, verb, actor, now, reason, meant, asked.force)
        return tagged_response(request, self.views.tag(route), view, 202 if view.not_durable else 200)

    async def drain(self, request: web.Request) -> web.Response:
        force, drains = query_of(request, ForceQuery).force, self.controller.drains
        reason, actor = await reason_of(request), actor_of(request)
        backend, endpoint, verb = (request.match_info[name] for name in ("backend", "endpoint", "verb"))
        if verb == DRAIN:
            await drains.drain(backend, endpoint, actor, reason, force)
        else:
            await drains.undrain(backend, endpoint, actor, reason)
        return json_response(self.views.endpoint(backend, endpoint))

    async def retrain(self, request: web.Request) -> web.Response:
        """202: the order is on disk; whoever trains is told of it now."""
        reason, route = await reason_of(request), request.match_info["route"]
        return json_response(await self.controller.retrain.order(route, actor_of(request), reason), 202)


REASON = Body(Reason, required=False, example={"reason": "its p99 is better in the report"})
PREVIEW_NOTES = {
    "preview": "true: nothing is done; the answer says what would be, and why it would be refused"
}
NOT_NOW = "Not possible now; nothing has changed"
OPERATIONS = (
    Operation(
        method="PUT",
        path=f"{V1}/routes/{{route}}/split",
        handler=CommandApi.set_split,
        role=Role.OPERATOR,
        summary="Set the split; the response comes when all workers serve by it",
        answer=views.RouteView,
        preview=ChangePreview,
        query=PreviewQuery,
        notes=PREVIEW_NOTES,
        role_with={"preview": Role.VIEWER},
        body=Body(Weights, example={"churn-v2": 95, "churn-v3": 5}),
        takes_if_match=True,
        errors={409: NOT_NOW},
    ),
    Operation(
        method="POST",
        path=f"{V1}/rollouts/{{route}}/{{verb:{'|'.join(Verb)}}}",
        handler=CommandApi.command,
        role=Role.OPERATOR,
        summary="Pause, resume, promote, abort, roll back or retry a rollout",
        answer=views.RolloutView,
        preview=ChangePreview,
        notes=PREVIEW_NOTES,
        role_with={"preview": Role.VIEWER},
        also={202: "In force, and not in the journal yet: `not_durable` says where it is kept"},
        query=CommandQuery,
        body=REASON,
        takes_if_match=True,
        errors={409: NOT_NOW},
    ),
    Operation(
        method="POST",
        path=f"{V1}/backends/{{backend}}/endpoints/{{endpoint}}/{{verb:{DRAIN}|{UNDRAIN}}}",
        handler=CommandApi.drain,
        role=Role.OPERATOR,
        summary="No new requests for an endpoint, or requests again; the response comes when all workers do so",
        answer=views.EndpointView,
        query=ForceQuery,
        notes={"force": "true: also the last available endpoint; without it the answer is then 409"},
        body=REASON,
        errors={409: NOT_NOW},
    ),
    Operation(
        method="POST",
        path=f"{V1}/retrain/{{route}}",
        handler=CommandApi.retrain,
        role=Role.OPERATOR,
        summary="Order that the model of a route is trained again, by whoever `retrain` in the file names",
        answer=views.RetrainView,
        status=202,
        body=REASON,
        errors={409: NOT_NOW},
    ),
)
