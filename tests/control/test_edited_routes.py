"""Law 13 for rollouts that are taken out or replaced, and for routes that leave, come back or are renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from crossfade.control import loading
from crossfade.control.store import Store
from crossfade.control.views import Verb
from tests.control.edited import TWO, assert_replayed, in_step_two

from .harness import CANARY, HEAD, HEADING, Harness, again, rollout_entry, with_rollouts

HOUR = 3600.0


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


# ── rollouts that are taken out or replaced ───────────────────────────────────────────────────────


async def test_a_running_rollout_that_is_taken_out_gives_its_share_back_and_says_where_it_was():
    harness = await in_step_two()
    await harness.load(HEADING)
    assert (harness.weights, harness.views.rollouts(harness.now)) == ({"v2": 10_000}, [])
    last = (await harness.decisions())[-1]
    assert (last.action, last.reason) == (
        "end",
        "the rollout was taken out of the file: v3 was in step 2 of 2",
    )
    await assert_replayed(harness)


@pytest.mark.parametrize(
    ("yaml", "head", "named"),
    [
        (CANARY.replace("challenger: v3", "challenger: v4"), HEAD, "v4"),
        (CANARY, HEAD.replace("9003], ", "9003], version: '2', "), "v3"),
    ],
)
@pytest.mark.parametrize("aborted", [False, True])
async def test_another_challenger_begins_another_rollout(yaml, head, named, aborted):
    harness = await in_step_two()
    if aborted:
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.load(yaml, head, "api:kim")
    assert (harness.weights, harness.rollout.phase, harness.rollout.step) == (
        {"v2": 10_000},
        "progressing",
        0,
    )
    assert [d.action for d in (await harness.decisions("churn"))[-2:]] == ["end", "start"]
    assert [v.n for v in harness.rollout.verdicts] == [0, 0, 0]
    await harness.tick()
    assert harness.weights == {"v2": 9500, named: 500}
    await assert_replayed(harness)


async def test_a_limit_that_is_written_while_a_step_waits_counts_from_when_it_asked():
    harness = Harness()
    asked = CANARY.replace("{weight: 5%, hold: 10s}", "{weight: 5%, hold: 10s, approval: true}")
    await harness.load(asked)
    await harness.run(12)
    assert harness.rollout.phase == "paused"
    await harness.tick(400, seconds=HOUR - 5)
    await harness.load(asked.replace("approval: true", "approval: {within: 1h, then: abort}"))
    assert harness.rollout.waiting_for.endswith("without one it will abort in 4s")
    await harness.run(5)
    assert harness.rollout.phase == "aborted"
    await assert_replayed(harness)


async def test_the_time_without_its_route_is_no_part_of_the_limit_of_an_approval():
    asked = TWO.replace(
        "{weight: 5%, hold: 10s}", "{weight: 5%, hold: 10s, approval: {within: 1h, then: abort}}"
    )
    harness = Harness()
    await harness.load(asked)
    await harness.run(13)
    before = harness.rollout.waiting_for
    assert before.endswith("without one it will abort in 59m 58s")
    await harness.load(LONE)
    harness.serve(2 * HOUR)
    await harness.load(asked)
    assert (harness.rollout.phase, harness.rollout.waiting_for.partition(";")[0]) == (
        "paused",
        before.partition(";")[0],
    )
    await harness.run(5)
    assert harness.rollout.phase == "paused"


# ── routes that leave, come back, are renamed ─────────────────────────────────────────────────────


LONE = TWO[: TWO.index("  - name: churn")] + TWO[TWO.index("  - name: other") :]


async def test_a_route_that_leaves_the_file_and_comes_back_goes_on(store):
    """Case 12: the latch outlives its route, and a file that is half-written does no harm."""
    harness = Harness(store)
    await harness.load(TWO)
    await harness.run(14)
    slots = harness.route.ledger.slots
    await harness.load(LONE)
    assert [r.name for r in harness.views.routes()] == ["other"]
    assert (await harness.decisions("churn"))[-1].action == "remove"
    other = again(harness)
    await other.load(LONE)
    other.serve(3600)
    await other.load(TWO)
    assert (other.route.ledger.slots, other.rollout.step, other.rollout.phase) == (slots, 1, "progressing")
    assert (await other.decisions("churn"))[
        -1
    ].reason == "the route is back in the file after 1h, and goes on"
    await other.tick(100)
    assert other.rollout.step == 1  # the hour without traffic is no part of the hold
    await other.run(40)
    assert other.rollout.phase == "promoted"
    await assert_replayed(other)


async def test_a_latch_outlives_its_route():
    harness = Harness()
    await harness.load(TWO)
    await harness.run(3)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "it is sick")
    await harness.load(LONE)
    await harness.run(3, 0)
    await harness.load(TWO)
    await harness.run(3)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    await assert_replayed(harness)


async def test_the_record_of_a_route_is_kept_for_a_month(monkeypatch):
    assert loading.KEPT == 30 * 86_400
    monkeypatch.setattr(loading, "KEPT", 60.0)
    harness = Harness()
    await harness.load(TWO)
    await harness.load(LONE)
    harness.serve(59)
    await harness.load(LONE)
    assert "churn" in harness.store.records()
    harness.serve(2)
    await harness.load(LONE)
    assert (await harness.decisions("churn"))[-1].action == "forget"
    assert "churn" not in harness.store.records()
    await harness.load(TWO)
    assert (await harness.decisions("churn"))[-1].action == "start"
    await assert_replayed(harness)


@pytest.mark.parametrize("aborted", [False, True])
async def test_a_renamed_route_goes_on_with_the_same_customers(store, aborted):
    """Case 12."""
    harness = Harness(store)
    await harness.load()
    await harness.run(14)
    if aborted:
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    ledger, salt, before = harness.route.ledger, harness.route.salt, harness.rollout
    renamed = CANARY.replace("name: churn", "name: churn2\n    renamed_from: churn")
    await harness.load(renamed)
    assert (harness.route.name, harness.route.ledger.slots, harness.route.salt) == (
        "churn2",
        ledger.slots,
        salt,
    )
    assert (harness.rollout.phase, harness.rollout.step) == (before.phase, before.step)
    assert (await harness.decisions("churn2"))[-1].reason == "goes on from churn"
    other = again(harness)
    await other.load(renamed)
    assert (other.route.name, other.route.ledger.slots, other.route.salt) == ("churn2", ledger.slots, salt)
    twice = CANARY.replace("name: churn", "name: churn3\n    renamed_from: churn2")
    await other.load(twice)
    assert (other.route.name, other.route.salt) == ("churn3", salt)
    assert sorted(other.store.records()) == ["churn3"]
    await assert_replayed(other)


async def test_a_route_renamed_to_a_name_that_once_was_goes_on_with_its_own_customers():
    """Found by the soak: there and back again, while the first name is still remembered."""
    harness = Harness()
    await harness.load()
    await harness.run(14)
    there = CANARY.replace("name: churn", "name: moved\n    renamed_from: churn")
    back = CANARY.replace("name: churn", "name: churn\n    renamed_from: moved")
    await harness.load(there)
    await harness.load(TWO[: TWO.index("  - name: churn")] + TWO[TWO.index("  - name: other") :])
    await harness.load(there)
    ledger, salt = harness.route.ledger.slots, harness.route.salt
    await harness.load(back)
    await harness.load(there)
    assert (harness.route.name, harness.route.ledger.slots, harness.route.salt) == ("moved", ledger, salt)
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 1)
    other = CANARY.replace("path: /predict", "path: /moved").replace("name: churn", "name: live")
    await harness.load(LONE.replace("  - name: other", other.removeprefix("\nroutes:\n") + "  - name: other"))
    await harness.run(14)
    live = {r.name: r for r in harness.seam.published[-1].routes}["live"]
    onto = other.replace("name: live", "name: moved\n    renamed_from: live")
    await harness.load(onto)  # `moved` is remembered, `live` serves
    assert (harness.route.name, harness.route.salt) == ("moved", live.salt)
    await assert_replayed(harness)


async def test_an_abort_takes_away_what_a_split_gave_an_aborted_challenger():
    harness = await in_step_two()
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert harness.weights == {"v2": 10_000}
    assert (await harness.actions())[-3:] == ["abort", "split", "abort"]
    await assert_replayed(harness)


async def test_several_rollouts_are_edited_each_on_its_own():
    harness = Harness()
    await harness.load(with_rollouts(rollout_entry("v3", "5%", "30%"), rollout_entry("v4", "10%", "40%")))
    await harness.run(3)
    weights = harness.weights
    await harness.load(
        with_rollouts(rollout_entry("v3", "5%", "30%", hold="20s"), rollout_entry("v4", "10%", "40%"))
    )
    assert harness.weights == weights
    last = (await harness.decisions())[-1]
    assert (last.action, last.to["challenger"]) == ("edit", "v3")
    await assert_replayed(harness)
