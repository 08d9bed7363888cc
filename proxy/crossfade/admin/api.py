"""The admin API over HTTP (design 3.3).

Rule: handlers read the clock, name the actor and turn JSON into calls of the controller; they decide nothing.
`problems` turns errors into responses, `access` checks who may call.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, Protocol

import msgspec
from aiohttp import web

from crossfade.admin import openapi
from crossfade.admin.access import Access, access_guard, actor_of
from crossfade.admin.access_metrics import of_failures
from crossfade.admin.connections import body_of, timed
from crossfade.admin.dashboard_files import DashboardFiles
from crossfade.admin.drift import DriftApi
from crossfade.admin.events import EventStreams
from crossfade.admin.feedback import FeedbackApi
from crossfade.admin.log_api import LogApi
from crossfade.admin.metrics import render
from crossfade.admin.predictions import Predictions
from crossfade.admin.problems import answer_problems, problem
from crossfade.admin.process_metrics import read_processes
from crossfade.admin.session_api import SessionApi
from crossfade.config.load import Loaded
from crossfade.control.controller import Controller
from crossfade.control.draining import DRAIN
from crossfade.control.migrations import VERSION
from crossfade.control.refusal import Invalid
from crossfade.control.views import Verb
from crossfade.log_lines import printable
from crossfade.quality.summary import summary

MAX_BODY = 1 << 20


class ReloadPort(Protocol):
    """What the composition root does for the admin API."""

    async def reload(self, actor: str, force: bool = False) -> None:
        """Read the file again. Raises ConfigError or Refused; then the old configuration stays."""

    def ready(self) -> tuple[bool, str]:
        """Whether the proxy is ready for traffic; if not, the reason."""

    def check(self, text: str) -> Loaded:
        """Check a configuration as `run` does, without using it. Raises ConfigError.

        The client that sends it learns nothing of the environment and of files by that.
        """

    def text(self) -> str:
        """The text of the configuration in use, with its secrets as `***`."""


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    reason: str = ""


def admin_app(controller: Controller, control: ReloadPort, access: Access) -> web.Application:
    guard = access_guard(access)
    app = web.Application(middlewares=[timed, answer_problems, guard], client_max_size=MAX_BODY)
    api, logs, session = AdminApi(controller, control, access), LogApi(controller), SessionApi(access)
    drift, dashboard = DriftApi(controller.drift), DashboardFiles()
    v1 = "/api/v1"
    app.add_routes(
        [
            web.get("/", dashboard.page),
            web.get("/static/{file:.+}", dashboard.file),
            web.get("/healthz", api.healthz),
            web.get("/readyz", api.readyz),
            web.get("/metrics", api.metrics),
            web.get("/openapi.json", api.openapi),
            web.get(f"{v1}/session", session.show),
            web.post(f"{v1}/session", session.begin),
            web.delete(f"{v1}/session", session.end),
            web.get(f"{v1}/status", api.status),
            web.get(f"{v1}/routes", api.routes),
            web.get(f"{v1}/routes/{{route}}", api.route),
            web.put(f"{v1}/routes/{{route}}/split", api.set_split),
            web.get(f"{v1}/backends", api.backends),
            web.get(f"{v1}/backends/{{backend}}", api.backend),
            web.post(f"{v1}/backends/{{backend}}/endpoints/{{endpoint}}/{{verb:drain|undrain}}", api.drain),
            web.get(f"{v1}/rollouts", api.rollouts),
            web.get(f"{v1}/rollouts/{{route}}", api.rollout),
            web.post(f"{v1}/rollouts/{{route}}/{{verb:{'|'.join(Verb)}}}", api.command),
            web.get(f"{v1}/rollouts/{{route}}/why", api.why),
            web.get(f"{v1}/comparisons/{{route}}", api.comparison),
            web.get(f"{v1}/labels/{{route}}", logs.labels),
            web.get(f"{v1}/value/{{route}}", logs.value),
            web.post(f"{v1}/retrain/{{route}}", api.retrain),
            web.get(f"{v1}/predictions/{{route}}", Predictions(controller).answer),
            web.get(f"{v1}/drift/{{route}}", drift.show),
            web.get(f"{v1}/baseline/{{route}}", drift.profile),
            web.put(f"{v1}/baseline/{{route}}", drift.put_profile),
            web.post(f"{v1}/baseline/{{route}}", drift.learn),
            web.get(f"{v1}/decisions", api.decisions),
            web.post(f"{v1}/feedback", FeedbackApi(controller.feedback).post),
            web.get(f"{v1}/events", api.streams.answer, allow_head=False),
            web.get(f"{v1}/config", api.config),
            web.post(f"{v1}/config", api.check_config),
            web.post(f"{v1}/reload", api.reload),
        ]
    )
    app.on_response_prepare.append(_harden)
    app.on_shutdown.append(api.streams.close)
    return app


class AdminApi:
    """The handlers, one for each path of `admin_app`."""

    def __init__(self, controller: Controller, control: ReloadPort, access: Access) -> None:
        self.controller = controller
        self.failures = access.failures
        self.views = controller.views
        self.control = control
        self.streams = EventStreams(controller.feed, controller.views)
        self.checking = (
            asyncio.Lock()
        )  # one at a time: the thread shares the interpreter with the health loop
        self.document = openapi.document(VERSION)

    async def healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Ready also while the state cannot be written: serving does not need the disk. The text says so."""
        ready, reason = self.control.ready()
        if not ready:
            return problem(503, reason, "not-ready", "Not ready")
        store_ok = self.views.store_ok
        return web.Response(
            text="ready\n" if store_ok else "ready; no exposure rises: the state cannot be written\n"
        )

    async def metrics(self, request: web.Request) -> web.Response:
        pids = {str(w.worker): w.pid for w in self.views.seam.workers() if w.up}
        processes = await asyncio.to_thread(read_processes, pids)
        accept = request.headers.get("Accept", "")
        more = [*processes, of_failures(self.failures.counts)]
        page, media = render(self.views.metrics(time.time()), accept, more)
        return web.Response(body=page, headers={"Content-Type": media})

    async def openapi(self, request: web.Request) -> web.Response:
        return _json_response(self.document)

    async def status(self, request: web.Request) -> web.Response:
        return _json_response(self.views.status(time.time()))

    async def routes(self, request: web.Request) -> web.Response:
        return _json_response({"routes": self.views.routes()})

    async def route(self, request: web.Request) -> web.Response:
        return _json_response(self.views.route(request.match_info["route"]))

    async def set_split(self, request: web.Request) -> web.Response:
        weights = await _json_of(request, dict[str, float])
        route = request.match_info["route"]
        force, actor = _force_in(request), actor_of(request)
        return _json_response(await self.controller.set_split(route, weights, actor, time.time(), force))

    async def backends(self, request: web.Request) -> web.Response:
        return _json_response({"backends": self.views.backends()})

    async def backend(self, request: web.Request) -> web.Response:
        return _json_response(self.views.backend(request.match_info["backend"]))

    async def rollouts(self, request: web.Request) -> web.Response:
        return _json_response({"rollouts": self.views.rollouts(time.time(), request.query.get("route"))})

    async def rollout(self, request: web.Request) -> web.Response:
        return _json_response(
            self.views.rollout(request.match_info["route"], time.time(), _challenger_in(request))
        )

    async def drain(self, request: web.Request) -> web.Response:
        reason, drains = await _reason_in(request), self.controller.drains
        backend, endpoint, verb = (request.match_info[name] for name in ("backend", "endpoint", "verb"))
        if verb == DRAIN:
            await drains.drain(backend, endpoint, actor_of(request), reason, _force_in(request))
        else:
            await drains.undrain(backend, endpoint, actor_of(request), reason)
        return _json_response(self.views.endpoint(backend, endpoint))

    async def command(self, request: web.Request) -> web.Response:
        reason = await _reason_in(request)
        route, verb = request.match_info["route"], Verb(request.match_info["verb"])
        actor, challenger, force = actor_of(request), _challenger_in(request), _force_in(request)
        view = await self.controller.command(route, verb, actor, time.time(), reason, challenger, force)
        return _json_response(view, 202 if view.not_durable else 200)

    async def retrain(self, request: web.Request) -> web.Response:
        """202: the order is on disk; whoever trains is told of it now."""
        reason, route = await _reason_in(request), request.match_info["route"]
        return _json_response(await self.controller.retrain.order(route, actor_of(request), reason), 202)

    async def why(self, request: web.Request) -> web.Response:
        return _json_response(await self.views.why(request.match_info["route"], _challenger_in(request)))

    async def comparison(self, request: web.Request) -> web.Response:
        table, subject = self.views.comparison(request.match_info["route"], _challenger_in(request))
        return _json_response(await asyncio.to_thread(summary, table, subject))

    async def decisions(self, request: web.Request) -> web.Response:
        route = request.query.get("route")
        limit = _number_in(request, "limit", openapi.DECISIONS, range(1, openapi.MAX_DECISIONS + 1))
        after = _number_in(request, "after", 0, range(1 << 63)) if "after" in request.query else None
        found = await self.views.page(route, after, limit)
        body = b'{"decisions":[%b]}' % b",".join(record.text for record in found)
        return web.Response(body=body, content_type="application/json")

    async def config(self, request: web.Request) -> web.Response:
        return self.config_in_use()

    async def check_config(self, request: web.Request) -> web.Response:
        if "apply" in request.query:
            raise web.HTTPBadRequest(text="?apply is not supported; edit the file and reload")
        try:
            text = (await body_of(request)).decode()
        except UnicodeDecodeError as error:
            raise web.HTTPBadRequest(
                text=f"The body is not UTF-8: {error.reason} at {error.start}."
            ) from None
        async with self.checking:
            checked = await asyncio.to_thread(self.control.check, text)
        would = self.views.preview(checked, actor_of(request), time.time())
        return _json_response(
            {"hash": checked.hash, "warnings": checked.warnings, **msgspec.structs.asdict(would)}
        )

    async def reload(self, request: web.Request) -> web.Response:
        await self.control.reload(actor_of(request), _force_in(request))
        return self.config_in_use()

    def config_in_use(self) -> web.Response:
        config = self.views.config()
        return _json_response(
            {
                "source": config.source,
                "text": self.control.text(),
                "hash": config.hash,
                "loaded_at": config.loaded_at,
                "warnings": self.views.config_warnings(),
                "restart_needed": config.restart_needed,
                "changes": self.views.last_changes(),
            }
        )


