"""The requests that wait for a first byte, from the workers' reports to the rollout."""

from __future__ import annotations

from .harness import Harness


async def test_a_rollout_knows_the_requests_that_wait_now():
    harness = Harness()
    await harness.load()
    rollout = harness.controller.state.rollout("churn", "v3")
    harness.seam.counts.waiting = {"churn": {"v2": {7: 2}, "v3": {8: 1}}, "other": {"v2": {7: 9}}}
    await harness.tick()
    assert rollout.waiting == {"v2": {7: 2}, "v3": {8: 1}}
    await harness.tick()
    assert rollout.waiting == {}


async def test_counts_and_waiting_requests_come_together_once_the_evidence_is_written():
    harness = Harness()
    await harness.load()
    route = harness.controller.state.route("churn")
    rollout = harness.controller.state.rollout("churn", "v3")
    async with route.lock:
        harness.seam.counts.waiting = {"churn": {"v2": {7: 2}}}
        await harness.tick(400)
        assert (rollout.waiting, route.deferred != []) == ({}, True)
    harness.seam.counts.waiting = {"churn": {"v2": {8: 1}}}
    await harness.tick(400)
    assert (rollout.waiting, route.deferred) == ({"v2": {8: 1}}, [])
