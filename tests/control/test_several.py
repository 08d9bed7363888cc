"""Several challengers on one route: one is thrown out and the others' customers notice nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.chain import first_broken
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import RolloutView, Verb
from crossfade.routing.snapshot import Cut
from tests.ledgers import backend_of

from .scene import BOTH, Scene, entry, several

RATIO = "[{metric: latency, quantile: p90, max_ratio: 1.5}]"


def of(scene: Scene, challenger: str) -> RolloutView:
    return scene.views.rollout("churn", scene.now, challenger)


def phases(scene: Scene) -> dict[str, str]:
    return {view.challenger: view.phase for view in scene.views.rollouts(scene.now)}


def buckets(scene: Scene, backend: str) -> set[int]:
    ledger = scene.route.ledger
    return {b for b in range(10_000) if backend_of(ledger, b) == backend}


async def say(scene: Scene, verb: Verb, challenger: str) -> RolloutView:
    return await scene.controller.command("churn", verb, "api:kim", scene.now, "", challenger)


async def assert_replayed(scene: Scene) -> None:
    await scene.controller.idle()
    assert replayed(journal(scene.store)).differences == []
    assert first_broken(journal(scene.store)) is None


async def test_each_takes_its_own_steps_from_the_champion():
    scene = Scene()
    await scene.load(BOTH)
    seen: list[dict[str, int]] = []
    for _ in range(29):
        await scene.tick(1000)
        if not seen or seen[-1] != scene.weights:
            seen.append(scene.weights)
    assert seen == [
        {"v2": 9500, "v3": 500},
        {"v2": 8500, "v3": 500, "v4": 1000},
        {"v2": 6000, "v3": 3000, "v4": 1000},
        {"v2": 3000, "v3": 3000, "v4": 4000},
    ]
    assert scene.route.roles == tuple(
        {"v2": "champion"}.get(name, "challenger") for name in scene.route.ledger.backends
    )
    await assert_replayed(scene)


async def test_one_is_aborted_by_a_fail_while_the_other_goes_on_and_is_promoted():
    scene = Scene()
    await scene.load(BOTH)
    home = scene.route.ledger
    await scene.run(13, 1000)
    before = buckets(scene, "v4")
    scene.bad = {"v3": 0.3}
    await scene.run(3, 1000)
    assert phases(scene) == {"v3": "aborted", "v4": "progressing"}
    assert (scene.weights, buckets(scene, "v4")) == ({"v2": 9000, "v4": 1000}, before)
    assert all(backend_of(home, b) == "v2" for b in buckets(scene, "v2"))
    await scene.run(60, 1000)
    assert (phases(scene), scene.weights) == ({"v3": "aborted", "v4": "promoted"}, {"v4": 10_000})
    assert scene.views.route("churn").champion == "v4"
    scene.bad = {"v4": 0.3}
    await scene.run(5, 1000)
    assert (of(scene, "v4").phase, scene.weights) == ("rolled_back", {"v2": 10_000})
    assert (scene.route.ledger.backends, scene.route.ledger.slots) == (home.backends, home.slots)
    await assert_replayed(scene)
    own = [d.to.get("challenger") for d in await scene.decisions("churn")]
    assert own == ["v3", "v4", "v3", "v4", "v3", "v3", "v4", "v4", "v4"]


async def test_two_that_fail_at_once_leave_the_former_map():
    scene = Scene()
    await scene.load(BOTH)
    home = scene.route.ledger
    await scene.run(13, 1000)
    scene.bad = {"v3": 0.5, "v4": 0.5}
    await scene.run(2, 1000)
    assert phases(scene) == {"v3": "aborted", "v4": "aborted"}
    assert (scene.route.ledger.backends, scene.route.ledger.slots) == (home.backends, home.slots)
    await assert_replayed(scene)


async def test_who_has_passed_the_last_step_waits_for_the_others_to_end():
    """Both are good; which is the better one is for an operator to say."""
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(200, 1000)
    assert phases(scene) == {"v3": "progressing", "v4": "progressing"}
    assert scene.weights == {"v2": 3000, "v3": 3000, "v4": 4000}
    assert of(scene, "v3").waiting_for == "the end of the rollout of v4: abort what is not wanted"
    with pytest.raises(Refused, match="promote has to wait for the end of the rollout of v4: abort"):
        await say(scene, Verb.PROMOTE, "v3")
    await say(scene, Verb.PAUSE, "v4")
    await scene.run(3, 1000)
    assert phases(scene) == {"v3": "progressing", "v4": "paused"}
    await say(scene, Verb.ABORT, "v4")
    await scene.run(1, 1000)
    assert (phases(scene), scene.weights) == ({"v3": "promoted", "v4": "aborted"}, {"v3": 10_000})
    await assert_replayed(scene)


async def test_time_that_runs_out_does_not_end_who_only_waits_for_another():
    late = ", max_step_time: 30s, on_undecided: abort"
    scene = Scene()
    await scene.load(several(entry("v3", "5%", more=late), entry("v4", "10%", hold="1h")))
    await scene.run(100, 1000)
    assert phases(scene) == {"v3": "progressing", "v4": "progressing"}
    scene = Scene()
    late = late.replace("on_undecided: abort", "on_undecided: advance")
    await scene.load(several(entry("v3", "5%", more=late), entry("v4", "10%", hold="1h")))
    scene.bad = {"v3": 0.051, "v2": 0.04}
    await scene.run(100, 400)
    assert phases(scene) == {"v3": "progressing", "v4": "progressing"}


async def test_nobody_begins_beside_one_that_was_promoted():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(3, 1000)
    await say(scene, Verb.ABORT, "v4")
    await say(scene, Verb.PROMOTE, "v3")
    with pytest.raises(Refused, match="retry has to wait for the rollback of v3, which was promoted"):
        await say(scene, Verb.RETRY, "v4")
    await scene.load(BOTH.replace("10%, hold", "12%, hold"))
    await scene.run(10, 1000)
    assert scene.weights == {"v3": 10_000}
    await say(scene, Verb.ROLLBACK, "v3")
    await say(scene, Verb.RETRY, "v4")
    await scene.run(2, 1000)
    assert scene.weights == {"v2": 8800, "v4": 1200}
    await assert_replayed(scene)


async def test_a_challenger_new_in_the_file_waits_while_another_is_in_charge():
    scene = Scene()
    await scene.load(several(entry("v3", "5%", "30%")))
    await scene.run(30, 1000)
    assert scene.weights == {"v3": 10_000}
    await scene.load(BOTH)
    await scene.run(5, 1000)
    assert (scene.weights, of(scene, "v4").step) == ({"v3": 10_000}, 0)
    assert of(scene, "v4").waiting_for.startswith(
        "the rollback of v3, which was promoted, or a configuration"
    )
    await scene.load(several(entry("v4", "10%", champion="v3")).replace("v2: 100%", "v3: 100%"))
    await scene.run(1, 1000)
    assert scene.weights == {"v3": 9000, "v4": 1000}
    await assert_replayed(scene)


async def test_a_restart_in_the_middle_goes_on_with_both(tmp_path: Path):
    with closing(Store.open(f"sqlite:{tmp_path / 'state.db'}")) as store:
        scene = Scene(store)
        await scene.load(BOTH)
        await scene.run(13, 1000)
        other = Scene(store)
        other.now = scene.now
        await other.load(BOTH)
        assert other.route.ledger == scene.route.ledger
        for name in ("v3", "v4"):
            before, after = of(scene, name), of(other, name)
            assert (after.phase, after.step, after.since) == (before.phase, before.step, before.since)
            assert [v.n for v in after.verdicts] == [v.n for v in before.verdicts]
            assert after.verdicts[0].n > 0
        other.bad = {"v4": 0.3}
        await other.run(40, 1000)
        assert phases(other) == {"v3": "promoted", "v4": "aborted"}
        await assert_replayed(other)


async def test_each_change_of_weights_opens_a_stratum_in_each_rollout_that_has_traffic():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(40, 1000)
    evidence = scene.controller.state.routes["churn"].evidence
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


async def test_the_sample_ratio_is_that_of_each_pair():
    scene = Scene()
    await scene.load(BOTH)
    for _ in range(60):
        scene.serve(1000)
        for cell in scene.seam.counts.cells:
            cell.unkeyed = cell.requests // 2
        await scene.tick()
    assert scene.weights == {"v2": 3000, "v3": 3000, "v4": 4000}
    assert all(v.verdict == "PASS" for name in ("v3", "v4") for v in of(scene, name).verdicts)


async def test_one_taken_out_of_the_file_leaves_the_other_where_it_is():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(13, 1000)
    before, since = buckets(scene, "v4"), of(scene, "v4").since
    n = of(scene, "v4").verdicts[0].n
    await scene.load(several(entry("v4", "10%", "40%", hold="25s", more=", watch: 60s")))
    assert (phases(scene), scene.weights) == ({"v4": "progressing"}, {"v2": 9000, "v4": 1000})
    assert (buckets(scene, "v4"), of(scene, "v4").since) == (before, since)
    assert of(scene, "v4").verdicts[0].n == n
    assert (await scene.actions())[-1] == "end"
    await scene.run(1, 1000)
    assert of(scene, "v4").verdicts[0].n == n + 100
    await scene.load(BOTH)
    assert (scene.weights, of(scene, "v4").since) == ({"v2": 9000, "v4": 1000}, since)
    await scene.run(1, 1000)
    assert scene.weights == {"v2": 8500, "v3": 500, "v4": 1000}
    assert buckets(scene, "v4") == before
    await assert_replayed(scene)


async def test_one_changed_in_the_file_begins_anew_and_the_other_is_not_disturbed():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(13, 1000)
    before, since = buckets(scene, "v4"), of(scene, "v4").since
    await scene.load(BOTH.replace("weight: 30%", "weight: 25%"))
    assert (scene.weights, buckets(scene, "v4")) == ({"v2": 9000, "v4": 1000}, before)
    assert (of(scene, "v3").step, of(scene, "v4").since) == (0, since)
    await scene.run(12, 1000)
    assert scene.weights == {"v2": 6500, "v3": 2500, "v4": 1000}
    await assert_replayed(scene)


async def test_a_latched_challenger_stays_out_beside_another():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(3, 1000)
    await say(scene, Verb.ABORT, "v3")
    before = buckets(scene, "v4")
    await scene.load(BOTH.replace("weight: 30%", "weight: 25%"))
    await scene.run(5, 1000)
    assert phases(scene) == {"v3": "aborted", "v4": "progressing"}
    assert (scene.weights, buckets(scene, "v4")) == ({"v2": 9000, "v4": 1000}, before)
    await say(scene, Verb.RETRY, "v3")
    await scene.run(1, 1000)
    assert scene.weights == {"v2": 8500, "v3": 500, "v4": 1000}
    await assert_replayed(scene)


async def test_each_has_its_own_threshold_for_the_champion_s_answers():
    """The second knows the champion since its own beginning; the champion's answers are counted for each apart."""
    scene = Scene()
    await scene.load(several(entry("v3", "5%", checks=RATIO, hold="1h")))
    await scene.run(5, 1000)
    scene.slow = {"v2": 0.2, "v3": 0.2, "v4": 0.9}
    await scene.load(
        several(entry("v3", "5%", checks=RATIO, hold="1h"), entry("v4", "5%", checks=RATIO, hold="1h"))
    )
    title = "p90 latency <= 1.5 x champion"
    await scene.run(3, 2000)
    limits = scene.route.limits
    assert {kind for kind, _ in limits["v2"]} == {f"{title} (v3)", f"{title} (v4)"}
    assert [kind for name in ("v3", "v4") for kind, _ in limits[name]] == [title, title]
    await scene.run(20, 2000)
    assert phases(scene) == {"v3": "progressing", "v4": "aborted"}
    assert {kind for kind, _ in scene.route.limits["v2"]} == {f"{title} (v3)"}


