"""The watch with a holdback: the former champion keeps a little after a promote, so that comparison goes on."""

from __future__ import annotations

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.views import Verb
from crossfade.routing.ledger import Ledger
from crossfade.routing.snapshot import Route

from .harness import HEADING, Harness, rollout_entry, with_rollouts

CHECKS = "[{metric: error_rate, max_increase: 2%}, {metric: rejected, max_increase: 1%}]"
WATCH = ", watch: {for: 60s, holdback: 2%}"
AFTER = {"v2": 200, "v3": 9800}
ONLY_V3 = {"v3": 10_000}


def written(watch: str = WATCH, split: str = "{v2: 100%}", last: str = "50%") -> str:
    entry = rollout_entry("v3", "5%", last, checks=CHECKS, more=watch)
    return with_rollouts(entry).replace("split: {v2: 100%}", f"split: {split}")


async def promoted(harness: Harness | None = None, yaml: str = "") -> Harness:
    harness = harness or Harness()
    await harness.load(yaml or written())
    for _ in range(60):
        if harness.rollout.phase == "promoted":
            return harness
        await harness.tick(2000)
    raise AssertionError(harness.rollout)


async def assert_replayed(harness: Harness) -> None:
    assert replayed(journal(harness.store)).differences == []


def buckets_of(route: Route | Ledger, backend: str) -> set[int]:
    ledger = route.ledger if isinstance(route, Route) else route
    index = ledger.backends.index(backend) if backend in ledger.backends else -1
    return {bucket for bucket, slot in enumerate(ledger.slots) if slot == index}


async def test_the_former_champion_keeps_the_holdback_until_the_watch_ends():
    harness = await promoted()
    assert (harness.weights, harness.rollout.weight) == (AFTER, 0.98)
    assert harness.rollout.waiting_for == "the end of the watch in 1m; v2 keeps 2% until then"
    assert harness.views.rollout("churn", harness.now).watched
    assert harness.views.route("churn").champion == "v3"
    await harness.run(59, 2000)
    assert harness.weights == AFTER
    await harness.run(2, 2000)
    assert harness.weights == ONLY_V3
    last = (await harness.decisions())[-1]
    assert (last.action, last.actor) == ("watch_ended", "loop")
    assert not harness.views.rollout("churn", harness.now).watched
    assert last.reason == "the watch ended without a FAIL: v3 gets the 2% that v2 kept"
    assert (last.from_["weight"], last.to["weight"]) == (0.98, 1.0)
    assert harness.rollout.waiting_for == "nothing: the rollout is complete"
    await assert_replayed(harness)


async def test_customers_that_had_the_challenger_keep_it_and_a_rollback_restores_the_map():
    harness = Harness()
    await harness.load(written())
    home = harness.route.ledger
    had: set[int] = set()
    for _ in range(40):
        await harness.tick(2000)
        has = buckets_of(harness.route, "v3")
        assert had <= has, "growth evicts nobody"
        had = has
    assert harness.weights == AFTER
    await harness.controller.command("churn", Verb.ROLLBACK, "api:kim", harness.now)
    assert harness.rollout.phase == "rolled_back"
    assert [home.backends[slot] for slot in home.slots] == [
        harness.route.ledger.backends[slot] for slot in harness.route.ledger.slots
    ]
    await assert_replayed(harness)


async def test_the_comparison_goes_on_and_a_fail_rolls_back():
    harness = await promoted()
    await harness.run(3, 2000)
    [errors, rejected] = harness.rollout.verdicts
    assert (errors.verdict, rejected.verdict) == ("PASS", "PASS")
    assert errors.n == 3 * 1960
    assert errors.reason.startswith(
        "0 of 5880 requests (0%) failed in the watch, against 0% of the champion's 120"
    ), errors.reason
    harness.error_share = {"v3": 0.06}
    await harness.run(40, 2000)
    assert (harness.rollout.phase, harness.weights) == ("rolled_back", {"v2": 10_000})
    assert "failed in the watch" in (await harness.decisions())[-1].reason
    await assert_replayed(harness)


async def test_errors_of_both_sides_do_not_roll_back():
    harness = await promoted()
    harness.error_share = {"v2": 0.1, "v3": 0.1}
    await harness.run(50, 2000)
    assert (harness.rollout.phase, harness.weights) == ("promoted", AFTER)


