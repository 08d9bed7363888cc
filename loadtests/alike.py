"""Real A/A rollouts: is a challenger promoted that is the same program as its champion, as a process of its own?

    python -m loadtests.alike
    python -m loadtests.alike --rollouts 5 --endpoints 3 --seconds 600

Each batch has a new proxy with two workers, new processes of the models, and some routes. Routes of one batch share the pauses of the same
processes, so their outcomes are correlated; batches are not. The load has 200 customers, sticky by a header, and its rate varies
(loadtests.wavering). Busy processes come and go, and each process of the models stands still now and then, at random (loadtests.neighbours).
Prints how each rollout ended, what spoke most against the challenger, and what a rollout waited for. The exit code is 1 if one was
aborted, and 2 if one had no end in time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

from loadtests.neighbours import disturb, pause
from loadtests.wavering import Load
from loadtests.work import HEADER
from tests.scenarios.harness import Model, Proxy, running

ROUTES = 5  # of a batch
RATE = 100.0  # requests a second of each route, in the mean
ERRORS, JITTER = 0.005, 0.01  # share of answers that are a 500; mean of the exponential latency in seconds
STEPS = "[{weight: 5%, hold: 15s}, {weight: 25%, hold: 15s}, {weight: 50%, hold: 15s}]"
_LOOK = 0.5  # seconds between two looks at the rollouts


def config(models: Sequence[Model], routes: Sequence[str], steps: str = STEPS, watch: str = "10s") -> str:
    """`models`: endpoints of `v2` and of `v3`, by their names."""
    lines = ["backends:"]
    for name in ("v2", "v3"):
        endpoints = ", ".join(f"http://127.0.0.1:{m.port}" for m in models if m.name == name)
        lines.append(f"  {name}: {{endpoints: [{endpoints}]}}")
    lines += ["routes:", *(route_of(name, steps, watch) for name in routes)]
    return "\n".join(lines) + "\n"


def route_of(name: str, steps: str, watch: str) -> str:
    return f"""\
  - name: {name}
    match: {{path: /{name}}}
    sticky: {{header: {HEADER}}}
    split: {{v2: 100%}}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: {steps}
      min_requests: 100
      watch: {watch}
      checks:
        - {{metric: error_rate, max_increase: 1%}}
        - {{metric: latency, quantile: p99, max_ratio: 1.25}}
        - {{metric: rejected, max_increase: 1%}}"""


class Progress:
    """What is seen of one rollout. `outcome` is set at its end; `waited`: looks at which a check or guard did not pass."""

    def __init__(self, route: str) -> None:
        self.route = route
        self.outcome, self.seconds, self.reason = "", 0.0, ""
        self.phase = ""
        self.loudest: dict[str, dict[str, Any]] = {}  # by check, the verdict with the largest evidence
        self.held: dict[str, dict[str, Any]] = {}  # proven, and not a FAIL
        self.waited: Counter[str] = Counter()

    def look(self, rollout: dict[str, Any], seconds: float) -> None:
        self.phase, self.seconds = f"{rollout['phase']} {rollout['step'] + 1}", seconds
        self.reason = rollout["waiting_for"]
        for found in rollout["verdicts"]:
            check, evidence = found["check"], found["evidence"]
            if found["verdict"] != "PASS":
                self.waited[f"{check} {found['verdict']}"] += 1
            if evidence is None:
                continue
            if evidence >= self.loudest.get(check, found)["evidence"]:
                self.loudest[check] = found
            if evidence >= found["bound"] and found["verdict"] != "FAIL":
                self.held[check] = found

    def end(self, decision: dict[str, Any]) -> None:
        self.outcome = {"watch_ended": "promoted"}.get(decision["action"], decision["to"]["phase"])
        self.reason = decision["reason"]

    def lines(self) -> list[str]:
        outcome = self.outcome or f"waiting ({self.phase})"
        out = [f"{self.route}: {outcome} after {self.seconds:.0f} s; {self.reason}"]
        for check, found in sorted(self.loudest.items(), key=lambda item: -item[1]["evidence"]):
            if found["evidence"] > 0:
                out.append(
                    f"    largest evidence {found['evidence']:.1f} of {found['bound']:.1f}: {check}: {found['reason']}"
                )
        out += [f"    held back: {check}: {found['reason']}" for check, found in self.held.items()]
        waits = (f"{what} {looks * _LOOK:.0f} s" for what, looks in self.waited.most_common(5))
        return [*out, f"    not passed: {', '.join(waits)}"] if self.waited else out


async def watched(proxy: Proxy, progress: Sequence[Progress], seconds: float) -> None:
    """Until all rollouts have ended, or the time is over."""
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds and not all(p.outcome for p in progress):
        rollouts = {r["route"]: r for r in (await proxy.get("/api/v1/rollouts"))["rollouts"]}
        for each in progress:
            rollout = rollouts[each.route]
            if each.outcome:
                continue
            each.look(rollout, now)
            if rollout["phase"] != "progressing":
                decision = (await proxy.get(f"/api/v1/rollouts/{each.route}/why"))["decision"]
                if decision["action"] != "promote":  # its watch is still under way
                    each.end(decision)
        await asyncio.sleep(_LOOK)


@contextlib.asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in started:
                task.cancel()


async def batch(number: int, routes: int, options: argparse.Namespace, folder: Path) -> list[Progress]:
    progress = [Progress(f"a{number}-{n}") for n in range(1, routes + 1)]
    names = [each.route for each in progress]
    models = [
        Model(name, errors=ERRORS, jitter=JITTER) for name in ("v2", "v3") for _ in range(options.endpoints)
    ]
    proxy = Proxy(folder, config(models, names, watch=options.watch))
    load = Load(proxy.port, [f"/{name}" for name in names], RATE * routes)
    print(
        f"batch {number}: {routes} routes, {options.endpoints} endpoints for each model, load {os.getloadavg()[0]:.1f}"
    )
    async with running(*models, proxy):
        pauses = pause([model.child.pid for model in models], options.pauses)
        async with in_background(load.run(), disturb(), pauses):
            await watched(proxy, progress, options.seconds)
    for each in progress:
        print("\n".join(each.lines()), flush=True)
    print(f"answers: {dict(load.answers)}; requests without a connection: {load.left_out}", flush=True)
    return progress


def batches(rollouts: int, folder: Path) -> list[tuple[int, Path]]:
    """Routes and folder of each batch."""
    sizes = [min(ROUTES, rollouts - before) for before in range(0, rollouts, ROUTES)]
    folders = [folder / f"batch-{number}" for number in range(1, len(sizes) + 1)]
    for each in folders:
        each.mkdir(parents=True)
    return list(zip(sizes, folders, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--endpoints", type=int, default=1, help="processes of each model")
    parser.add_argument("--pauses", type=float, default=3, help="a minute, of each process of the models")
    parser.add_argument("--watch", default="10s", help="of each rollout (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300, help="limit of a batch of rollouts")
    parser.add_argument("--folder", type=Path, help="where the state of the proxies is kept")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the children too
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        todo = batches(arguments.rollouts, arguments.folder or Path(temporary))
        for number, (routes, folder) in enumerate(todo, 1):
            done = asyncio.run(batch(number, routes, arguments, folder))
            outcomes.update(each.outcome or "waiting" for each in done)
    print(", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()))
    return 1 if outcomes.keys() - {"promoted", "waiting"} else 2 if outcomes["waiting"] else 0


if __name__ == "__main__":
    sys.exit(main())
