"""The admin API of drift: what was seen of a route, and its profile."""

from __future__ import annotations

import msgspec
from aiohttp import web

from crossfade.admin.connections import body_of
from crossfade.control.drift import Drift
from crossfade.control.drift_view import drift_view
from crossfade.control.refusal import Invalid, UnknownName
from crossfade.quality.profile import BadProfile, read_profile, write_profile

JSON = "application/json"


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
        return web.Response(body=msgspec.json.encode(view), status=status, content_type=JSON)