def _json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


async def _json_of(request: web.Request, kind: Any, default: Any = None) -> Any:
    """The JSON body as this type. An empty body gives `default`, if there is one."""
    content = await body_of(request)
    if not content and default is not None:
        return default
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"The body is not valid: {error}.") from None
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=f"The body is not JSON: {error}.") from None


async def _reason_in(request: web.Request) -> str:
    """Of the body, on one line; "" without one."""
    given = await _json_of(request, Reason, Reason())
    reason = printable(" ".join(given.reason.split()))
    if len(reason) > openapi.MAX_REASON:
        raise Invalid(f"The reason is longer than {openapi.MAX_REASON} characters.")
    return reason


def _challenger_in(request: web.Request) -> str | None:
    """Names the rollout where a route has several."""
    return request.query.get("challenger")


def _force_in(request: web.Request) -> bool:
    """Whether traffic may go to a backend that is down."""
    given = request.query.get("force", "false")
    if given not in ("true", "false"):
        raise Invalid("force must be true or false.")
    return given == "true"


def _number_in(request: web.Request, name: str, default: int, allowed: range) -> int:
    given = request.query.get(name)
    if given is None:
        return default
    if not re.fullmatch("[0-9]{1,19}", given) or int(given) not in allowed:
        raise Invalid(f"{name} must be a whole number from {allowed.start} to {allowed.stop - 1}.")
    return int(given)


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
