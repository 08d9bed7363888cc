"""The rollouts of the examples can pass: none of their checks waits for what never comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossfade.config.load import load

from .test_predictions import HarnessWithScores

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"


@pytest.mark.parametrize("name", ["champion_challenger", "ab_test"])
async def test_a_comparison_ends_with_a_question_to_the_operator(name: str):
    harness = HarnessWithScores()
    configured = load((EXAMPLES / f"{name}.yaml").read_text("utf-8"), name, {})
    await harness.controller.load(configured, "file", harness.now)
    endpoints = {(b, e.name) for b, config in configured.config.backends.items() for e in config.endpoints}
    harness.controller.endpoints_changed(frozenset(), harness.now, seen_up=frozenset(endpoints))
    (route,) = configured.config.routes
    names = (route.rollout[0].champion, route.rollout[0].challenger)
    harness.skew = harness.rate = dict.fromkeys(names, 1.0)
    last = len(harness.rollout.steps) - 1
    for _ in range(400):
        if (harness.rollout.phase, harness.rollout.step) == ("paused", last):
            break
        if harness.rollout.phase == "paused":
            raise AssertionError(harness.rollout.waiting_for)
        for cell_of in names:
            weight = harness.route.ledger.weights.get(cell_of, 0)
            if weight:
                harness.add_counts(
                    cell_of, weight // 20, 0, "champion" if cell_of == names[0] else "challenger"
                )
                harness.seam.counts.cells[-1].read = weight // 20
        await harness.tick(seconds=7200)
    assert harness.rollout.waiting_for.startswith("an approval")
