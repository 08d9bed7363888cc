"""Sends the queries of `prometheus` checks to the operator's Prometheus server, each at its interval.

Rule: a tick never waits for an answer; it uses the last reading of each query, or finds it stale. An answer
that is not one number has its own reason: no data, NaN, several series, an error.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from crossfade.config.model import Config, PrometheusConfig
from crossfade.control.keyed_tasks import KeyedTasks
from crossfade.rollout.external import Reading

log = logging.getLogger("crossfade.prometheus")

MAX_BYTES = 1024 * 1024  # of an answer; one number needs about 100
STALE_AFTER = 3  # intervals without an answer of any kind

Readings = Mapping[str, Reading]


class PrometheusPoller:
    """Make it in a running loop."""

    def __init__(self) -> None:
        self.session = aiohttp.ClientSession()
        self.server: PrometheusConfig | None = None
        self.latest: dict[str, Reading] = {}  # by query
        self.polling: KeyedTasks[str] = KeyedTasks()

    def configure(self, config: Config) -> None:
        """Send the queries of this configuration to its server from now on."""
        wanted = _queries_of(config)
        for query in list(self.polling.tasks):
            if query not in wanted or config.prometheus != self.server:
                self.polling.end(query)
                self.latest.pop(query, None)
        self.server = config.prometheus
        if self.server is not None:
            for query in wanted - self.polling.tasks.keys():
                self.polling.begin(query, self._poll(self.server, query))

    async def close(self) -> None:
        await self.polling.close()
        await self.session.close()

    def readings(self, now: float) -> Readings:
        """The last reading of each query, or that it is stale."""
        if self.server is None:
            return {}
        oldest = now - STALE_AFTER * self.server.interval - self.server.timeout
        return {query: _stale(r) if r.at < oldest else r for query, r in self.latest.items()}

    async def _poll(self, server: PrometheusConfig, query: str) -> None:
        while True:
            began = time.monotonic()
            reading = await self.ask(server, query)
            before = self.latest.get(query)
            self.latest[query] = reading
            if reading.trouble and (before is None or before.trouble != reading.trouble):
                log.warning("prometheus query %s: no number: %s", query, reading.trouble)
            await asyncio.sleep(max(began + server.interval - time.monotonic(), 0))

    async def ask(self, server: PrometheusConfig, query: str) -> Reading:
        at = time.time()
        url = server.url.rstrip("/") + "/api/v1/query"
        try:
            async with (
                asyncio.timeout(server.timeout),
                self.session.get(url, params={"query": query}) as answer,
            ):
                body = await answer.content.read(MAX_BYTES)
        except TimeoutError:
            return Reading(at, None, f"no answer within {server.timeout:g}s")
        except (OSError, aiohttp.ClientError, ValueError) as error:
            # Not the text of the error: it may hold the URL, and the URL a password.
            return Reading(at, None, f"the server cannot be asked ({type(error).__name__})")
        return read_answer(at, body)


def _stale(reading: Reading) -> Reading:
    return Reading(reading.at, None, "stale: the server has not answered for too long")


def _queries_of(config: Config) -> set[str]:
    rollouts = [rollout for route in config.routes for rollout in route.rollout]
    return {check.query for rollout in rollouts for check in rollout.checks if check.query is not None}


def read_answer(at: float, body: bytes) -> Reading:
    """The answer of `/api/v1/query` (Prometheus, HTTP API, instant queries) as one number, or the reason why it is none."""
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        if answer.get("status") != "success":
            return Reading(at, None, f"an error: {answer.get('error', 'of no known kind')}"[:200])
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind not in ("vector", "scalar"):
            return Reading(at, None, f"a {kind}")
        if kind == "vector" and len(result) != 1:
            return Reading(at, None, f"{len(result)} series" if result else "no data")
        _, text = result if kind == "scalar" else result[0]["value"]
        value = float(text)
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError):
        return Reading(at, None, "not the answer of a Prometheus server")
    return Reading(at, value) if math.isfinite(value) else Reading(at, None, str(text))
