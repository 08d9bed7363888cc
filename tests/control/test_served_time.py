"""Law 14: holds, watches, recoveries and windows are made of time served, whatever the wall clock does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import StatusChange
from crossfade.rollout.external import Reading

from .harness import CANARY, HEAD, Harness, again

HOUR = 3600.0
SIX_HOURS = CANARY.replace("hold: 10s", "hold: 6h").replace("max_step_time: 120s", "max_step_time: 30h")


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


async def begun(yaml: str, store: Store | None = None) -> Harness:
    harness = Harness(store)
    await harness.load(yaml)
    await harness.run(3)
    assert (harness.rollout.phase, harness.rollout.step, harness.rollout.weight) == ("progressing", 0, 0.05)
    return harness


@pytest.mark.parametrize("step", [2 * HOUR, -2 * HOUR, 7 * 24 * HOUR])
async def test_a_step_of_the_wall_clock_adds_nothing_to_a_hold(step: float):
    harness = await begun(SIX_HOURS)
    since = harness.rollout.since
    harness.wall_ahead = step
    await harness.run(60)
    assert (harness.rollout.step, harness.rollout.elapsed, harness.rollout.since) == (0, 62.0, since)
    await harness.tick(400, seconds=6 * HOUR - 63)
    assert harness.rollout.step == 0
    await harness.tick(400)
    assert harness.rollout.step == 1


async def test_a_watch_is_served_too():
    harness = await begun(CANARY)
    await harness.run(22)
    assert harness.rollout.phase == "promoted"
    harness.wall_ahead = HOUR
    await harness.tick(400)
    assert harness.rollout.waiting_for.startswith("the end of the watch in ")
    harness.error_share = {"v3": 1.0}
    await harness.run(2)
    assert harness.rollout.phase == "rolled_back"


@pytest.mark.parametrize("step", [0.0, -HOUR, HOUR])
async def test_after_an_outage_of_both_a_step_of_the_clock_stops_neither_fuse_nor_evidence(step: float):
    harness = await begun(SIX_HOURS)
    harness.error_share = {"v2": 1.0, "v3": 1.0}
    await harness.run(1)
    harness.error_share = {}
    await harness.run(2)
    harness.wall_ahead = step
    await harness.run(30)
    assert harness.rollout.phase == "progressing"
    harness.error_share = {"v3": 1.0}
    await harness.run(3)
    assert harness.rollout.phase == "aborted"


async def test_a_stop_of_the_proxy_adds_nothing_to_a_hold(store: Store, caplog):
    harness = await begun(SIX_HOURS, store)
    await harness.controller.close()
    other = again(harness, 3 * 24 * HOUR)
    await other.load(SIX_HOURS)
    await other.run(2)
    assert (other.rollout.step, other.rollout.since, other.rollout.elapsed) == (0, harness.rollout.since, 4.0)
    said = "3d did not count: the proxy was stopped"
    assert f"clock: {said}" in [record.getMessage() for record in caplog.records]
    assert other.rollout.waiting_for == f"5h 59m of the hold of 6h; {said}"
    assert other.views.status(other.wall).gap == said


async def test_a_kill_loses_no_more_than_the_time_since_the_evidence_was_saved(store: Store):
    harness = await begun(SIX_HOURS, store)
    await harness.run(100)
    other = again(harness, HOUR)
    await other.load(SIX_HOURS)
    await other.run(2)
    assert (harness.rollout.elapsed, other.rollout.elapsed) == (102.0, 104.0)


async def test_served_time_goes_on_from_the_last_decision_if_nothing_was_saved_after_it(store: Store):
    harness = Harness(store)
    await harness.load(SIX_HOURS)
    served = harness.controller.state.served
    assert store.clock().served == served


async def test_a_control_process_that_stood_still_adds_nothing_and_says_so(caplog):
    harness = await begun(SIX_HOURS)
    with harness.controller.feed.subscribe() as events:
        harness.now += 7 * HOUR + 1
        await harness.tick(400)
        change = await anext(events)
    assert isinstance(change, StatusChange)
    assert (change.what, change.detail) == (
        "clock",
        "7h did not count: the control process was stopped or late",
    )
    assert (harness.rollout.step, harness.rollout.elapsed) == (0, 4.0)
    assert harness.rollout.waiting_for.endswith(f"; {change.detail}")


async def test_rates_go_on_when_the_clock_is_set_back():
    rates = []
    for step in (0.0, -HOUR):
        harness = await begun(SIX_HOURS)
        await harness.run(20)
        harness.wall_ahead = step
        await harness.run(20, requests=800)
        rates.append(harness.views.route("churn").backends["v2"].rate)
    assert rates == [800.0, 800.0]


async def test_a_reading_counts_in_its_step_when_the_clock_is_set_back():
    """A reading has served time, as the step has; by wall time it would be older than the step."""
    checks = "checks: [{metric: prometheus, query: up, max: 1}]\n"
    yaml = CANARY[: CANARY.index("checks:")] + checks
    harness = Harness()
    harness.controller.readings = lambda now: {"up": Reading(now, 0.5)}
    await harness.load(yaml, HEAD + "prometheus: {url: http://127.0.0.1:9090}\n")
    harness.wall_ahead = -HOUR
    await harness.run(12)
    assert harness.rollout.step == 1


async def test_a_reading_from_before_a_suspend_is_not_used():
    checks = "checks: [{metric: prometheus, query: up, max: 1}]\n"
    harness = Harness()
    await harness.load(
        CANARY[: CANARY.index("checks:")] + checks, HEAD + "prometheus: {url: http://127.0.0.1:9090}\n"
    )
    await harness.run(5)
    asked = harness.controller.state.served
    harness.controller.readings = lambda now: {"up": Reading(asked, 0.5)}
    await harness.run(1)
    assert [v.verdict for v in harness.rollout.verdicts if "up" in v.check] == ["PASS"]
    harness.wall_ahead = HOUR
    await harness.run(30)
    assert [v.verdict for v in harness.rollout.verdicts if "up" in v.check] == ["UNDECIDED"]
    assert harness.rollout.step == 0
    asked = harness.controller.state.served
    await harness.run(1)
    assert harness.rollout.step == 1


async def test_replay_gives_the_decisions_again_whatever_the_wall_clock_did(store: Store):
    harness = await begun(CANARY, store)
    for step in (HOUR, -2 * HOUR, 5 * HOUR):
        harness.wall_ahead += step
        await harness.run(9)
    await harness.run(80)
    assert harness.rollout.phase == "promoted"
    report = replayed(journal(store))
    assert (report.differences, report.replayed) == ([], 4)
