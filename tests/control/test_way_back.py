"""Law 15: a rollout ends only where there is somebody to go back to; a FAIL without is written down, and acts later."""

from __future__ import annotations

import logging

import pytest

from crossfade.control.refusal import Refused
from crossfade.control.replay import journal, replayed
from crossfade.control.views import Verb

from .harness import BOTH, CANARY, HEAD, HEADING, Harness, rollout_entry, with_rollouts

SWITCH = HEADING + (
    "    rollout:\n"
    "      - {strategy: canary, champion: v2, challenger: v3, steps: [{weight: 100%, hold: 1s}], watch: 24h,\n"
    "         min_requests: 20, fuse: false, checks: [{metric: error_rate, max: 2%}]}\n"
)


def down(harness: Harness, *backends: str) -> None:
    """These fail their probes from now on; all others pass them."""
    config = harness.controller.state.config.config.backends
    names = frozenset((name, e.name) for name in backends for e in config[name].endpoints)
    harness.controller.endpoints_changed(names, harness.now)


async def switched() -> Harness:
    harness = Harness()
    await harness.load(SWITCH)
    await harness.run(5)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 10_000})
    return harness


async def assert_replayed(harness: Harness) -> None:
    report = replayed(journal(harness.store))
    assert report.differences == []


async def test_a_fail_does_not_send_everybody_to_a_champion_that_is_down(caplog: pytest.LogCaptureFixture):
    """95 % of v3's answers are good. The champion has been scaled down since the promote, so it has none."""
    harness = await switched()
    down(harness, "v2")
    harness.error_share = {"v3": 0.05}
    caplog.clear()
    with caplog.at_level(logging.WARNING, "crossfade.control"):
        await harness.run(20, 200)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 10_000})
    last = (await harness.decisions())[-1]
    assert last.action == "no_way_back"
    assert last.reason.startswith("there is nobody to go back to: v2 is down; error_rate")
    assert (await harness.actions()).count("no_way_back") == 1
    assert harness.views.metrics(harness.now).decisions["churn", "no_way_back"] == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"churn: no_way_back by loop: {last.reason}"
    ]
    waits = f"an endpoint of v2 that is up; {last.reason}"
    assert (harness.rollout.no_way_back, harness.rollout.waiting_for) == (True, waits)
    down(harness)
    await harness.tick(200)
    assert (harness.rollout.phase, harness.weights) == ("rolled_back", {"v2": 10_000})
    assert harness.rollout.no_way_back is False
    await assert_replayed(harness)


async def test_the_fuse_needs_a_way_back_too():
    harness = Harness()
    await harness.load()
    await harness.run(3)
    down(harness, "v2")
    harness.error_share = {"v3": 1.0}
    await harness.run(3)
    assert (harness.rollout.phase, harness.weights) == ("progressing", {"v2": 9500, "v3": 500})
    down(harness)
    await harness.tick(400)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    await assert_replayed(harness)


async def test_a_fail_that_is_over_when_the_champion_returns_ends_nothing():
    """The errors came with the champion's outage: it may have been a common cause."""
    harness = Harness()
    await harness.load(CANARY.replace("checks:", "fuse: {consecutive_errors: 10}\n      checks:", 1))
    await harness.run(30)
    assert harness.rollout.phase == "promoted"
    down(harness, "v2")
    harness.add_counts("v3", 12, 12)
    await harness.tick()
    assert (await harness.actions())[-1] == "no_way_back"
    await harness.run(5)
    assert (await harness.actions())[-1] == "no_way_back"
    down(harness)
    await harness.tick(400)
    assert (await harness.actions())[-1] == "way_back"
    assert harness.rollout.phase == "promoted"
    await harness.run(60)
    assert (await harness.actions())[-1] == "watch_ended"
    await assert_replayed(harness)


async def test_every_backend_that_would_get_traffic_back_must_be_up():
    """The split of before a retry is what a rollback restores: here v4 has a share of it."""
    harness = Harness()
    await harness.load(SWITCH)
    await harness.tick()
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.controller.set_split("churn", {"v2": 7, "v4": 3}, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.run(5)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 7000, "v4": 3000})
    await harness.controller.set_split("churn", {"v2": 0, "v3": 1, "v4": 0}, "api:kim", harness.now)
    down(harness, "v4")
    harness.error_share = {"v3": 0.3}
    await harness.run(3)
    assert harness.weights == {"v3": 10_000}
    assert (await harness.decisions())[-1].reason.startswith("there is nobody to go back to: v4 is down")
    down(harness, "v3")
    await harness.run(1)
    assert harness.weights == {"v2": 7000, "v4": 3000}
    await assert_replayed(harness)


async def test_of_several_rollouts_each_waits_for_the_champion():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(13, 1000)
    before = harness.weights
    down(harness, "v2")
    harness.error_share = {"v3": 1.0, "v4": 1.0}
    await harness.run(4, 1000)
    assert harness.weights == before == {"v2": 6000, "v3": 3000, "v4": 1000}
    assert (await harness.actions())[-2:] == ["no_way_back"] * 2
    down(harness)
    await harness.run(2, 1000)
    assert harness.weights == {"v2": 10_000}
    await assert_replayed(harness)


async def test_a_rollout_without_traffic_ends_whoever_is_down():
    """Nobody moves, so there is no way back to look for."""
    harness = Harness()
    mirrored = with_rollouts(
        rollout_entry("v3", "5%").replace("steps: [", "steps: [{mirror: 10%, hold: 10s}, ")
    )
    mirrored = mirrored.replace("fallback: v2", "fallback: v2\n    retry: {pure: true}")
    await harness.load(mirrored)
    await harness.tick()
    down(harness, "v2")
    harness.add_counts("v3", 40, 40, role="shadow")
    await harness.run(2, 0)
    harness.add_counts("v3", 400, 400, role="shadow")
    await harness.run(2, 0)
    assert harness.rollout.phase == "aborted"


async def test_a_champion_that_was_not_probed_yet_is_not_up():
    """After a restart the first probes take a moment; a fall waits for them."""
    head = HEAD.replace("[http://127.0.0.1:9002], health: false", "[http://127.0.0.1:9002]")
    harness = Harness()
    await harness.load(head=head)
    await harness.run(3)
    harness.error_share = {"v3": 1.0}
    await harness.run(2)
    assert (await harness.actions())[-1] == "no_way_back"
    harness.controller.endpoints_changed(
        frozenset(), harness.now, seen_up=frozenset({("v2", "127.0.0.1:9002")})
    )
    await harness.tick()
    assert harness.rollout.phase == "aborted"


async def test_a_file_may_send_traffic_to_endpoints_that_are_new():
    """They were not probed yet. Endpoints that are known to be down are not enough to know."""
    harness = Harness()
    await harness.load(HEADING)
    down(harness, "v4")
    moved = HEADING.replace("split: {v2: 100%}", "split: {v4: 100%}")
    with pytest.raises(Refused, match="route churn: no endpoint of v4 is up; with --force"):
        await harness.load(moved)
    await harness.load(moved, HEAD.replace("http://127.0.0.1:9004", "http://127.0.0.1:9014"))
    assert harness.weights == {"v4": 10_000}
