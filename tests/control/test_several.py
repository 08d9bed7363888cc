"""Several challengers on one route: one is thrown out and the others' customers notice nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.chain import first_broken
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.replay import journal, replayed
from crossfade.control.seen import Meant
from crossfade.control.store import Store
from crossfade.control.views import RolloutView, Verb
from crossfade.routing.snapshot import Cut
from tests.ledgers import backend_of

from .harness import BOTH, Harness, rollout_entry, with_rollouts

RATIO = "[{metric: latency, quantile: p90, max_ratio: 1.5}]"


def of(harness: Harness, challenger: str) -> RolloutView:
    return harness.views.rollout("churn", harness.now, challenger)


def phases(harness: Harness) -> dict[str, str]:
    return {view.challenger: view.phase for view in harness.views.rollouts(harness.now)}


def buckets(harness: Harness, backend: str) -> set[int]:
    ledger = harness.route.ledger
    return {b for b in range(10_000) if backend_of(ledger, b) == backend}


async def say(harness: Harness, verb: Verb, challenger: str) -> RolloutView:
    return await harness.controller.command("churn", verb, "api:kim", harness.now, "", Meant(challenger))


async def assert_replayed(harness: Harness) -> None:
    await harness.controller.idle()
    assert replayed(journal(harness.store)).differences == []
    assert first_broken(journal(harness.store)) is None


async def test_two_challengers_take_their_steps_from_the_champion_only():
    harness = Harness()
    await harness.load(BOTH)
    seen: list[dict[str, int]] = []
    for _ in range(29):
        await harness.tick(1000)
        if not seen or seen[-1] != harness.weights:
            seen.append(harness.weights)
    assert seen == [
        {"v2": 9500, "v3": 500},
        {"v2": 8500, "v3": 500, "v4": 1000},
        {"v2": 6000, "v3": 3000, "v4": 1000},
        {"v2": 3000, "v3": 3000, "v4": 4000},
    ]
    assert harness.route.roles == tuple(
        {"v2": "champion"}.get(name, "challenger") for name in harness.route.ledger.backends
    )
    await assert_replayed(harness)


async def test_a_fail_of_one_challenger_does_not_stop_the_other():
    harness = Harness()
    await harness.load(BOTH)
    home = harness.route.ledger
    await harness.run(13, 1000)
    before = buckets(harness, "v4")
    harness.error_share = {"v3": 0.3}
    await harness.run(3, 1000)
    assert phases(harness) == {"v3": "aborted", "v4": "progressing"}
    assert (harness.weights, buckets(harness, "v4")) == ({"v2": 9000, "v4": 1000}, before)
    assert all(backend_of(home, b) == "v2" for b in buckets(harness, "v2"))
    await harness.run(60, 1000)
    assert (phases(harness), harness.weights) == ({"v3": "aborted", "v4": "promoted"}, {"v4": 10_000})
    assert harness.views.route("churn").champion == "v4"
    harness.error_share = {"v4": 0.3}
    await harness.run(5, 1000)
    assert (of(harness, "v4").phase, harness.weights) == ("rolled_back", {"v2": 10_000})
    assert (harness.route.ledger.backends, harness.route.ledger.slots) == (home.backends, home.slots)
    await assert_replayed(harness)
    own = [d.to.get("challenger") for d in await harness.decisions("churn")]
    assert own == ["v3", "v4", "v3", "v4", "v3", "v3", "v4", "v4", "v4"]


async def test_two_challengers_that_fail_at_once_leave_the_former_map():
    harness = Harness()
    await harness.load(BOTH)
    home = harness.route.ledger
    await harness.run(13, 1000)
    harness.error_share = {"v3": 0.5, "v4": 0.5}
    await harness.run(2, 1000)
    assert phases(harness) == {"v3": "aborted", "v4": "aborted"}
    assert (harness.route.ledger.backends, harness.route.ledger.slots) == (home.backends, home.slots)
    await assert_replayed(harness)


async def test_a_promote_waits_for_the_other_rollouts_to_end():
    """Both are good; which is the better one is for an operator to say."""
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(200, 1000)
    assert phases(harness) == {"v3": "progressing", "v4": "progressing"}
    assert harness.weights == {"v2": 3000, "v3": 3000, "v4": 4000}
    assert of(harness, "v3").waiting_for == "the end of the rollout of v4: abort what is not wanted"
    with pytest.raises(Refused, match="promote has to wait for the end of the rollout of v4: abort"):
        await say(harness, Verb.PROMOTE, "v3")
    await say(harness, Verb.PAUSE, "v4")
    await harness.run(3, 1000)
    assert phases(harness) == {"v3": "progressing", "v4": "paused"}
    await say(harness, Verb.ABORT, "v4")
    await harness.run(1, 1000)
    assert (phases(harness), harness.weights) == ({"v3": "promoted", "v4": "aborted"}, {"v3": 10_000})
    await assert_replayed(harness)


async def test_max_step_time_does_not_end_a_rollout_that_waits_for_another():
    late = ", max_step_time: 30s, on_undecided: abort"
    harness = Harness()
    await harness.load(
        with_rollouts(rollout_entry("v3", "5%", more=late), rollout_entry("v4", "10%", hold="1h"))
    )
    await harness.run(100, 1000)
    assert phases(harness) == {"v3": "progressing", "v4": "progressing"}
    harness = Harness()
    late = late.replace("on_undecided: abort", "on_undecided: advance")
    await harness.load(
        with_rollouts(rollout_entry("v3", "5%", more=late), rollout_entry("v4", "10%", hold="1h"))
    )
    harness.error_share = {"v3": 0.051, "v2": 0.04}
    await harness.run(100, 400)
    assert phases(harness) == {"v3": "progressing", "v4": "progressing"}


async def test_no_rollout_begins_while_another_is_promoted():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(3, 1000)
    await say(harness, Verb.ABORT, "v4")
    await say(harness, Verb.PROMOTE, "v3")
    with pytest.raises(Refused, match="retry has to wait for the rollback of v3, which was promoted"):
        await say(harness, Verb.RETRY, "v4")
    await harness.load(BOTH.replace("10%, hold", "12%, hold"))
    await harness.run(10, 1000)
    assert harness.weights == {"v3": 10_000}
    await say(harness, Verb.ROLLBACK, "v3")
    await say(harness, Verb.RETRY, "v4")
    await harness.run(2, 1000)
    assert harness.weights == {"v2": 8800, "v4": 1200}
    await assert_replayed(harness)


async def test_a_new_challenger_in_the_file_waits_while_another_is_promoted():
    harness = Harness()
    await harness.load(with_rollouts(rollout_entry("v3", "5%", "30%")))
    await harness.run(30, 1000)
    assert harness.weights == {"v3": 10_000}
    await harness.load(BOTH)
    await harness.run(5, 1000)
    assert (harness.weights, of(harness, "v4").step) == ({"v3": 10_000}, 0)
    assert of(harness, "v4").waiting_for.startswith(
        "the rollback of v3, which was promoted, or a configuration"
    )
    await harness.load(
        with_rollouts(rollout_entry("v4", "10%", champion="v3")).replace("v2: 100%", "v3: 100%")
    )
    await harness.run(1, 1000)
    assert harness.weights == {"v3": 9000, "v4": 1000}
    await assert_replayed(harness)


async def test_a_restart_goes_on_with_both_rollouts(tmp_path: Path):
    with closing(Store.open(f"sqlite:{tmp_path / 'state.db'}")) as store:
        harness = Harness(store)
        await harness.load(BOTH)
        await harness.run(13, 1000)
        other = Harness(store)
        other.now = harness.now
        await other.load(BOTH)
        assert other.route.ledger == harness.route.ledger
        for name in ("v3", "v4"):
            before, after = of(harness, name), of(other, name)
            assert (after.phase, after.step, after.since) == (before.phase, before.step, before.since)
            assert [v.n for v in after.verdicts] == [v.n for v in before.verdicts]
            assert after.verdicts[0].n > 0
        other.error_share = {"v4": 0.3}
        await other.run(40, 1000)
        assert phases(other) == {"v3": "promoted", "v4": "aborted"}
        await assert_replayed(other)


async def test_each_change_of_weights_opens_a_stratum_in_each_rollout_that_has_traffic():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(40, 1000)
    evidence = harness.controller.state.routes["churn"].evidence
    assert [(s.step, round(s.share, 4)) for s in evidence["v3"].strata] == [
        (0, 0.05),
        (0, round(500 / 9000, 4)),
        (1, round(3000 / 9000, 4)),
        (1, 0.5),
    ]
    assert [(s.step, round(s.share, 4)) for s in evidence["v4"].strata] == [
        (0, round(1000 / 9500, 4)),
        (0, round(1000 / 7000, 4)),
        (1, round(4000 / 7000, 4)),
    ]
    for name in ("v3", "v4"):
        assert all(s.challenger.requests and s.champion.requests for s in evidence[name].strata[:-1])
    assert {s.version for s in evidence["v3"].strata} >= {s.version for s in evidence["v4"].strata}


async def test_the_sample_ratio_is_checked_for_each_challenger():
    harness = Harness()
    await harness.load(BOTH)
    for _ in range(60):
        harness.add_traffic(1000)
        for cell in harness.seam.counts.cells:
            cell.unkeyed = cell.requests // 2
        await harness.tick()
    assert harness.weights == {"v2": 3000, "v3": 3000, "v4": 4000}
    assert all(v.verdict == "PASS" for name in ("v3", "v4") for v in of(harness, name).verdicts)


async def test_removing_one_rollout_from_the_file_does_not_change_the_other():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(13, 1000)
    before, since = buckets(harness, "v4"), of(harness, "v4").since
    n = of(harness, "v4").verdicts[0].n
    await harness.load(with_rollouts(rollout_entry("v4", "10%", "40%", hold="25s", more=", watch: 60s")))
    assert (phases(harness), harness.weights) == ({"v4": "progressing"}, {"v2": 9000, "v4": 1000})
    assert (buckets(harness, "v4"), of(harness, "v4").since) == (before, since)
    assert of(harness, "v4").verdicts[0].n == n
    assert (await harness.actions())[-1] == "end"
    await harness.run(1, 1000)
    assert of(harness, "v4").verdicts[0].n == n + 100
    await harness.load(BOTH)
    assert (harness.weights, of(harness, "v4").since) == ({"v2": 9000, "v4": 1000}, since)
    await harness.run(1, 1000)
    assert harness.weights == {"v2": 8500, "v3": 500, "v4": 1000}
    assert buckets(harness, "v4") == before
    await assert_replayed(harness)


async def test_changing_one_rollout_in_the_file_does_not_change_the_other():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(13, 1000)
    before, since = buckets(harness, "v4"), of(harness, "v4").since
    await harness.load(BOTH.replace("weight: 30%", "weight: 35%"))
    assert (harness.weights["v3"], buckets(harness, "v4")) == (3000, before)
    assert (of(harness, "v3").step, of(harness, "v4").since) == (0, since)
    await harness.run(12, 1000)
    assert harness.weights["v3"] == 3500
    await assert_replayed(harness)


async def test_a_latched_challenger_stays_aborted_while_another_rollout_runs():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(3, 1000)
    await say(harness, Verb.ABORT, "v3")
    before = buckets(harness, "v4")
    await harness.load(BOTH.replace("weight: 30%", "weight: 25%"))
    await harness.run(5, 1000)
    assert phases(harness) == {"v3": "aborted", "v4": "progressing"}
    assert (harness.weights, buckets(harness, "v4")) == ({"v2": 9000, "v4": 1000}, before)
    await say(harness, Verb.RETRY, "v3")
    await harness.run(1, 1000)
    assert harness.weights == {"v2": 8500, "v3": 500, "v4": 1000}
    await assert_replayed(harness)


async def test_each_challenger_has_its_own_limits_for_the_champion():
    """The second knows the champion since its own beginning; the champion's answers are counted for each apart."""
    harness = Harness()
    await harness.load(with_rollouts(rollout_entry("v3", "5%", checks=RATIO, hold="1h")))
    await harness.run(5, 1000)
    harness.latency = {"v2": 0.2, "v3": 0.2, "v4": 0.9}
    await harness.load(
        with_rollouts(
            rollout_entry("v3", "5%", checks=RATIO, hold="1h"),
            rollout_entry("v4", "5%", checks=RATIO, hold="1h"),
        )
    )
    title = "p90 latency <= 1.5 x champion"
    await harness.run(3, 2000)
    limits = harness.route.limits
    assert {kind for kind, _ in limits["v2"]} == {f"{title} (v3)", f"{title} (v4)"}
    assert [kind for name in ("v3", "v4") for kind, _ in limits[name]] == [title, title]
    await harness.run(20, 2000)
    assert phases(harness) == {"v3": "progressing", "v4": "aborted"}
    assert {kind for kind, _ in harness.route.limits["v2"]} == {f"{title} (v3)"}


