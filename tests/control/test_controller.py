"""The controller saves the evidence for the next start of the proxy."""

from __future__ import annotations

from crossfade.control.saving import CLOCK_INTERVAL, EVIDENCE_INTERVAL

from .harness import CANARY, Harness


def saved_requests(harness: Harness) -> int:
    """The challenger's requests in the evidence that is on disk."""
    _, evidence = harness.store.records()["churn"]
    return sum(stratum.challenger.requests for stratum in evidence["v3"].strata)


async def started_harness() -> Harness:
    """A challenger with 5 % of the traffic, whose evidence was saved just now."""
    harness = Harness()
    await harness.load()
    await harness.tick()
    await harness.tick(seconds=EVIDENCE_INTERVAL)
    assert saved_requests(harness) == 0
    return harness


async def test_evidence_is_saved_at_its_interval():
    harness = await started_harness()
    await harness.tick(400, EVIDENCE_INTERVAL / 4)
    await harness.tick(400, EVIDENCE_INTERVAL / 2)
    assert saved_requests(harness) == 0
    await harness.tick(400, EVIDENCE_INTERVAL / 4)
    assert saved_requests(harness) == 3 * 20
    await harness.tick(400, EVIDENCE_INTERVAL / 2)
    assert saved_requests(harness) == 3 * 20
    await harness.tick(400, EVIDENCE_INTERVAL / 2)
    assert saved_requests(harness) == 5 * 20


async def test_two_ticks_at_one_time_save_evidence_once():
    harness = await started_harness()
    await harness.tick(400, 0.0)
    assert saved_requests(harness) == 0


async def test_evidence_is_saved_when_the_clock_goes_back():
    """As before, not only when the clock has reached its former time again."""
    harness = await started_harness()
    harness.wall_ahead = -3600.0
    await harness.tick(400, EVIDENCE_INTERVAL)
    assert saved_requests(harness) == 20
    await harness.tick(400, EVIDENCE_INTERVAL / 2)
    assert saved_requests(harness) == 20
    await harness.tick(400, EVIDENCE_INTERVAL / 2)
    assert saved_requests(harness) == 3 * 20


async def test_the_clock_is_saved_once_a_minute_while_no_rollout_counts():
    """So that a start after a crash does not report the time in which all was well as a stop."""
    harness = Harness()
    await harness.load(CANARY[: CANARY.index("    rollout:")])
    await harness.tick()
    saved = [harness.store.clock().served]
    for _ in range(3):
        await harness.tick(seconds=CLOCK_INTERVAL / 2)
        saved.append(harness.store.clock().served)
    assert [at - saved[0] for at in saved] == [0.0, 0.0, CLOCK_INTERVAL, CLOCK_INTERVAL]
