"""Kills a control plane many times: `python -m tests.scenarios.killed_control_plane STATE KILLS SEED`.

Each run is a forked process that continues from the state on disk, with a real store, simulated counts and
random operator commands. Its seam is a pipe that receives each published ledger version and weight. After the
kill, the pipe shows what workers would serve, and the store shows what was decided; each run prints both on
one line.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from contextlib import closing, suppress

from crossfade.config.load import load
from crossfade.control.comparisons import Comparisons
from crossfade.control.controller import Controller
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.logged_batches import Taken
from crossfade.control.observations import LatestObservations
from crossfade.control.refusal import Refused
from crossfade.control.seam import WorkerStatus, acknowledged
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Cell, Counts

STEPS = ", ".join(f"{{weight: {share}%, hold: 1s}}" for share in (1, 3, 8, 15, 30, 45, 70))
CONFIG = f"""
listen: :0
backends:
  v2: {{endpoints: [http://h:2], health: false}}
  v3: {{endpoints: [http://h:3], health: false}}
routes:
  - name: churn
    split: {{v2: 100%}}
    retry: {{pure: true}}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{{mirror: 10%, hold: 1s}}, {STEPS}]
      min_requests: 1
      checks: [{{metric: error_rate, max: 50%}}]
"""
VERBS = (Verb.ABORT, Verb.RETRY, Verb.PROMOTE, Verb.ROLLBACK, Verb.PAUSE, Verb.RESUME)


def exposure_of(snapshot: Snapshot) -> tuple[int, int]:
    """(ledger version, weight of the challenger) in the snapshot."""
    ledger = snapshot.routes[0].ledger
    return ledger.version, ledger.weights.get("v3", 0)


class PipeSeam:
    def __init__(self, fd: int) -> None:
        self.observations = LatestObservations()
        self.comparisons = Comparisons()
        self.drift = DriftChannel()
        self.fd = fd
        self.snapshot: Snapshot | None = None

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.snapshot = snapshot
        os.write(self.fd, b"%d %d\n" % exposure_of(snapshot))  # atomic: shorter than PIPE_BUF
        return acknowledged()

    def take(self) -> Counts:
        assert self.snapshot is not None
        route = self.snapshot.routes[0]
        version = route.ledger.version
        cells = [Cell("churn", "v3", "shadow", version, 5)] if route.mirrors else []
        serving = [name for name, weight in route.ledger.weights.items() if weight]
        return Counts(cells + [Cell("churn", name, "challenger", version, 50) for name in serving])

    def take_logged(self) -> Taken:
        return Taken((), {})

    def workers(self) -> list[WorkerStatus]:
        return []

    def leaving_workers(self) -> list[WorkerStatus]:
        return []


async def run_controller(state: str, seed: int, fd: int) -> None:
    generator = random.Random(seed)
    now = time.time() + 1000 * seed
    controller = Controller(Store.open(state), PipeSeam(fd), monotonic=lambda: now)
    await controller.load(load(CONFIG, "f", {}), "file", now)
    while True:
        now += 2
        controller.tick(now)
        await controller.idle()
        phase = controller.views.rollout("churn", now).phase
        if phase not in ("progressing",) or generator.random() < 0.1:
            with suppress(Refused):
                await controller.command("churn", generator.choice(VERBS), "test", now)


def run_and_kill(state: str, seed: int, published: int, seconds: float) -> None:
    """Kills the run `seconds` after its `published`-th snapshot."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(run_controller(state, seed, writing))
        os._exit(1)
    os.close(writing)
    output = b""
    with open(reading, "rb") as pipe:
        while output.count(b"\n") < published:
            output += os.read(pipe.fileno(), 1)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        output += pipe.read()
    lines = [[int(n) for n in line.split()] for line in output.decode().splitlines()]
    with closing(Store.read(state.removeprefix("sqlite:"))) as store:
        (record,) = [record for record, _ in store.records().values()]
        decision = store.last("churn")
    assert decision is not None
    print(
        json.dumps(
            {
                "published": lines,
                "version": record.ledger.version,
                "weight": record.ledger.weights.get("v3", 0),
                "decided": decision.to["weight"],
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    generator = random.Random(int(sys.argv[3]))
    for run in range(int(sys.argv[2])):
        run_and_kill(sys.argv[1], run, generator.randint(1, 6), generator.uniform(0, 0.01))
