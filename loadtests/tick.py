"""What one look of the control process costs: CPU of a tick over many routes with many checks each.

    python -m loadtests.tick                        the table
    python -m loadtests.tick --routes 50 --ticks 40 --profile

Each route is in the middle of a rollout, with what a long step has gathered, and gets new counts before
each tick; the dearest case is that of all routes having had an error just now.
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
from crossfade.control.controller import Controller
from crossfade.control.seam import WorkerStatus
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
ROUTE = """
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
    """A seam without workers: takes what it is given."""

    def __init__(self) -> None:
        self.counts = Counts()

    async def publish(self, snapshot: Snapshot) -> None:
        pass

    def take(self) -> Counts:
        taken, self.counts = self.counts, Counts()
        return taken

    def workers(self) -> list[WorkerStatus]:
        return []


def reported(controller: Controller, n: int, of: Sequence[str], with_errors: bool) -> Counts:
    """n requests of each of these routes, a tenth of them on the challenger."""
    out = Counts()
    for name in of:
        version = controller.lives[name].record.ledger.version
        for backend, role, size in (("v2", "champion", 9 * n // 10), ("v3", "challenger", n // 10)):
            bad = size // 200 if with_errors else 0
            made = Cell(name, backend, role, version, size, bad, recent=[False] * min(size, 40))
            made.codes = {200: size}
            for i in range(min(size, 97)):
                made.duration.add(0.02 + 0.0007 * (i * 37 % 97))
                made.first_byte.add(0.01 + 0.0005 * (i * 37 % 97))
                made.scores.add(i * 31 % 100 / 100)
            for title, _ in controller.lives[name].limits.get(backend, ()):
                made.events[title] = Events(unkeyed=bad)
            out.cells.append(made)
    return out


async def measured(
    controller: Controller, workers: Workers, ticks: int, part: float, errors: bool
) -> list[float]:
    """Seconds of CPU for each tick; `part` of the routes have new counts in it."""
    out, names = [], list(controller.lives)
    for tick in range(ticks):
        new = names[: round(part * len(names))]
        workers.counts = reported(controller, 2000, new, errors)
        began = time.process_time()
        await controller.tick(NOW + 1000 + tick / 4)
        out.append(time.process_time() - began)
    assert all(live.is_guarded for live in controller.lives.values())
    return out


async def ready(routes: int, workers: Workers) -> Controller:
    """Each rollout in its first step, with 80 000 requests behind it and marks along the way."""
    controller = Controller(Store.open("sqlite::memory:"), workers)
    yaml = HEAD + "".join(ROUTE.format(n=n) for n in range(routes))
    with tempfile.TemporaryDirectory() as place:
        await controller.load(load(yaml, str(Path(place) / "routing.yaml"), {}), "bench", NOW)
    await controller.tick(NOW)
    for tick in range(40):
        workers.counts = reported(controller, 2000, list(controller.lives), tick % 4 == 0)
        await controller.tick(NOW + 1 + tick / 4)
    return controller


async def bench(routes: int, ticks: int, profile: bool) -> None:
    workers = Workers()
    controller = await ready(routes, workers)
    assert all(len(live.rollouts["v3"].verdicts) >= CHECKS for live in controller.lives.values())
    if profile:
        lines = (
            f"  {v.check}: {v.verdict}, {v.reason}" for v in controller.lives["r0"].rollouts["v3"].verdicts
        )
        print(*lines, sep="\n")
    cases = (
        ("all routes, with errors", 1.0, True),
        ("all routes, without", 1.0, False),
        ("none", 0.0, False),
    )
    print(f"CPU of one tick over {routes} routes with {CHECKS} checks each; new counts for …")
    for name, part, errors in cases:
        found = await measured(controller, workers, ticks, part, errors)
        print(f"  {name:<26} median {median(found) * 1000:6.1f} ms, worst {max(found) * 1000:6.1f} ms")
    if profile:
        with cProfile.Profile() as taken:
            await measured(controller, workers, ticks, 1.0, True)
        pstats.Stats(taken).sort_stats("tottime").print_stats(25)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.tick", description=__doc__)
    parser.add_argument("--routes", type=int, default=50, help="routes, each with a rollout")
    parser.add_argument("--ticks", type=int, default=40, help="ticks of each case")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args(argv)
    asyncio.run(bench(options.routes, options.ticks, options.profile))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