async def test_the_champion_s_scores_count_once_for_each_challenger():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(2, 1000)
    harness.add_counts("v2", 3, 0, "champion")
    harness.seam.counts.cells[-1].keyed_scores = [(1, 10), (2, 10), (3, 30)]
    await harness.tick()
    evidence = harness.controller.state.routes["churn"].evidence
    assert [evidence[name].predicted.buckets for name in ("v3", "v4")] == [{10: 2, 30: 1}] * 2


async def test_a_snapshot_has_the_mirrors_and_cuts_of_all_rollouts():
    shadows = [
        rollout_entry(name, "5%", checks="[{metric: error_rate, max: 5%}]", more=", cut_after: 5s").replace(
            "steps: [", "steps: [{mirror: 10%, hold: 5s}, "
        )
        for name in ("v3", "v4")
    ]
    harness = Harness()
    await harness.load(
        with_rollouts(*shadows).replace("fallback: v2", "fallback: v2\n    retry: {pure: true}")
    )
    await harness.run(2)
    assert (harness.mirrors, harness.weights) == ({"v3": 1000, "v4": 1000}, {"v2": 10_000})
    await say(harness, Verb.ABORT, "v4")
    assert (harness.mirrors, harness.route.cuts) == ({"v3": 1000}, (Cut("v4", 5.0),))
    for _ in range(7):
        harness.add_counts("v3", 20, 0, "shadow")
        await harness.tick(100)
    assert (harness.mirrors, harness.weights) == ({}, {"v2": 9500, "v3": 500})
    await say(harness, Verb.ABORT, "v3")
    assert harness.route.cuts == (Cut("v3", 5.0), Cut("v4", 5.0))