async def test_the_exposure_rises_only_after_the_decision_is_on_disk():
    harness = await promoted()
    seen = []

    def look(snapshot: object) -> None:
        published = harness.controller.state.routes["churn"].record.ledger.weights["v3"]
        held = harness.store.records()["churn"][0].ledger.weights["v3"]
        seen.append((published, held))

    harness.seam.on_publish = look
    await harness.run(62, 2000)
    assert harness.weights == ONLY_V3
    assert seen
    assert all(published <= held for published, held in seen)


async def test_the_rest_waits_for_endpoints_that_are_up():
    harness = await promoted()
    config = harness.controller.state.config.config.backends["v3"]
    harness.controller.endpoints_changed(frozenset({("v3", config.endpoints[0].name)}), harness.now)
    await harness.run(65, 2000)
    assert harness.weights == AFTER
    assert harness.rollout.waiting_for == (
        "enough endpoints of v3 that are up: the watch is over, and v3 gets the 2% that v2 kept"
    )
    harness.controller.endpoints_changed(frozenset(), harness.now)
    await harness.tick(2000)
    assert harness.weights == ONLY_V3
    await assert_replayed(harness)


async def test_a_restart_in_the_watch_goes_on_with_the_same_map():
    harness = await promoted()
    await harness.run(20, 2000)
    before = harness.route.ledger
    await harness.controller.close()
    again = Harness(harness.store)
    again.now = harness.now
    await again.load(written())
    assert again.route.ledger == before
    await again.run(3, 2000)
    assert again.rollout.verdicts[0].n > 3 * 1960
    await again.run(45, 2000)
    assert again.weights == ONLY_V3
    await assert_replayed(again)


@pytest.mark.parametrize("holdback", ["5%", "1%"])
async def test_an_edited_holdback_is_of_the_next_attempt(holdback: str):
    harness = await promoted()
    await harness.load(written(f", watch: {{for: 60s, holdback: {holdback}}}"))
    assert harness.weights == AFTER
    last = (await harness.decisions())[-1]
    assert (last.action, last.reason) == (
        "edit",
        f"holdback: 2% → {holdback}; this holdback is of the next attempt: v2 keeps 2% until the watch ends; "
        "nobody moves",
    )
    await harness.controller.command("churn", Verb.RESTART, "api:kim", harness.now)
    await promoted(harness, written(f", watch: {{for: 60s, holdback: {holdback}}}"))
    assert harness.weights == {"v2": int(holdback[0]) * 100, "v3": 10_000 - int(holdback[0]) * 100}
    await assert_replayed(harness)


@pytest.mark.parametrize("watch", [", watch: 0s", ", watch: {for: 1s, holdback: 2%}", ", watch: 1s"])
async def test_an_edit_that_shortens_the_watch_gives_the_rest_by_its_end(watch: str):
    harness = await promoted()
    await harness.run(10, 2000)
    await harness.load(written(watch))
    assert harness.weights == AFTER
    await harness.tick(2000)
    assert harness.weights == ONLY_V3
    assert (await harness.actions())[-2:] == ["edit", "watch_ended"]
    await assert_replayed(harness)


async def test_the_file_may_name_the_promoted_challenger_before_the_watch_ends():
    """`config_differs` says which edit makes file and state agree; it leaves the holdback as it is."""
    harness = await promoted()
    [split, _] = harness.views.route("churn").config_differs
    assert (split.state, split.edit) == ("v3 100%", "{v3: 100%}")
    edited = written(split="{v2: 0%, v3: 100%}")
    await harness.load(edited)
    assert harness.weights == AFTER
    assert (await harness.decisions())[-1].reason == (
        "split: v2 100% → v3 100%; v3 stays at 98%, as its rollout says"
    )
    assert [differs.key for differs in harness.views.route("churn").config_differs] == ["rollout"]
    await harness.run(62, 2000)
    assert harness.weights == ONLY_V3
    await assert_replayed(harness)


@pytest.mark.parametrize(
    ("split", "weights", "phase", "watched"),
    [
        ("{v2: 2%, v3: 98%}", AFTER, "promoted", True),
        ("{v2: 50%, v3: 50%}", {"v2": 5000, "v3": 5000}, "promoted", False),
        ("{v2: 99%, v3: 1%}", {"v2": 9900, "v3": 100}, "promoted", False),
    ],
)
async def test_another_split_in_the_file_ends_the_watch(
    split: str, weights: dict[str, int], phase: str, watched: bool
):
    harness = await promoted()
    await harness.load(written(split=split))
    assert (harness.weights, harness.rollout.phase) == (weights, phase)
    assert (harness.rollout.waiting_for != "nothing: the rollout is complete") is watched
    await harness.run(62, 2000)
    assert harness.weights == (ONLY_V3 if watched else weights)
    await assert_replayed(harness)


