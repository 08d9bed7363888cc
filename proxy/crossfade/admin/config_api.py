"""The part of the admin API that shows, checks, applies and restores configurations."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import msgspec
from aiohttp import web

from crossfade.admin.access import actor_of
from crossfade.admin.asked import json_response, query_of, seen_by, tagged_response
from crossfade.admin.connections import body_of
from crossfade.admin.operation import Body, Operation
from crossfade.admin.proxy_port import ProxyPort
from crossfade.admin.query import ForceQuery
from crossfade.admin.roles import Role
from crossfade.config.problem import Problem
from crossfade.control.config_history import ConfigHistory
from crossfade.control.config_views import LoadedChange
from crossfade.control.configurations import Order
from crossfade.control.kept_configs import KeptConfig, Origin
from crossfade.control.refusal import UnknownName
from crossfade.control.viewing import Views
from crossfade.log_lines import printable

V1 = "/api/v1"
YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")


class ConfigInUse(msgspec.Struct):
    """`text`: with its secrets as `***`. `restart_needed`: keys that act at the next start. `changes`: what the last load did.

    `differs`: from the file, as it was applied. `id`: its number in the history; null where it could not be kept there.
    """

    source: str
    text: str
    hash: str
    loaded_at: float
    warnings: tuple[Problem, ...]
    restart_needed: list[str]
    changes: list[LoadedChange]
    differs: bool
    id: int | None


class CheckedConfig(msgspec.Struct):
    """`changes`: what a load of it would do now. `refused`: why it would not be accepted; "" if it would."""

    hash: str
    warnings: tuple[Problem, ...]
    changes: list[LoadedChange]
    refused: str
    restart_needed: list[str]


class PastConfig(msgspec.Struct):
    """`at`: when it came into force, by `actor`; `origin`: from the file, or applied. `in_force`: it is the one that is used now."""

    id: int
    at: float
    actor: str
    origin: Origin
    hash: str
    in_force: bool


class PastConfigs(msgspec.Struct):
    configs: list[PastConfig]


class PastConfigText(PastConfig):
    """`text`: with its secrets as `***`."""

    text: str


class ApplyQuery(ForceQuery):
    apply: bool = False


class ConfigApi:
    def __init__(self, views: Views, proxy: ProxyPort, past: ConfigHistory) -> None:
        self.views = views
        self.proxy = proxy
        self.past = past
        self.checking = (
            asyncio.Lock()
        )  # one at a time: the thread shares the interpreter with the health loop

    async def config(self, request: web.Request) -> web.Response:
        return self.config_in_use(request)

    async def post_config(self, request: web.Request) -> web.Response:
        asked = query_of(request, ApplyQuery)
        text = await _text_of(request)
        async with self.checking:
            if asked.apply:
                await self.proxy.apply(text, _order_of(request, asked.force))
                return self.config_in_use(request)
            checked = await asyncio.to_thread(self.proxy.check, text)
        would = self.views.preview(checked, actor_of(request), time.time())
        warnings = checked.warnings
        return json_response(
            CheckedConfig(checked.hash, warnings, would.changes, would.refused, would.restart_needed)
        )

    async def reload(self, request: web.Request) -> web.Response:
        await self.proxy.reload(_order_of(request, query_of(request, ForceQuery).force))
        return self.config_in_use(request)

    async def history(self, request: web.Request) -> web.Response:
        kept = await self.past.entries()
        return json_response(PastConfigs([PastConfig(**self._shown(each)) for each in reversed(kept)]))

    async def past_config(self, request: web.Request) -> web.Response:
        kept = await self.past.entry(_id_in(request))
        return json_response(PastConfigText(**self._shown(kept), text=kept.shown))

    async def restore(self, request: web.Request) -> web.Response:
        order = _order_of(request, query_of(request, ForceQuery).force)
        await self.proxy.restore(_id_in(request), order)
        return self.config_in_use(request)

    def _shown(self, kept: KeptConfig) -> dict[str, Any]:
        return {
            "id": kept.id,
            "at": kept.at,
            "actor": kept.actor,
            "origin": kept.origin,
            "hash": kept.hash,
            "in_force": kept.id == self.past.number,
        }

    def config_in_use(self, request: web.Request) -> web.Response:
        config = self.views.config()
        return tagged_response(
            request,
            self.views.config_tag(),
            ConfigInUse(
                source=config.source,
                text=self.proxy.text(),
                hash=config.hash,
                loaded_at=config.loaded_at,
                warnings=self.views.config_warnings(),
                restart_needed=config.restart_needed,
                changes=self.views.last_changes(),
                differs=config.differs,
                id=self.past.number,
            ),
        )


def _order_of(request: web.Request, force: bool) -> Order:
    return Order(actor_of(request), time.time(), force, seen_by(request))


async def _text_of(request: web.Request) -> str:
    try:
        return (await body_of(request)).decode()
    except UnicodeDecodeError as error:
        raise web.HTTPBadRequest(text=f"The body is not UTF-8: {error.reason} at {error.start}.") from None


def _id_in(request: web.Request) -> int:
    """Raises UnknownName."""
    given = request.match_info["id"]
    if not re.fullmatch("[0-9]{1,15}", given):
        raise UnknownName(f"no configuration of the history has the id {printable(given)}")
    return int(given)


UNREADABLE = "The history cannot be read"
NOT_NOW = "It is valid, and cannot be used now; nothing has changed"
OPERATIONS = (
    Operation(
        method="GET",
        path=f"{V1}/config",
        handler=ConfigApi.config,
        role=Role.VIEWER,
        summary="The configuration in use",
        answer=ConfigInUse,
        has_etag=True,
    ),
    Operation(
        method="POST",
        path=f"{V1}/config",
        handler=ConfigApi.post_config,
        role=Role.VIEWER,
        role_with={"apply": Role.OPERATOR},
        summary="Check a configuration without using it; or, with `apply`, use it until the file changes or the proxy starts again",
        answer=CheckedConfig | ConfigInUse,
        query=ApplyQuery,
        notes={"apply": "true: use it"},
        body=Body(str, YAML),
        takes_if_match=True,
        errors={409: NOT_NOW},
    ),
    Operation(
        method="GET",
        path=f"{V1}/config/history",
        handler=ConfigApi.history,
        role=Role.VIEWER,
        summary="The configurations that were in force, the newest first: the last 50, or 16 MiB",
        answer=PastConfigs,
        errors={503: UNREADABLE},
    ),
    Operation(
        method="GET",
        path=f"{V1}/config/history/{{id}}",
        handler=ConfigApi.past_config,
        role=Role.VIEWER,
        summary="One configuration that was in force, with its text",
        answer=PastConfigText,
        errors={503: UNREADABLE},
    ),
    Operation(
        method="POST",
        path=f"{V1}/config/history/{{id}}/restore",
        handler=ConfigApi.restore,
        role=Role.OPERATOR,
        summary="Use a configuration that was in force before",
        answer=ConfigInUse,
        query=ForceQuery,
        takes_if_match=True,
        errors={409: NOT_NOW, 503: UNREADABLE},
    ),
    Operation(
        method="POST",
        path=f"{V1}/reload",
        handler=ConfigApi.reload,
        role=Role.OPERATOR,
        summary="Read the configuration file again; what was applied goes",
        answer=ConfigInUse,
        query=ForceQuery,
        takes_if_match=True,
        errors={409: NOT_NOW},
    ),
)