async def test_a_fall_acts_while_a_rise_of_another_challenger_cannot_be_written(monkeypatch):
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(10, 1000)

    async def refused(entries: object, undo: object = None) -> None:
        return None

    monkeypatch.setattr(harness.controller.journal, "write_first", refused)
    await harness.run(5, 1000)
    assert harness.weights == {"v2": 8500, "v3": 500, "v4": 1000}
    assert of(harness, "v3").waiting_for.startswith("the state to be writable")
    harness.error_share = {"v4": 1.0}
    await harness.run(1, 1000)
    assert harness.weights == {"v2": 9500, "v3": 500}


async def test_a_command_must_name_the_challenger_of_several():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(2, 1000)
    with pytest.raises(Refused, match="route churn has several rollouts; say which challenger: v3, v4"):
        await harness.controller.command("churn", Verb.PAUSE, "api:kim", harness.now)
    with pytest.raises(UnknownName, match="no rollout of v9 on route churn; there is v3, v4"):
        await say(harness, Verb.PAUSE, "v9")
    with pytest.raises(Refused, match="a rollout is progressing on churn"):
        await harness.controller.set_split("churn", {"v2": 1}, "api:kim", harness.now)
    assert (await say(harness, Verb.PAUSE, "v4")).challenger == "v4"
    assert phases(harness) == {"v3": "progressing", "v4": "paused"}
    why = {name: await harness.views.why("churn", name) for name in ("v3", "v4")}
    assert [(w.phase, w.decision and w.decision.action) for w in why.values()] == [
        ("progressing", "begin"),
        ("paused", "pause"),
    ]