async def test_a_split_by_command_ends_the_holdback_and_stays():
    harness = await promoted()
    await harness.controller.set_split("churn", {"v2": 30, "v3": 70}, "api:kim", harness.now)
    assert harness.weights == {"v2": 3000, "v3": 7000}
    assert harness.rollout.waiting_for == "the end of the watch in 1m"
    await harness.run(62, 2000)
    assert harness.weights == {"v2": 3000, "v3": 7000}
    await assert_replayed(harness)


async def test_a_rollout_that_leaves_the_file_in_its_watch_gives_the_rest():
    harness = await promoted()
    await harness.load(HEADING)
    assert harness.weights == ONLY_V3
    assert (await harness.decisions())[-1].reason == (
        "the rollout was taken out of the file: v3 was promoted and stays the champion; it gets the 2% that v2 kept"
    )
    await assert_replayed(harness)


async def test_the_next_rollout_may_begin_in_the_watch():
    harness = await promoted()
    entry = rollout_entry("v4", "5%", "50%", checks=CHECKS, champion="v3")
    await harness.load(with_rollouts(entry).replace("split: {v2: 100%}", "split: {v3: 100%}"))
    await harness.run(3, 2000)
    assert harness.weights == {"v3": 9500, "v4": 500}
    await assert_replayed(harness)


async def test_a_challenger_that_has_more_keeps_it():
    """An operator's split before the rollout gave a part to v4, so the last step has all that is left."""
    harness = Harness()
    await harness.load(HEADING)
    await harness.controller.set_split("churn", {"v2": 95, "v4": 5}, "api:kim", harness.now)
    await promoted(harness, written(last="97%"))
    assert harness.weights == {"v3": 9500, "v4": 500}
    await assert_replayed(harness)


async def test_a_fail_without_a_way_back_keeps_the_holdback():
    harness = await promoted()
    config = harness.controller.state.config.config.backends["v2"]
    harness.controller.endpoints_changed(frozenset({("v2", config.endpoints[0].name)}), harness.now)
    harness.error_share = {"v3": 0.3}
    await harness.run(62, 2000)
    assert harness.weights == AFTER
    assert harness.rollout.no_way_back
    harness.controller.endpoints_changed(frozenset(), harness.now)
    await harness.tick(2000)
    assert (harness.rollout.phase, harness.weights) == ("rolled_back", {"v2": 10_000})
    await assert_replayed(harness)


# ── without a holdback: the champion's past ──────────────────────────────────────────────────────

BLUE_GREEN = (
    HEADING
    + """    rollout:
      strategy: blue_green
      champion: v2
      challenger: v3
      steps: [{weight: 0%}, {weight: 100%, hold: 60s}]
      min_requests: 50
      watch: 60s
      fuse: false
      checks: [{metric: error_rate, max_increase: 2%}, {metric: latency, quantile: p90, max_ratio: 1.5}]
"""
)


@pytest.mark.parametrize(("share", "phase"), [(0.0, "promoted"), (0.01, "promoted"), (0.06, "rolled_back")])
async def test_a_watch_without_a_holdback_compares_with_the_champion_s_past(share: float, phase: str):
    harness = await promoted(yaml=written(", watch: 60s"))
    assert harness.weights == ONLY_V3
    harness.error_share = {"v3": share}
    await harness.run(50, 2000)
    assert harness.rollout.phase == phase
    if phase == "rolled_back":
        reason = (await harness.decisions())[-1].reason
        assert "failed in the watch; nobody is left to compare with, so the limit is " in reason
    else:
        assert harness.rollout.verdicts[0].verdict == "PASS"
    await assert_replayed(harness)


@pytest.mark.parametrize(
    ("errors", "seconds", "phase"),
    [(0.0, 0.05, "progressing"), (0.06, 0.05, "aborted"), (0.0, 0.2, "aborted")],
)
async def test_blue_green_compares_with_the_champion_s_past(errors: float, seconds: float, phase: str):
    harness = Harness()
    await harness.load(BLUE_GREEN)
    await harness.run(5, 2000)
    await harness.controller.command("churn", Verb.RESUME, "api:kim", harness.now)
    assert harness.weights == ONLY_V3
    harness.error_share, harness.latency = {"v3": errors}, {"v3": seconds}
    await harness.run(30, 2000)
    assert harness.rollout.phase == phase
    verdicts = {finding.verdict for finding in harness.rollout.verdicts}
    assert verdicts == {"PASS"} if phase == "progressing" else "FAIL" in verdicts
    await assert_replayed(harness)
