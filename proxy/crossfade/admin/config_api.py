"""The part of the admin API that shows, checks and loads configurations."""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiohttp import web

from crossfade.admin.access import actor_of
from crossfade.admin.asked import json_response, query_of
from crossfade.admin.connections import body_of
from crossfade.admin.operation import Body, Operation
from crossfade.admin.proxy_port import ProxyPort
from crossfade.admin.query import ForceQuery
from crossfade.admin.roles import Role
from crossfade.config.problem import Problem
from crossfade.control.viewing import Views
from crossfade.control.views import LoadedChange

V1 = "/api/v1"
YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")


class ConfigInUse(msgspec.Struct):
    """`text`: with its secrets as `***`. `restart_needed`: keys that act at the next start. `changes`: what the last load did."""

    source: str
    text: str
    hash: str
    loaded_at: float
    warnings: tuple[Problem, ...]
    restart_needed: list[str]
    changes: list[LoadedChange]


class CheckedConfig(msgspec.Struct):
    """`changes`: what a load of it would do now. `refused`: why it would not be accepted; "" if it would."""

    hash: str
    warnings: tuple[Problem, ...]
    changes: list[LoadedChange]
    refused: str
    restart_needed: list[str]


class ConfigApi:
    def __init__(self, views: Views, proxy: ProxyPort) -> None:
        self.views = views
        self.proxy = proxy
        self.checking = (
            asyncio.Lock()
        )  # one at a time: the thread shares the interpreter with the health loop

    async def config(self, request: web.Request) -> web.Response:
        return self.config_in_use()

    async def check_config(self, request: web.Request) -> web.Response:
        try:
            text = (await body_of(request)).decode()
        except UnicodeDecodeError as error:
            raise web.HTTPBadRequest(
                text=f"The body is not UTF-8: {error.reason} at {error.start}."
            ) from None
        async with self.checking:
            checked = await asyncio.to_thread(self.proxy.check, text)
        would = self.views.preview(checked, actor_of(request), time.time())
        warnings = checked.warnings
        return json_response(
            CheckedConfig(checked.hash, warnings, would.changes, would.refused, would.restart_needed)
        )

    async def reload(self, request: web.Request) -> web.Response:
        await self.proxy.reload(actor_of(request), query_of(request, ForceQuery).force)
        return self.config_in_use()

    def config_in_use(self) -> web.Response:
        config = self.views.config()
        return json_response(
            ConfigInUse(
                source=config.source,
                text=self.proxy.text(),
                hash=config.hash,
                loaded_at=config.loaded_at,
                warnings=self.views.config_warnings(),
                restart_needed=config.restart_needed,
                changes=self.views.last_changes(),
            )
        )


OPERATIONS = (
    Operation(
        method="GET",
        path=f"{V1}/config",
        handler=ConfigApi.config,
        role=Role.VIEWER,
        summary="The configuration in use",
        answer=ConfigInUse,
    ),
    Operation(
        method="POST",
        path=f"{V1}/config",
        handler=ConfigApi.check_config,
        role=Role.VIEWER,
        summary="Check a configuration without using it",
        answer=CheckedConfig,
        body=Body(str, YAML),
    ),
    Operation(
        method="POST",
        path=f"{V1}/reload",
        handler=ConfigApi.reload,
        role=Role.OPERATOR,
        summary="Read the configuration file again",
        answer=ConfigInUse,
        query=ForceQuery,
        errors={409: "The file is valid, and cannot be used now", 422: "The file is not valid"},
    ),
)
