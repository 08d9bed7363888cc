"""Challengers that are the same program as their champion, in a process of its own, are promoted (loadtests.alike)."""

from __future__ import annotations

from pathlib import Path

from loadtests.alike import Progress, config, in_background, watched
from loadtests.neighbours import disturb
from loadtests.wavering import Load
from tests.scenarios.harness import Model, Proxy, running

ROUTES = ("a1", "a2", "a3")
STEPS = "[{weight: 25%, hold: 2s}, {weight: 50%, hold: 2s}]"
GENEROUS = 300.0  # seconds; a p99 of few answers may be above the limit for a while


async def test_two_processes_of_one_model_are_promoted_on_each_route(tmp_path: Path) -> None:
    models = [Model(name, errors=0.005, jitter=0.005) for name in ("v2", "v3")]
    proxy = Proxy(tmp_path, config(models, ROUTES, STEPS, "1s"))
    load = Load(proxy.port, [f"/{name}" for name in ROUTES], 300.0)
    progress = [Progress(name) for name in ROUTES]
    async with running(*models, proxy), in_background(load.run(), disturb(1)):
        await watched(proxy, progress, GENEROUS)
    assert [each.outcome for each in progress] == ["promoted"] * 3, [each.lines() for each in progress]
    assert load.answers["200"] > 0, load.answers
    print(load.answers)
