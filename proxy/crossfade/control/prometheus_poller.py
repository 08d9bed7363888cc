"""Sends the queries of `prometheus` checks to the operator's Prometheus server, each at its interval.

Rule: a tick never waits for an answer; it uses the last reading of each query, or finds it stale. An answer
that is not one number has its own reason: no data, NaN, several series, an error, a redirect, too long.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from crossfade.config.model import Config, PrometheusConfig
from crossfade.control.keyed_tasks import KeyedTasks
from crossfade.rollout.external import Reading

log = logging.getLogger("crossfade.prometheus")

MAX_BYTES = 1024 * 1024  # of an answer; one number needs about 100
PLAIN = {"Accept-Encoding": "identity"}
NO_ANSWER = "not the answer of a Prometheus server"
STALE_AFTER = 3  # intervals without an answer of any kind

Readings = Mapping[str, Reading]


class PrometheusPoller:
    """Make it in a running loop. `served`: the served time, by which readings are dated (law 14)."""

    def __init__(self, served: Callable[[], float]) -> None:
        self.served = served
        self.session = aiohttp.ClientSession(auto_decompress=False)
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
        at = self.served()
        url = server.url.rstrip("/") + "/api/v1/query"
        try:
            async with (
                asyncio.timeout(server.timeout),
                # Not behind a redirect: the query, and the password of the URL, are for this server alone.
                self.session.get(
                    url, params={"query": query}, headers=PLAIN, allow_redirects=False
                ) as answer,
            ):
                body = await _body_of(answer)
        except TimeoutError:
            return Reading(at, None, f"no answer within {server.timeout:g}s")
        except _UnfitAnswer as error:
            return Reading(at, None, str(error))
        except (OSError, aiohttp.ClientError, ValueError) as error:
            return Reading(at, None, f"the server cannot be asked ({cause_of(error)})")
        reading = read_answer(at, body)
        if reading.trouble == NO_ANSWER and answer.status != 200:
            return Reading(at, None, f"HTTP status {answer.status}")
        return reading


class _UnfitAnswer(Exception):
    """An answer that is not read; the message says why."""


async def _body_of(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body, in however many pieces it comes."""
    if 300 <= answer.status < 400:
        raise _UnfitAnswer(f"a redirect (HTTP status {answer.status}), which is not followed")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _UnfitAnswer("a compressed answer, which was not asked for")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_BYTES:
            raise _UnfitAnswer(f"an answer of more than {MAX_BYTES} bytes")
    return bytes(body)


def cause_of(error: Exception) -> str:
    """Not the text of the error: it may hold the URL, and the URL a password."""
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "it closed the connection before the end of its answer"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return type(error).__name__


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
        return Reading(at, None, NO_ANSWER)
    return Reading(at, value) if math.isfinite(value) else Reading(at, None, str(text))
