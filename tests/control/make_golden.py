"""Write the golden state file of the current format: `python -m tests.control.make_golden`.

A real run of the controller over a fake clock and fake traffic, so that the file holds every kind of decision and every
phase. The same code gives the same decisions. Golden files of earlier formats are never made again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from crossfade.control.migrations import FORMAT
from crossfade.control.seen import Meant
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.rollout.external import Reading
from crossfade.rollout.ripe import Ripe
from crossfade.routing.snapshot import Route
from crossfade.stats.counts import Cell, Events
from crossfade.stats.pairs import Pairs

from .harness import Harness

GOLDEN = Path(__file__).parent / "golden"

HEAD = """
listen: 127.0.0.1:0
state: "sqlite::memory:"
prometheus: {url: http://127.0.0.1:9090}
backends:
  v2: {endpoints: [http://127.0.0.1:9002], health: false}
  v3: {endpoints: [http://127.0.0.1:9003], health: false, version: "3"}
  v4: {endpoints: [http://127.0.0.1:9004], health: false}
"""

ROUTES = """
routes:
  - name: churn
    match: {path: /churn}
    sticky: {json: customer_id}
    split: {v2: 100%}
    fallback: v2
    prediction: {score: score, decision: 0.5}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{weight: 10%, hold: 10s}, {weight: 50%, hold: 10s}]
      min_requests: 100
      watch: 30s
      advance_early: 1%
      fuse: {consecutive_errors: 10, error_share: 50%, of_last: 20}
      checks:
        - {metric: error_rate, max: 5%}
        - {metric: error_rate, max_increase: 2%}
        - {metric: latency, quantile: p90, max: 500ms}
        - {metric: latency, quantile: p90, max_ratio: 1.5}
        - {metric: requests, min: 100}
        - {metric: score_divergence, max: 0.2}
        - {metric: kpi, name: conversion, max_increase: 0.5}
        - {metric: kpi, name: basket, min: 0.5}
        - {metric: prometheus, name: gpu, query: gpu_load, max: 0.9}
  - name: fraud
    match: {path: /fraud}
    retry: {pure: true}
    split: {v2: 100%}
    prediction: {label: class}
    rollout:
      strategy: shadow
      champion: v2
      challenger: v3
      steps: [{mirror: 20%, hold: 5s}, {weight: 10%, hold: 5s}]
      min_requests: 50
      checks: [{metric: disagreement, max: 20%}, {metric: error_rate, max_increase: 2%}]
  - name: price
    match: {path: /price}
    sticky: {header: x-customer}
    split: {v2: 90%, v4: 10%}
    rollout:
      - {strategy: canary, champion: v2, challenger: v3, steps: [{weight: 5%, hold: 5s}, {weight: 20%, hold: 5s}],
         min_requests: 50, watch: 1d, fuse: false, checks: {metric: error_rate, max: 5%}}
      - {strategy: ab_test, champion: v2, challenger: v4, steps: [{weight: 10%, hold: 5s}],
         min_requests: 50, checks: {metric: error_rate, max: 5%}}
  - name: rank
    match: {path: /rank}
    split: {v2: 100%}
    rollout:
      strategy: canary
      champion: v2
      challenger: v4
      steps: [{weight: 0, hold: 5s}, {weight: 10%, hold: 5s}]
      min_requests: 20
      max_step_time: 10s
      on_undecided: advance
      watch: 1d
      checks: [{metric: requests, min: 1000000}]
  - name: plain
    match: {path: /plain}
    split: {v2: 100%}
"""


EDITED = ROUTES.replace("watch: 30s", "watch: 40s").replace("path: /plain", "prefix: /plain")


class Traffic:
    """Requests on every route by the ledger in force; `bad`: the share of errors by (route, backend)."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.bad: dict[tuple[str, str], float] = {}
        harness.controller.readings = lambda now: {"gpu_load": Reading(now, 0.25)}

    async def ticks(self, n: int) -> None:
        for _ in range(n):
            for route in self.harness.seam.published[-1].routes:
                self.serve(route)
            await self.harness.tick()

    def serve(self, route: Route) -> None:
        for name, weight in route.ledger.weights.items():
            if weight:
                self.count(route, name, route.roles[route.ledger.backends.index(name)], weight // 10)
        for mirror in route.mirrors:
            n = mirror.sample // 10
            cell = self.count(route, mirror.to, "shadow", n)
            cell.pairs = Pairs(
                n=n, changed=n // 10, raised=n // 20, chances=n / 10, twice=n // 10, noise=n // 50
            )

    def count(self, route: Route, backend: str, role: str, n: int) -> Cell:
        errors = round(n * self.bad.get((route.name, backend), 0.0))
        cell = Cell(route.name, backend, role, route.ledger.version, requests=n, errors=errors)
        cell.codes = {200: n - errors, 500: errors}
        cell.unkeyed = n // 4
        for i in range(n):
            cell.duration.add((0.03, 0.05, 0.08)[i % 3])
            cell.first_byte.add(0.02)
            if route.name == "churn":
                cell.scores.add((i * 7 % 10) / 10)
        if route.name == "churn":
            rows = []
            for i in range(n // 2):
                unit = int(self.harness.now * 10) * 2**20 + i * 2**8 + int(backend[1:])
                feedback = {"conversion": float(i % 5 == 0), "basket": 1.0 + i % 3}
                rows.append(Ripe(0, route.ledger.version, backend, unit, i % 10 == 0, feedback))
            self.harness.feed(route.name, rows)
        keys = [i * 2**40 + route.ledger.version for i in range(n // 100)]
        slow = Events(unkeyed=n // 100, keyed=len(keys), keys=keys)
        cell.events = {title: slow for title, _ in route.limits.get(backend, ())}
        cell.recent = [int((i + 1) * errors // n > i * errors // n) for i in range(n)][-12:]
        self.harness.seam.counts.cells.append(cell)
        return cell

    async def command(self, route: str, verb: Verb, challenger: str | None = None) -> None:
        await self.harness.controller.command(
            route, verb, "api:kim", self.harness.now, f"golden: {verb}", Meant(challenger)
        )


async def run(store: Store) -> None:
    """Ends with: churn at its second step, fraud aborted, price/v3 rolled back and v4 paused, rank watched."""
    harness = Harness(store)
    await harness.load(ROUTES, HEAD)
    traffic = Traffic(harness)
    await traffic.ticks(4)
    await traffic.command("price", Verb.PAUSE, "v3")
    await traffic.command("price", Verb.ABORT, "v4")
    await traffic.ticks(3)
    await traffic.command("price", Verb.RESUME, "v3")
    traffic.bad = {("fraud", "v3"): 1.0}
    await traffic.ticks(11)
    await traffic.command("rank", Verb.RESUME)
    await traffic.ticks(20)
    traffic.bad = {("price", "v3"): 0.9}
    await traffic.ticks(2)
    traffic.bad = {}
    await traffic.command("price", Verb.RETRY, "v4")
    await traffic.ticks(45)
    await traffic.command("churn", Verb.ROLLBACK)
    await traffic.command("churn", Verb.RETRY)
    await harness.controller.set_split("plain", {"v2": 3, "v4": 1}, "api:kim", harness.now)
    await harness.load(EDITED, HEAD, "api:kim")
    await traffic.ticks(20)
    await harness.controller.idle()


def main() -> None:
    path = GOLDEN / f"state-{FORMAT}.db"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with closing(Store.open(f"sqlite:{path}")) as store:
        asyncio.run(run(store))
        for d in store.decisions(None, 0, 1000):
            print(
                d.id,
                d.route,
                d.to.get("challenger", ""),
                d.action,
                d.to.get("phase", ""),
                d.reason,
                sep=" | ",
            )
    with closing(sqlite3.connect(path)) as connection:  # one file, without the write-ahead log beside it
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
