"""A control plane that is killed and killed again: `python -m tests.scenarios.killed STATE KILLS SEED`.

Each life is a fork that goes on from the state on disk with a real store, made-up traffic and an
operator of many moods; its seam is a pipe into which each published exposure goes. After the kill the
pipe says what the workers serve by, and the store what was decided; both are printed, a line for each life.
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
from crossfade.control.controller import Controller
from crossfade.control.refusal import Refused
from crossfade.control.seam import WorkerStatus
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
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{{mirror: 10%, hold: 1s}}, {STEPS}]
      min_requests: 1
      checks: [{{metric: error_rate, max: 50%}}]
"""
MOODS = (Verb.ABORT, Verb.RETRY, Verb.PROMOTE, Verb.ROLLBACK, Verb.PAUSE, Verb.RESUME)


def trial_of(snapshot: Snapshot) -> tuple[int, int]:
    """(ledger version, the challenger's weight) that a worker would serve by."""
    ledger = snapshot.routes[0].ledger
    return ledger.version, ledger.weights.get("v3", 0)


class PipeSeam:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.snapshot: Snapshot | None = None

    async def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        os.write(self.fd, b"%d %d\n" % trial_of(snapshot))  # small enough to go whole or not at all

    def take(self) -> Counts:
        assert self.snapshot is not None
        route = self.snapshot.routes[0]
        version = route.ledger.version
        cells = [Cell("churn", "v3", "shadow", version, 5)] if route.mirrors else []
        held = [name for name, weight in route.ledger.weights.items() if weight]
        return Counts(cells + [Cell("churn", name, "challenger", version, 50) for name in held])

    def workers(self) -> list[WorkerStatus]:
        return []


async def live(state: str, seed: int, fd: int) -> None:
    chance = random.Random(seed)
    controller = Controller(Store.open(state), PipeSeam(fd))
    now = time.time() + 1000 * seed
    await controller.load(load(CONFIG, "f", {}), "file", now)
    while True:
        now += 2
        await controller.tick(now)
        phase = controller.rollout("churn", now).phase
        if phase not in ("progressing",) or chance.random() < 0.1:
            with suppress(Refused):
                await controller.command("churn", chance.choice(MOODS), "mood", now)


def one_life(state: str, seed: int, published: int, seconds: float) -> None:
    """Killed so many seconds after it has published so often."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(live(state, seed, writing))
        os._exit(1)
    os.close(writing)
    seen = b""
    with open(reading, "rb") as pipe:
        while seen.count(b"\n") < published:
            seen += os.read(pipe.fileno(), 1)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen += pipe.read()
    lines = [[int(n) for n in line.split()] for line in seen.decode().splitlines()]
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
    chances = random.Random(int(sys.argv[3]))
    for life in range(int(sys.argv[2])):
        one_life(sys.argv[1], life, chances.randint(1, 6), chances.uniform(0, 0.01))