async def test_what_the_champion_scores_is_counted_once_for_each():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(2, 1000)
    scene.count("v2", 3, 0, "champion")
    scene.seam.counts.cells[-1].keyed_scores = [(1, 10), (2, 10), (3, 30)]
    await scene.tick()
    evidence = scene.controller.state.routes["churn"].evidence
    assert [evidence[name].predicted.buckets for name in ("v3", "v4")] == [{10: 2, 30: 1}] * 2


async def test_copies_and_cuts_are_those_of_all_together():
    shadows = [
        entry(name, "5%", checks="[{metric: error_rate, max: 5%}]", more=", cut_after: 5s").replace(
            "steps: [", "steps: [{mirror: 10%, hold: 5s}, "
        )
        for name in ("v3", "v4")
    ]
    scene = Scene()
    await scene.load(several(*shadows))
    await scene.run(2)
    assert (scene.mirrors, scene.weights) == ({"v3": 1000, "v4": 1000}, {"v2": 10_000})
    await say(scene, Verb.ABORT, "v4")
    assert (scene.mirrors, scene.route.cuts) == ({"v3": 1000}, (Cut("v4", 5.0),))
    for _ in range(7):
        scene.count("v3", 20, 0, "shadow")
        await scene.tick(100)
    assert (scene.mirrors, scene.weights) == ({}, {"v2": 9500, "v3": 500})
    await say(scene, Verb.ABORT, "v3")
    assert scene.route.cuts == (Cut("v3", 5.0), Cut("v4", 5.0))


