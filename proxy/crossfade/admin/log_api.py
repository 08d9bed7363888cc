"""The part of the admin API that reads prediction logs."""

from __future__ import annotations

import sqlite3

import msgspec
from aiohttp import web

from crossfade.admin.predictions import time_of
from crossfade.control.controller import Controller
from crossfade.control.label_queries import counts_of_labels
from crossfade.control.refusal import Invalid, UnknownName, Unwritten
from crossfade.control.valuing import LABEL, MEASURES, Measure, ValueAsked, policy_value
from crossfade.quality.label_counts import LabelCounts, LabelQuestion
from crossfade.quality.label_summary import LabelSummary, label_summary


class LogApi:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    async def labels(self, request: web.Request) -> web.Response:
        found = await self.label_summary(
            request.match_info["route"],
            request.query.get("name") or "label",
            time_of(request.query.get("since"), "since", 0.0),
        )
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def value(self, request: web.Request) -> web.Response:
        measure: Measure | None = None
        if (given := request.query.get("measure")) is not None:
            measure = MEASURES.get(given)
            if measure is None:
                raise Invalid("measure must be kpi or accuracy.")
        asked = ValueAsked(
            request.query.getall("if", []),
            request.query.get("name") or LABEL,
            measure,
            time_of(request.query.get("since"), "since", 0.0),
        )
        route = request.match_info["route"]
        found = await policy_value(self.controller.state, self.controller.logs, route, asked)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

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
