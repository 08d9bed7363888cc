"""Challengers that are the same program as their champion, in a process of its own, are promoted (loadtests.alike)."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from loadtests.alike import Progress, config, in_background, watched
from loadtests.neighbours import disturb
from loadtests.wavering import Load
from tests.scenarios.harness import Model, Proxy, running, wait_until

ROUTES = ("a1", "a2")
STEPS = "[{weight: 50%, hold: 12s}]"
GENEROUS = 300.0  # seconds; a p99 of few answers may be above the limit for a while


async def stand_still(model: Model) -> None:
    """The requests that arrive meanwhile, of many customers on all routes, are slow."""
    model.child.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(0.7)
    finally:
        model.child.send_signal(signal.SIGCONT)


async def test_two_processes_of_one_model_that_stand_still_in_turn_are_promoted(tmp_path: Path) -> None:
    champion, challenger = (Model(name, errors=0.005, jitter=0.005) for name in ("v2", "v3"))
    proxy = Proxy(tmp_path, config([champion, challenger], ROUTES, STEPS, "1s"))
    load = Load(proxy.port, [f"/{name}" for name in ROUTES], 400.0)
    progress = [Progress(name) for name in ROUTES]

    async def latency_is_compared() -> bool:
        rollouts = (await proxy.get("/api/v1/rollouts"))["rollouts"]
        found = [v for r in rollouts for v in r["verdicts"] if v["check"].startswith("p99")]
        return len(found) == len(ROUTES) and all(v["evidence"] is not None for v in found)

    async with running(champion, challenger, proxy), in_background(load.run(), disturb(1)):
        await wait_until(latency_is_compared, "a comparison of latencies")
        await stand_still(challenger)
        await asyncio.sleep(0.7)
        await stand_still(champion)
        await watched(proxy, progress, GENEROUS)
    assert [each.outcome for each in progress] == ["promoted"] * 2, [each.lines() for each in progress]
    print(*(line for each in progress for line in each.lines()), load.answers, sep="\n")
