"""Tells whoever trains of each order, until it has succeeded or all attempts have failed.

Rule: an order is tried by the configuration of the moment. Its end is written before it is forgotten; until that can be
written, nobody is told again. A close ends commands; the next start tries their orders anew.
"""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec

from crossfade.control.background import Background
from crossfade.control.retrain_delivery import Result, post, run
from crossfade.control.retraining import Job, Retrainings
from crossfade.control.webhook import new_session
from crossfade.rollout.retraining import pause_after

log = logging.getLogger("crossfade.retrain")

WRITE_AGAIN = 5.0  # seconds between two attempts to write the end of an order


class RetrainRunner:
    """Make it in a running loop. `api`: the URL of the admin API, for whoever trains."""

    def __init__(self, retrainings: Retrainings) -> None:
        self.retrainings = retrainings
        self.api = ""
        self.session = new_session()
        self.busy: set[str] = set()  # routes
        self._background = Background()

    def begin(self, api: str) -> None:
        """What an earlier process has left, and all that comes."""
        self.api = api
        self.retrainings.on_order = self._on_order
        for route in list(self.retrainings.held):
            self._on_order(route)

    async def close(self) -> None:
        self.retrainings.on_order = lambda route: None
        tasks = set(self._background.tasks)
        self._background.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.session.close()

    def _on_order(self, route: str) -> None:
        if route not in self.busy:
            self.busy.add(route)
            self._background.spawn(self._until_done(route))

    async def _until_done(self, route: str) -> None:
        try:
            while (job := self.retrainings.job(route)) is not None:
                await self._carry_out(job)
        finally:
            self.busy.discard(route)

    async def _carry_out(self, job: Job) -> None:
        """Returns when the order has ended, or is another one now."""
        attempt, order = 0, job.order.id
        while (now := self.retrainings.job(job.route)) is not None and now.order.id == order:
            attempt += 1
            result = await self._attempt(now)
            if result.succeeded or result.final or attempt >= now.config.attempts:
                await self._end(now, result)
                return
            log.warning("%s: order %s, attempt %d: %s", now.route, order, attempt, result.detail)
            self.retrainings.tried(now.route, attempt, result.detail)
            await asyncio.sleep(pause_after(attempt))

    async def _attempt(self, job: Job) -> Result:
        body, at = msgspec.json.encode(self.payload(job)), int(time.time())
        if job.config.webhook is not None:
            return await post(self.session, job.config, job.order.id, body, at)
        variables = {"CROSSFADE_ADMIN_URL": job.config.api or self.api, "CROSSFADE_ORDER": job.order.id}
        return await run(job.config, body, variables)

    def payload(self, job: Job) -> dict[str, object]:
        """What is posted, or given on standard input."""
        api = (job.config.api or self.api).rstrip("/")
        return {
            "id": job.order.id,
            "route": job.route,
            "reason": job.order.reason,
            "at": job.order.at,
            "evidence": job.order.evidence,
            "champion": {"backend": job.champion, "version": job.version},
            "predictions": f"{api}/api/v1/predictions/{job.route}?labelled=true{self._until(job)}",
        }

    def _until(self, job: Job) -> str:
        """Only ripe rows: of younger ones, those who answer at once have labels, and they are not like the others."""
        return "" if job.horizon is None else f"&until={job.order.at - job.horizon:.3f}"

    async def _end(self, job: Job, result: Result) -> None:
        outcome = "succeeded" if result.succeeded else "failed"
        log.info("%s: order %s has %s: %s", job.route, job.order.id, outcome, result.detail)
        while not await self.retrainings.end(job.route, job.order.id, outcome, result.detail, result.answer):
            await asyncio.sleep(WRITE_AGAIN)
