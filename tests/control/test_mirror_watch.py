"""A mirror that gets nothing, though its route has requests, is said once, until a copy is sent."""

from __future__ import annotations

import pytest

from crossfade.stats.counts import MirrorCount
from tests.control.harness import Harness

MIRRORED = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    mirror: [{to: v3, sample: SHARE, safe: true}]
"""


async def watched(share: str = "100%") -> Harness:
    harness = Harness()
    await harness.load(MIRRORED.replace("SHARE", share))
    return harness


def silent(harness: Harness) -> list[str]:
    return harness.views.status(harness.now).silent_mirrors


async def minutes(harness: Harness, requests: int, outcome: str = "") -> None:
    """More than one, with so many requests in each second."""
    for _ in range(70):
        if outcome:
            harness.seam.counts.mirrors.append(MirrorCount("churn", "v3", outcome, requests))
        await harness.tick(requests)


async def test_a_silent_mirror_is_said_once_with_the_reasons(caplog: pytest.LogCaptureFixture) -> None:
    harness = await watched()
    await minutes(harness, 5, "dropped_no_endpoint")
    await minutes(harness, 5, "dropped_no_endpoint")
    (text,) = silent(harness)
    assert text.startswith("churn: nothing was mirrored to v3 for 1")
    assert "dropped_no_endpoint" in text
    assert caplog.text.count("nothing was mirrored to v3") == 1
    assert harness.views.metrics(harness.now).silent_mirrors == {("churn", "v3"): True}


async def test_the_next_copy_ends_it() -> None:
    harness = await watched()
    await minutes(harness, 5)
    assert silent(harness)
    harness.seam.counts.mirrors.append(MirrorCount("churn", "v3", "failed", 1))
    await harness.tick(5)
    assert silent(harness) == []
    assert harness.views.metrics(harness.now).silent_mirrors == {("churn", "v3"): False}


@pytest.mark.parametrize(
    ("share", "requests", "outcome"), [("100%", 0, ""), ("1%", 5, ""), ("0%", 50, ""), ("100%", 5, "sent")]
)
async def test_a_mirror_with_copies_or_with_few_requests_is_not_silent(
    share: str, requests: int, outcome: str
) -> None:
    harness = await watched(share)
    await minutes(harness, requests, outcome)
    assert silent(harness) == []


async def test_no_copy_is_due_of_cached_answers() -> None:
    harness = await watched()
    for _ in range(70):
        harness.add_counts("v2", 5, 0, "cached")
        await harness.tick()
    assert silent(harness) == []


async def test_a_mirror_that_is_taken_away_is_forgotten() -> None:
    harness = await watched()
    await minutes(harness, 5)
    await harness.load(MIRRORED.replace("    mirror: [{to: v3, sample: SHARE, safe: true}]\n", ""))
    await harness.tick(5)
    assert silent(harness) == []


SHADOW = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    retry: {pure: true}
    prediction: {score: p, decision: 0.5}
    rollout:
      {strategy: shadow, champion: v2, challenger: v3, steps: [{mirror: 100%}], min_requests: 50,
       checks: [{metric: disagreement, max: 5%}, {metric: error_rate, max: 5%}]}
"""


async def test_the_reason_of_a_check_of_copies_says_that_the_mirror_is_silent() -> None:
    harness = Harness()
    await harness.load(SHADOW)
    await minutes(harness, 5, "dropped_in_flight")
    reasons = {verdict.check: verdict.reason for verdict in harness.rollout.verdicts}
    assert "nothing was mirrored to v3" in reasons["disagreement <= 5%"]
    assert "nothing was mirrored" not in reasons["error_rate <= 5%"]
    why = await harness.views.why("churn")
    assert any("nothing was mirrored to v3" in verdict.reason for verdict in why.verdicts)
