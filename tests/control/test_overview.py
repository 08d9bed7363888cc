"""The overview: one row for each route, with the numbers of the last seconds and what needs a look."""

from __future__ import annotations

import pytest

from crossfade.control import recent
from crossfade.control.overview import OverviewRow, overview
from crossfade.control.seen import Meant
from crossfade.control.views import Verb
from crossfade.stats.counts import Cell, Counts
from crossfade.stats.histogram import high_quantile

from .harness import BOTH, CANARY, HEAD, Harness

PLAIN = """
  - name: other
    match: {path: /other}
    split: {v4: 100%}
"""


async def harness_at(yaml: str = CANARY, ticks: int = 4) -> Harness:
    harness = Harness()
    await harness.load(yaml)
    await harness.tick()
    await harness.run(ticks)
    return harness


def row(harness: Harness, place: int = 0) -> OverviewRow:
    return overview(harness.controller.state).routes[place]


async def test_a_rollout_in_its_first_step() -> None:
    harness = await harness_at(CANARY + PLAIN)
    found = row(harness)
    assert (found.route, found.split, found.champion, found.challenger) == (
        "churn",
        {"v2": 0.95, "v3": 0.05},
        "v2",
        "v3",
    )
    assert (found.strategy, found.phase, found.step, found.steps, found.rollouts) == (
        "canary",
        "progressing",
        0,
        2,
        1,
    )
    assert found.requests_per_second == pytest.approx(400, rel=0.3)
    assert found.error_share == 0.0
    assert found.p99 == pytest.approx(0.05, rel=0.02)
    assert found.alarms == []
    plain = row(harness, 1)
    assert (plain.route, plain.phase, plain.worst, plain.time_left, plain.requests_left) == (
        "other",
        None,
        None,
        None,
        None,
    )
    assert (plain.requests_per_second, plain.error_share, plain.p99) == (0.0, None, None)


async def test_time_and_requests_left_in_the_step() -> None:
    harness = await harness_at(ticks=1)
    few = row(harness)
    assert few.requests_left == 30, "20 of min_requests are there"
    assert few.time_left == 9.0, "the hold is longer than those take"
    harness = await harness_at(CANARY.replace("hold: 10s", "hold: 1s"), ticks=1)
    assert row(harness).time_left == pytest.approx(30 / 20, abs=1.0)
    await harness.run(30, requests=0)
    assert row(harness).time_left is None, "nobody comes, so nobody can say"


async def test_the_end_of_a_watch_is_the_time_left() -> None:
    harness = await harness_at()
    await harness.controller.command("churn", Verb.PROMOTE, "kim", harness.now)
    found = row(harness)
    assert (found.phase, found.time_left, found.requests_left) == ("promoted", 60.0, None)


async def test_a_pause_has_no_time_left() -> None:
    harness = await harness_at()
    await harness.controller.command("churn", Verb.PAUSE, "kim", harness.now)
    assert (row(harness).time_left, row(harness).requests_left) == (None, None)


async def test_the_worst_verdict_and_its_margin() -> None:
    harness = await harness_at()
    good = row(harness).worst
    assert good is not None and good.verdict == "PASS" and good.margin is not None and good.margin > 0.5
    harness.error_share = {"v3": 0.1}
    await harness.run(3)
    bad = row(harness).worst
    assert bad is not None and bad.margin is not None and bad.margin < good.margin
    assert bad.check.startswith("error_rate")


async def test_of_several_rollouts_the_one_under_way_is_shown() -> None:
    harness = await harness_at(BOTH)
    assert row(harness).rollouts == 2
    await harness.controller.command("churn", Verb.ABORT, "kim", harness.now, "", Meant("v3"))
    assert (row(harness).challenger, row(harness).phase) == ("v4", "progressing")


async def test_copies_and_answers_of_the_proxy_are_no_requests() -> None:
    harness = await harness_at()
    before = row(harness).requests_per_second
    cells = [Cell("churn", "v4", "shadow", 2, requests=5000), Cell("churn", "", "", 2, requests=5000)]
    harness.seam.counts = Counts(cells)
    await harness.tick()
    assert row(harness).requests_per_second < before


async def test_alarms() -> None:
    probed = HEAD.replace(", health: false", "")
    harness = Harness()
    await harness.load(CANARY.replace("hold: 10s}\n", "hold: 10s, approval: true}\n", 1), head=probed)
    up = frozenset((f"v{n}", f"127.0.0.1:900{n}") for n in (2, 3, 4))
    harness.controller.endpoints_changed(frozenset(), harness.now, up)
    await harness.tick()
    await harness.run(12)
    assert row(harness).alarms == ["v3 waits for an approval"]
    harness.controller.endpoints_changed(frozenset({("v3", "127.0.0.1:9003")}), harness.now, up)
    assert "no endpoint of v3 is up" in row(harness).alarms
    await harness.controller.command("churn", Verb.ABORT, "kim", harness.now)
    assert row(harness).alarms == []
    harness.controller.state.route("churn").drifting = ["score"]
    assert row(harness).alarms == ["drift of score"]


async def test_the_target_of_a_route_is_that_of_its_class() -> None:
    harness = await harness_at(
        CANARY.replace("    fallback: v2\n", "    fallback: v2\n    slo: relaxed\n") + PLAIN
    )
    assert (row(harness).latency_target, row(harness, 1).latency_target) == (0.5, None)
    churn, other = harness.views.routes()
    assert (churn.slo, churn.latency_target) == ("relaxed", 0.5)
    assert (other.slo, other.latency_target) == (None, None)


async def test_the_worst_verdict_of_an_ended_rollout_asks_for_nothing_more() -> None:
    harness = await harness_at(ticks=1)
    under_way = row(harness).worst
    assert under_way is not None and under_way.reason.endswith("; 30 more requests are needed")
    await harness.controller.command("churn", Verb.ABORT, "kim", harness.now)
    ended = row(harness).worst
    assert ended is not None and ended.reason.endswith("; 30 more requests were needed when it ended")


async def test_the_numbers_are_computed_once_for_all_readers_and_a_command_shows_at_once(monkeypatch) -> None:
    """Between two ticks many may ask; what a command changes is in the next answer nevertheless."""
    computed = 0

    def counted(*given) -> float | None:
        nonlocal computed
        computed += 1
        return high_quantile(*given)

    monkeypatch.setattr(recent, "high_quantile", counted)
    harness = await harness_at()
    assert (row(harness), computed) == (row(harness), 1)
    await harness.controller.command("churn", Verb.ABORT, "kim", harness.now)
    assert (row(harness).phase, row(harness).split) == ("aborted", {"v2": 1.0})
    assert computed == 1
    before = row(harness).requests_per_second
    await harness.run(1, requests=4000)
    assert row(harness).requests_per_second > before
    assert computed == 2


async def test_routes_that_come_and_go_between_two_ticks_are_in_the_next_answer() -> None:
    harness = await harness_at()
    before = row(harness)
    await harness.load(CANARY + PLAIN)
    churn, other = overview(harness.controller.state).routes
    assert churn == before
    assert (other.requests_per_second, other.error_share, other.p99) == (0.0, None, None)
    await harness.load("routes:" + PLAIN)
    assert [each.route for each in overview(harness.controller.state).routes] == ["other"]
    await harness.load("routes:" + PLAIN.replace("other", "churn"))
    again = row(harness)
    assert (again.split, again.phase, again.requests_per_second) == (
        {"v4": 1.0},
        None,
        before.requests_per_second,
    )
