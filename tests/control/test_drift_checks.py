"""Checks of drift in rollouts: a rollout waits for inputs and is aborted for scores that are not those of the profile."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec

from crossfade.control.replay import journal, replayed
from crossfade.quality.profile import write_profile
from crossfade.quality.sketch import Sketch
from crossfade.quality.watching import Sketched
from tests.control.harness import HEADING, Harness
from tests.control.profiled import PROFILE, WINDOW

CHECKED = """
    prediction: {score: p}
    drift: {baseline: PATH}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{weight: 5%, hold: 10s}, {weight: 50%, hold: 1h}]
      min_requests: 50
      checks: [{metric: error_rate, max: 5%}, CHECK]
"""


async def checked(tmp_path: Path, check: str) -> Harness:
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    harness = Harness()
    await harness.load(HEADING + CHECKED.replace("PATH", str(path)).replace("CHECK", check))
    await harness.controller.drift.idle()
    await harness.tick()
    return harness


def see_step(harness: Harness, age: float = 40, score: float = 1.0, n: int = 400) -> None:
    """What the observer saw at the present ledger version."""
    watched, version = harness.seam.drift.wanted["churn"], harness.route.ledger.version
    draw, sketch = random.Random(int(harness.now)), Sketch()
    assert watched.by_version and watched.profile is not None and watched.profile.score is not None
    for _ in range(n):
        sketch.add_row(watched.profile, {"age": draw.gauss(age, 10), "plan": draw.choice("ab")})
        sketch.add_score(watched.profile.score, "v3", draw.random() * score)
    slot = int(harness.now // WINDOW)
    harness.seam.drift.seen.sketched.append(
        Sketched("churn", watched.stamp, slot, Sketch(), {version: sketch})
    )


async def run(harness: Harness, ticks: int, **seen: Any) -> None:
    for _ in range(ticks):
        see_step(harness, **seen)
        await harness.tick(400)


async def test_a_rollout_goes_on_while_inputs_and_scores_are_those_of_the_profile(tmp_path):
    harness = await checked(tmp_path, "{metric: data_drift, max: 5%}, {metric: score_drift, max: 5%}")
    await run(harness, 14)
    assert harness.rollout.phase == "progressing"
    assert harness.weights == {"v2": 5000, "v3": 5000}


async def test_a_rollout_waits_while_the_inputs_have_drifted(tmp_path):
    harness = await checked(tmp_path, "{metric: data_drift, max: 5%}")
    await run(harness, 20, age=55)
    assert harness.weights == {"v2": 9500, "v3": 500}
    (verdict,) = [each for each in harness.rollout.verdicts if each.check == "data_drift <= 5%"]
    assert verdict.verdict == "VOID"
    assert "values of age differ" in verdict.reason


async def test_a_challenger_whose_scores_are_not_those_of_the_profile_is_aborted(tmp_path):
    harness = await checked(tmp_path, "{metric: score_drift, max: 10%}")
    while harness.rollout.phase == "progressing":
        await run(harness, 1, score=0.4)
    assert harness.rollout.phase == "aborted"
    await harness.controller.idle()
    assert replayed(journal(harness.store)).differences == []


async def test_each_step_begins_anew(tmp_path):
    harness = await checked(tmp_path, "{metric: data_drift, max: 5%}")
    await run(harness, 14)
    assert harness.weights == {"v2": 5000, "v3": 5000}
    await harness.run(2)
    route = harness.controller.drift.route("churn")
    (found,) = route.readings(harness.controller.state.rollout("churn", "v3")).values()
    assert found.step == 1
    assert found.n < 14 * 400


async def test_without_scores_in_the_profile_the_check_says_so(tmp_path):
    path = tmp_path / "profile.json"
    harness = await checked(tmp_path, "{metric: score_drift, max: 10%}")
    path.write_bytes(write_profile(msgspec.structs.replace(PROFILE, score=None)))
    await harness.load(
        HEADING + CHECKED.replace("PATH", str(path)).replace("CHECK", "{metric: score_drift, max: 10%}")
    )
    await harness.controller.drift.idle()
    await harness.run(4)
    assert harness.rollout.verdicts[-1].reason == "the profile has no scores of v3"
