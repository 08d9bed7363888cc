"""The part of the admin API that reads prediction logs."""

from __future__ import annotations

import sqlite3

import msgspec
from aiohttp import web

from crossfade.admin.asked import json_response, query_of
from crossfade.admin.operation import Operation
from crossfade.admin.predictions import UNREADABLE
from crossfade.admin.query import Moment, seconds_of
from crossfade.admin.roles import Role
from crossfade.control.controller import Controller
from crossfade.control.label_queries import counts_of_labels
from crossfade.control.refusal import UnknownName, Unwritten
from crossfade.control.valuing import LABEL, Measure, ValueAsked, ValueView, policy_value
from crossfade.quality.label_counts import LabelCounts, LabelQuestion
from crossfade.quality.label_summary import LabelSummary, label_summary


class LabelsQuery(msgspec.Struct, forbid_unknown_fields=True):
    name: str = LABEL
    since: Moment = 0.0


class ValueQuery(LabelsQuery):
    rules: list[str] = msgspec.field(name="if", default_factory=list)
    measure: Measure | None = None


class LogApi:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    async def labels(self, request: web.Request) -> web.Response:
        asked, route = query_of(request, LabelsQuery), request.match_info["route"]
        return json_response(await self.label_summary(route, asked.name or LABEL, seconds_of(asked.since)))

    async def value(self, request: web.Request) -> web.Response:
        given, route = query_of(request, ValueQuery), request.match_info["route"]
        asked = ValueAsked(given.rules, given.name or LABEL, given.measure, seconds_of(given.since))
        return json_response(await policy_value(self.controller.state, self.controller.logs, route, asked))

    async def label_summary(self, route: str, name: str, since: float) -> LabelSummary:
        """Raises UnknownName for a route without `feedback`."""
        config = self.controller.state.route(route).config
        if config.feedback is None:
            raise UnknownName(f"route {route} has no `feedback`, so nothing is known of its labels")
        threshold = config.prediction.decision if config.prediction is not None else None
        asked = LabelQuestion(name, threshold, config.feedback.horizon, self.controller.state.wall, since)
        try:
            counts = await self.controller.logs.read(route, lambda log: counts_of_labels(log, asked))
        except sqlite3.Error as error:
            raise Unwritten(f"The prediction log of route {route} cannot be read: {error}.") from None
        return label_summary(route, asked, counts or LabelCounts())


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/labels/{route}",
        handler=LogApi.labels,
        role=Role.VIEWER,
        summary="What ripe labels and KPIs say of each backend: the newest million predictions that are `horizon` old",
        answer=LabelSummary,
        query=LabelsQuery,
        notes={"name": "of the feedback that is the label"},
        errors={503: UNREADABLE},
    ),
    Operation(
        method="GET",
        path="/api/v1/value/{route}",
        handler=LogApi.value,
        role=Role.VIEWER,
        summary="What another split would have been worth, by ripe labels; `refused` says why where nothing can be said",
        answer=ValueView,
        query=ValueQuery,
        notes={
            "if": (
                "a rule, such as churn-v3=50% or country=DE: churn-v3=100%; give it again for more: the first that "
                "matches counts"
            ),
            "name": "of the feedback",
            "measure": "kpi: the number itself; accuracy: was the answer right? The default for the name label",
        },
        errors={503: UNREADABLE},
    ),
)
