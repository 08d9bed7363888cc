"""The admin API of drift: what was seen of a route, and its profile."""

from __future__ import annotations

from aiohttp import web

from crossfade.admin.asked import json_response
from crossfade.admin.connections import body_of
from crossfade.admin.operation import JSON, Body, Operation
from crossfade.admin.roles import Role
from crossfade.control.drift import Drift
from crossfade.control.drift_view import DriftView, drift_view
from crossfade.control.refusal import Invalid, UnknownName
from crossfade.quality.profile import BadProfile, Profile, read_profile, write_profile


class DriftApi:
    """The handlers of `/api/v1/drift/{route}` and `/api/v1/baseline/{route}`."""

    def __init__(self, drift: Drift) -> None:
        self.drift = drift

    async def show(self, request: web.Request) -> web.Response:
        return self._view(request.match_info["route"])

    async def profile(self, request: web.Request) -> web.Response:
        name = request.match_info["route"]
        profile = self.drift.route(name).whole
        if profile is None:
            raise UnknownName(f"route {name} has no profile yet")
        return web.Response(body=write_profile(profile), content_type=JSON)

    async def put_profile(self, request: web.Request) -> web.Response:
        try:
            profile = read_profile(await body_of(request))
        except BadProfile as error:
            raise Invalid(f"The profile is not valid: {error}.") from None
        name = request.match_info["route"]
        await self.drift.put(name, profile)
        return self._view(name)

    async def learn(self, request: web.Request) -> web.Response:
        """202: the profile is there when there were requests enough."""
        name = request.match_info["route"]
        self.drift.learn(name)
        return self._view(name, 202)

    def _view(self, name: str, status: int = 200) -> web.Response:
        view = drift_view(name, self.drift.route(name), self.drift.losses[name].watch)
        return json_response(view, status)


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/drift/{route}",
        handler=DriftApi.show,
        role=Role.VIEWER,
        summary="How far inputs, scores and losses are from what they were, and the alarms",
        answer=DriftView,
    ),
    Operation(
        method="GET",
        path="/api/v1/baseline/{route}",
        handler=DriftApi.profile,
        role=Role.VIEWER,
        summary="The profile that live values are compared with",
        answer=Profile,
    ),
    Operation(
        method="PUT",
        path="/api/v1/baseline/{route}",
        handler=DriftApi.put_profile,
        role=Role.OPERATOR,
        summary="Compare with this profile from now on",
        answer=DriftView,
        body=Body(Profile),
        errors={409: "The configuration names a profile"},
    ),
    Operation(
        method="POST",
        path="/api/v1/baseline/{route}",
        handler=DriftApi.learn,
        role=Role.OPERATOR,
        summary="Make a profile of the requests from now on; the present one is used until then",
        answer=DriftView,
        status=202,
        errors={409: "Not possible now; nothing has changed"},
    ),
)
