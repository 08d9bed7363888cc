"""`POST /api/v1/explain`: where a request would go, and why. Nothing is sent anywhere."""

from __future__ import annotations

import time

from aiohttp import web

from crossfade.admin.asked import json_of, json_response
from crossfade.admin.operation import Body, Operation
from crossfade.admin.roles import Role
from crossfade.control.explaining import Explaining
from crossfade.control.refusal import Invalid
from crossfade.routing.explanation import AskedRequest, Explanation


class ExplainApi:
    def __init__(self, explaining: Explaining) -> None:
        self.explaining = explaining

    async def explain(self, request: web.Request) -> web.Response:
        """200 also where the proxy would refuse that request: `refused` says with which status."""
        asked = await json_of(request, AskedRequest)
        try:
            return json_response(await self.explaining.explain(asked, time.time()))
        except ValueError as error:
            raise Invalid(f"No such request can be sent: {error}.") from None


_EXAMPLE = {
    "method": "POST",
    "target": "/predict",
    "headers": {"Host": "models.example.com", "Content-Type": "application/json"},
    "body": '{"customer_id": 42}',
}
OPERATIONS = (
    Operation(
        method="POST",
        path="/api/v1/explain",
        handler=ExplainApi.explain,
        role=Role.VIEWER,
        summary="Which route and backend a request would get and why, and at which weights its customer would move",
        answer=Explanation,
        body=Body(AskedRequest, example=_EXAMPLE),
    ),
)