async def test_a_fall_does_not_wait_for_another_s_rise_that_cannot_be_written(monkeypatch):
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(10, 1000)

    async def refused(entries: object) -> None:
        return None

    monkeypatch.setattr(scene.controller.journal, "write_first", refused)
    await scene.run(5, 1000)
    assert scene.weights == {"v2": 8500, "v3": 500, "v4": 1000}
    assert of(scene, "v3").waiting_for.startswith("the state to be writable")
    scene.bad = {"v4": 1.0}
    await scene.run(1, 1000)
    assert scene.weights == {"v2": 9500, "v3": 500}


async def test_a_command_must_say_which():
    scene = Scene()
    await scene.load(BOTH)
    await scene.run(2, 1000)
    with pytest.raises(Refused, match="route churn has several rollouts; say which challenger: v3, v4"):
        await scene.controller.command("churn", Verb.PAUSE, "api:kim", scene.now)
    with pytest.raises(UnknownName, match="no rollout of v9 on route churn; there is v3, v4"):
        await say(scene, Verb.PAUSE, "v9")
    with pytest.raises(Refused, match="a rollout is progressing on churn"):
        await scene.controller.set_split("churn", {"v2": 1}, "api:kim", scene.now)
    assert (await say(scene, Verb.PAUSE, "v4")).challenger == "v4"
    assert phases(scene) == {"v3": "progressing", "v4": "paused"}
    why = {name: await scene.views.why("churn", name) for name in ("v3", "v4")}
    assert [(w.phase, w.decision and w.decision.action) for w in why.values()] == [
        ("progressing", "begin"),
        ("paused", "pause"),
    ]
