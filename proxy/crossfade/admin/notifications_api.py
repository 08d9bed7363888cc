"""Who is told what happens, in the admin API: what waits for each receiver, and a test of them."""

from __future__ import annotations

import msgspec
from aiohttp import web

from crossfade.admin.access import actor_of
from crossfade.admin.asked import json_response, query_of
from crossfade.admin.operation import Operation
from crossfade.admin.roles import Role
from crossfade.control.notifications import Notifications, ReceiverView, Tested

V1 = "/api/v1"


class NotificationsView(msgspec.Struct):
    """`receivers`: those of the whole file first. `outcomes`: what became of messages since the start of the proxy."""

    receivers: list[ReceiverView]
    outcomes: dict[str, int]


class TestedReceivers(msgspec.Struct):
    """In the order of the file."""

    receivers: list[Tested]


class TestQuery(msgspec.Struct, forbid_unknown_fields=True):
    route: str = ""


class NotificationsApi:
    def __init__(self, notifications: Notifications) -> None:
        self.notifications = notifications

    async def show(self, request: web.Request) -> web.Response:
        return json_response(NotificationsView(self.notifications.views(), self.notifications.counts()))

    async def test(self, request: web.Request) -> web.Response:
        route = query_of(request, TestQuery).route
        return json_response(TestedReceivers(await self.notifications.test(route, actor_of(request))))


OPERATIONS = (
    Operation(
        method="GET",
        path=f"{V1}/notifications",
        handler=NotificationsApi.show,
        role=Role.VIEWER,
        summary="Show who is told what happens, and how many messages wait for each receiver",
        answer=NotificationsView,
    ),
    Operation(
        method="POST",
        path=f"{V1}/notifications/test",
        handler=NotificationsApi.test,
        role=Role.OPERATOR,
        summary="Send a test message to each receiver, and say whether it arrived",
        answer=TestedReceivers,
        query=TestQuery,
        notes={"route": "only the receivers that are told of this route"},
        errors={404: "There is no such route"},
    ),
)
