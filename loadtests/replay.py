"""Measures the wall time and the CPU time of `crossfade replay` for a journal of many decisions.

    python -m loadtests.replay
    python -m loadtests.replay --decisions 20000 --profile

A real controller over a fake clock decides a few rollouts with the usual checks: promoted, rolled back, aborted by a check,
paused. The journal repeats these decisions for many routes, each sealed anew, in a state file on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

from msgspec.structs import replace

from crossfade.config.load import load
from crossfade.control.chain import GENESIS, seal
from crossfade.control.controller import Controller
from crossfade.control.replay import joined, journal, pages, replayed
from crossfade.control.replay_processes import examined_pages
from crossfade.control.store import Store, batch_of
from crossfade.control.views import Decision, Verb
from loadtests.tick import HEAD, Workers, _new_counts

ROUTE = """
  - name: churn
    match: {path: /churn}
    split: {v2: 100%}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{weight: 1%, hold: 5s}, {weight: 10%, hold: 5s}, {weight: 50%, hold: 5s}]
      min_requests: 100
      watch: 10s
      checks:
        - {metric: error_rate, max: 2%}
        - {metric: error_rate, max_increase: 1%}
        - {metric: latency, quantile: p99, max: 500ms}
        - {metric: latency, quantile: p99, max_ratio: 1.5}
"""
BATCH = 1000


class World:
    def __init__(self) -> None:
        self.workers = Workers()
        self.store = Store.open("sqlite::memory:")
        self.controller = Controller(self.store, self.workers, monotonic=lambda: self.workers.now)

    async def load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            loaded = load(HEAD + ROUTE, str(Path(folder) / "routing.yaml"), {})
        await self.controller.load(loaded, "bench", self.workers.now)

    async def run(self, seconds: int, errors: int = 0) -> None:
        for _ in range(seconds):
            self.workers.now += 1
            self.workers.counts = _new_counts(self.controller, 2000, ["churn"], False)
            for cell in self.workers.counts.cells:
                if errors and cell.backend == "v3":
                    cell.errors, cell.recent = errors, [1] * min(errors, 5) + [0] * 35
            self.controller.tick(self.workers.now)
            await self.controller.idle()

    async def command(self, verb: Verb) -> None:
        await self.controller.command("churn", verb, "api:kim", self.workers.now)
        await self.controller.idle()


async def decided() -> list[Decision]:
    world = World()
    await world.load()
    await world.run(40)
    for verb in (Verb.ROLLBACK, Verb.RETRY):
        await world.command(verb)
    await world.run(8)
    for verb in (Verb.PAUSE, Verb.RESUME):
        await world.command(verb)
    await world.run(8, errors=60)
    await world.command(Verb.RETRY)
    await world.run(12)
    await world.command(Verb.ABORT)
    found = world.store.decisions(None, 0, BATCH)
    await world.controller.close()
    world.store.close()
    return found


def repeated(decisions: list[Decision]) -> Iterator[Decision]:
    """On a route of its own each time; a chain without an end."""
    numbers, digest = count(1), GENESIS
    for n in count():
        for decision in decisions:
            sealed = seal(replace(decision, route=f"churn-{n}"), next(numbers), digest)
            digest = sealed.hash
            yield sealed


def write_journal(path: str, decisions: list[Decision], n: int) -> None:
    made = islice(repeated(decisions), n)
    with closing(Store.open(f"sqlite:{path}")) as store:
        while batch := list(islice(made, BATCH)):
            store.commit(batch_of(batch, []))


def measure(path: str) -> str:
    """As the command does it; CPU time is that of all its processes."""
    started, before = time.monotonic(), _cpu()
    with closing(Store.read(path)) as store, closing(examined_pages(pages(store))) as found:
        report = joined(found)
    seconds, cpu = time.monotonic() - started, _cpu() - before
    each = f"{1e6 * cpu / max(report.decisions, 1):.0f} µs for each"
    return f"{seconds:.1f} s; {cpu:.1f} s of CPU, {each}; {report}"


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def profile(path: str) -> None:
    with closing(Store.read(path)) as store, cProfile.Profile() as found:
        replayed(journal(store))
    pstats.Stats(found).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="print where the time goes, in one process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/state.db"
        write_journal(path, asyncio.run(decided()), arguments.decisions)
        print(f"{arguments.decisions} decisions, {Path(path).stat().st_size / 1e6:.0f} MB")
        if arguments.profile:
            profile(path)
        else:
            print(measure(path))


if __name__ == "__main__":
    main()
