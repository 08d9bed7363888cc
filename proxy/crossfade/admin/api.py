"""The admin API over HTTP (design 3.3): its application, made of the table of operations.

`problems` turns errors into responses, `access` checks who may call.
"""

from __future__ import annotations

from aiohttp import web

from crossfade.admin.access import Access, access_guard
from crossfade.admin.commands import CommandApi
from crossfade.admin.config_api import ConfigApi
from crossfade.admin.connections import timed
from crossfade.admin.dashboard_files import DashboardFiles
from crossfade.admin.drift import DriftApi
from crossfade.admin.events import EventStreams
from crossfade.admin.explain_api import ExplainApi
from crossfade.admin.feedback import FeedbackApi
from crossfade.admin.history_api import HistoryApi
from crossfade.admin.log_api import LogApi
from crossfade.admin.notifications_api import NotificationsApi
from crossfade.admin.openapi import document
from crossfade.admin.operation import SERVED, serve
from crossfade.admin.operations import GROUPS, OPERATIONS
from crossfade.admin.predictions import Predictions
from crossfade.admin.probes import Probes
from crossfade.admin.problems import answer_problems
from crossfade.admin.proxy_port import ProxyPort
from crossfade.admin.session_api import SessionApi
from crossfade.admin.state_api import StateApi
from crossfade.control.controller import Controller
from crossfade.control.explaining import Explaining
from crossfade.control.migrations import VERSION

MAX_BODY = 1 << 20


def admin_app(controller: Controller, proxy: ProxyPort, access: Access) -> web.Application:
    guard = access_guard(access)
    app = web.Application(middlewares=[timed, answer_problems, guard], client_max_size=MAX_BODY)
    streams = EventStreams(controller.feed, controller.views, access.still_admits)
    owners: tuple[object, ...] = (
        DashboardFiles(),
        Probes(controller.views, proxy, document(VERSION, OPERATIONS), access),
        SessionApi(access),
        StateApi(controller.views),
        CommandApi(controller),
        HistoryApi(controller),
        ConfigApi(controller.views, proxy, controller.configs),
        streams,
        FeedbackApi(controller.feedback),
        Predictions(controller),
        LogApi(controller),
        DriftApi(controller.drift),
        ExplainApi(Explaining(controller.state, controller.publisher)),
        NotificationsApi(controller.notify),
    )
    by_class = {type(owner): owner for owner in owners}
    app[SERVED] = {}
    for kind, operations in GROUPS.items():
        for operation in operations:
            serve(app, operation, by_class[kind])
    app.on_response_prepare.append(_harden)
    app.on_shutdown.append(streams.close)
    return app


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
