"""Measures the CPU time of one tick of the control process, with many routes and many checks on each.

    python -m loadtests.tick
    python -m loadtests.tick --routes 50 --ticks 40 --profile

Each route is in the middle of a rollout, with the evidence of a long step, and gets new counts before each
tick. The most expensive case is new errors on all routes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from crossfade.config.load import load
from crossfade.control.comparisons import Comparisons
from crossfade.control.controller import Controller
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.logged_batches import Taken
from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus, acknowledged
from crossfade.control.store import Store
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Cell, Counts, Events

HEAD = """
listen: 127.0.0.1:0
state: "sqlite::memory:"
backends:
  v2: {endpoints: [http://127.0.0.1:9002], health: false}
  v3: {endpoints: [http://127.0.0.1:9003], health: false}
routes:
"""
_ROUTE = """
  - name: r{n}
    match: {{path: /r{n}}}
    split: {{v2: 100%}}
    prediction: {{score: score, decision: 0.5}}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{{weight: 10%, hold: 99d}}, {{weight: 50%, hold: 99d}}]
      fuse: false
      checks:
        - {{metric: error_rate, max: 5%}}
        - {{metric: error_rate, max_increase: 2%}}
        - {{metric: latency, quantile: p50, max_ratio: 1.5}}
        - {{metric: latency, quantile: p99, max: 500ms}}
        - {{metric: latency, quantile: p99, max_ratio: 1.5}}
        - {{metric: requests, min: 100}}
        - {{metric: score_divergence, max: 0.1}}
        - {{metric: disagreement, max: 5%}}
"""
CHECKS = 8
NOW = 1_700_000_000.0


class Workers:
    """A seam without workers: it returns the counts that the bench has set."""

    def __init__(self) -> None:
        self.observations = LatestObservations()
        self.comparisons = Comparisons()
        self.drift = DriftChannel()
        self.counts = Counts()
        self.now = NOW

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        return acknowledged()

    def take(self) -> Counts:
        taken, self.counts = self.counts, Counts()
        return taken

    def take_logged(self) -> Taken:
        return Taken((), {})

    def workers(self) -> list[WorkerStatus]:
        return []

    def leaving_workers(self) -> list[WorkerStatus]:
        return []


def _new_counts(controller: Controller, n: int, routes: Sequence[str], with_errors: bool) -> Counts:
    """n requests on each of these routes, 10 % of them on the challenger."""
    out = Counts()
    for name in routes:
        version = controller.state.routes[name].record.ledger.version
        for backend, role, size in (("v2", "champion", 9 * n // 10), ("v3", "challenger", n // 10)):
            bad = size // 200 if with_errors else 0
            made = Cell(name, backend, role, version, size, bad, recent=[0] * min(size, 40))
            made.codes = {200: size}
            for i in range(min(size, 97)):
                made.duration.add(0.02 + 0.0007 * (i * 37 % 97))
                made.first_byte.add(0.01 + 0.0005 * (i * 37 % 97))
                made.scores.add(i * 31 % 100 / 100)
            for title, _ in controller.state.routes[name].limits.get(backend, ()):
                made.events[title] = Events(unkeyed=bad)
            out.cells.append(made)
    return out


def _tick(controller: Controller, workers: Workers, seconds: float) -> None:
    workers.now = NOW + seconds
    controller.tick(workers.now)


async def measure_ticks(
    controller: Controller, workers: Workers, ticks: int, part: float, errors: bool
) -> list[float]:
    """CPU seconds of each tick; the share `part` of the routes has new counts in each."""
    out, names = [], list(controller.state.routes)
    for tick in range(ticks):
        new = names[: round(part * len(names))]
        workers.counts = _new_counts(controller, 2000, new, errors)
        started = time.process_time()
        _tick(controller, workers, 1000 + tick / 4)
        await controller.idle()
        out.append(time.process_time() - started)
    assert all(live.is_guarded for live in controller.state.routes.values())
    return out


async def controller_with_rollouts(routes: int, workers: Workers) -> Controller:
    """Each rollout is in its first step, with the counts of 80 000 requests; a quarter of the ticks had errors."""
    controller = Controller(Store.open("sqlite::memory:"), workers, monotonic=lambda: workers.now)
    yaml = HEAD + "".join(_ROUTE.format(n=n) for n in range(routes))
    with tempfile.TemporaryDirectory() as folder:
        await controller.load(load(yaml, str(Path(folder) / "routing.yaml"), {}), "bench", NOW)
    _tick(controller, workers, 0)
    await controller.idle()
    for tick in range(40):
        workers.counts = _new_counts(controller, 2000, list(controller.state.routes), tick % 4 == 0)
        _tick(controller, workers, 1 + tick / 4)
    return controller


async def bench(routes: int, ticks: int, profile: bool) -> None:
    workers = Workers()
    controller = await controller_with_rollouts(routes, workers)
    assert all(len(live.rollouts["v3"].verdicts) >= CHECKS for live in controller.state.routes.values())
    if profile:
        lines = (
            f"  {v.check}: {v.verdict}, {v.reason}"
            for v in controller.state.routes["r0"].rollouts["v3"].verdicts
        )
        print(*lines, sep="\n")
    cases = (
        ("all routes, with errors", 1.0, True),
        ("all routes, without errors", 1.0, False),
        ("no route", 0.0, False),
    )
    print(f"CPU time of one tick over {routes} routes with {CHECKS} checks each, with new counts for")
    for name, part, errors in cases:
        found = await measure_ticks(controller, workers, ticks, part, errors)
        print(f"  {name:<28} median {median(found) * 1000:6.1f} ms, worst {max(found) * 1000:6.1f} ms")
    if profile:
        with cProfile.Profile() as profiler:
            await measure_ticks(controller, workers, ticks, 1.0, True)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.tick", description=__doc__)
    parser.add_argument("--routes", type=int, default=50, help="number of routes, each with a rollout")
    parser.add_argument("--ticks", type=int, default=40, help="number of ticks for each case")
    parser.add_argument("--profile", action="store_true", help="print a profile")
    options = parser.parse_args(argv)
    asyncio.run(bench(options.routes, options.ticks, options.profile))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
