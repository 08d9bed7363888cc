"""Orders to train a model again: each on disk once, in the journal, kept by a restart, and without effect on traffic."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import Decision, RetrainView, Verb
from tests.control.harness import CANARY, HEAD, Harness
from tests.control.test_disk import Disk

ON = "    retrain: {on: [data_drift, schedule: 7d], webhook: 'http://127.0.0.1:9/', cooldown: 1h}\n"
RETRAINED = CANARY + ON
DAY = 86_400.0


@pytest.fixture
def harness():
    with closing(Store.open("sqlite::memory:")) as store:
        store.connection = Disk(store.connection)  # type: ignore[assignment]  # it has what the store uses
        yield Harness(store)


async def orders(harness: Harness) -> list[Decision]:
    return [d for d in await harness.decisions() if "order" in d.to]


def view(harness: Harness) -> RetrainView:
    return harness.controller.retrain.view("churn")


async def drifted(harness: Harness, evidence: Any = None) -> bool:
    given = harness.controller.retrain.trigger("churn", "data_drift", evidence)
    await harness.controller.idle()
    return given


async def end(harness: Harness, outcome: str = "succeeded") -> None:
    order = view(harness).order
    assert order is not None
    assert await harness.controller.retrain.end("churn", order.id, outcome, "because", {"version": "v5"})


async def test_a_decision_says_what_the_alarm_and_the_operator_said(harness):
    await harness.load(RETRAINED)
    assert await drifted(harness, {"detail": "age is 31% away from the profile"})
    await end(harness)
    await harness.controller.retrain.order("churn", "alice", "new prices")
    by_alarm, by_hand = [each for each in await orders(harness) if each.action == "retrain"]
    assert by_alarm.reason.endswith(": age is 31% away from the profile")
    assert by_hand.reason.startswith("operator gives order")
    assert by_hand.reason.endswith(": new prices")


async def test_an_occasion_gives_one_order_with_its_evidence(harness):
    await harness.load(RETRAINED)
    told: list[str] = []
    harness.controller.retrain.on_order = told.append
    assert await drifted(harness, {"fields": {"age": 0.4}})
    assert not await drifted(harness)
    (order,) = await orders(harness)
    assert (order.route, order.action, order.actor) == ("churn", "retrain", "loop")
    assert order.evidence == {"occasion": {"fields": {"age": 0.4}}}
    assert order.reason == f"data_drift gives order {order.to['order']}"
    assert told == ["churn"]
    shown = view(harness).order
    assert shown is not None and (shown.id, shown.reason) == (order.to["order"], "data_drift")
    assert harness.controller.retrain.counts()["churn", "suppressed"] == 1


async def test_two_occasions_at_once_give_one_order(harness):
    await harness.load(RETRAINED)
    retrain = harness.controller.retrain
    assert retrain.trigger("churn", "data_drift", 1)
    assert not retrain.trigger("churn", "data_drift", 2)
    await harness.controller.idle()
    assert [d.evidence["occasion"] for d in await orders(harness)] == [1]


async def test_the_cooldown_and_an_operator(harness):
    await harness.load(RETRAINED)
    await drifted(harness)
    with pytest.raises(Refused, match="is under way"):
        await harness.controller.retrain.order("churn", "alice")
    await end(harness)
    await harness.tick(seconds=3500)
    assert not await drifted(harness)
    assert (await harness.controller.retrain.order("churn", "alice", "a new feature")).order is not None
    order = (await orders(harness))[-1]
    assert (order.actor, order.evidence) == ("alice", {"occasion": {"text": "a new feature"}})
    await end(harness, "failed")
    assert [d.action for d in await orders(harness)] == ["retrain", "retrained", "retrain", "retrain_failed"]
    await harness.tick(seconds=3700)
    assert await drifted(harness)


async def test_an_end_is_a_decision_with_the_answer_and_comes_once(harness):
    await harness.load(RETRAINED)
    await drifted(harness)
    harness.controller.retrain.tried("churn", 1, "refused")
    await end(harness)
    last = (await orders(harness))[-1]
    assert last.evidence == {"attempts": 2, "answer": {"version": "v5"}}
    assert last.reason == f"order {last.to['order']} succeeded: because"
    assert await harness.controller.retrain.end("churn", last.to["order"], "failed", "late")
    assert len(await orders(harness)) == 2
    found = view(harness)
    assert found.order is None and found.last is not None
    assert (found.last.outcome, found.last.answer) == ("succeeded", {"version": "v5"})


async def test_the_schedule_counts_served_time_over_restarts(harness):
    await harness.load(RETRAINED)
    await harness.tick(seconds=5 * DAY)
    again = Harness(harness.store)
    again.now = harness.now + 3 * DAY  # in which no proxy ran
    await again.load(RETRAINED)
    await again.tick(seconds=1.9 * DAY)
    assert await orders(again) == []
    await again.tick(seconds=0.2 * DAY)
    (order,) = await orders(again)
    assert order.evidence == {"occasion": {"every": 7 * DAY}}
    assert order.reason.startswith("schedule gives order")


async def test_a_restart_keeps_an_order_and_gives_no_other(harness):
    await harness.load(RETRAINED)
    await drifted(harness, {"p": 0.001})
    again = Harness(harness.store)
    again.now = harness.now
    await again.load(RETRAINED)
    assert not await drifted(again)
    job = again.controller.retrain.job("churn")
    assert job is not None
    assert (job.order.id, job.order.evidence, job.champion) == (
        (await orders(again))[0].to["order"], {"p": 0.001}, "v2",
    )  # fmt: skip
    await end(again)
    assert len(await orders(again)) == 2


async def test_an_occasion_on_a_full_disk_gives_its_order_later(harness):
    await harness.load(RETRAINED)
    told: list[str] = []
    harness.controller.retrain.on_order = told.append
    harness.store.connection.full = True
    await drifted(harness, {"p": 1})
    await harness.run(3)
    assert (told, view(harness).order) == ([], None)
    with pytest.raises(Refused, match="cannot write"):
        await harness.controller.retrain.order("churn", "alice")
    harness.store.connection.full = False
    await harness.run(3)
    assert told == ["churn"]
    assert [d.evidence["occasion"] for d in await orders(harness)] == [{"p": 1}]


async def test_an_end_that_cannot_be_written_is_not_made(harness):
    await harness.load(RETRAINED)
    await drifted(harness)
    order = view(harness).order
    assert order is not None
    harness.store.connection.full = True
    assert not await harness.controller.retrain.end("churn", order.id, "succeeded", "")
    assert view(harness).order is not None
    harness.store.connection.full = False
    await end(harness)
    assert view(harness).order is None


async def test_the_journal_replays_with_orders_between_its_decisions(harness):
    await harness.load(RETRAINED)
    await harness.run(3)
    await drifted(harness)
    await harness.run(15)
    await end(harness)
    await harness.controller.command("churn", Verb.ABORT, "alice", harness.now)
    await harness.controller.idle()
    actions = await harness.actions()
    assert actions.index("retrain") < actions.index("advance") < actions.index("retrained")
    report = replayed(journal(harness.store))
    assert (report.differences, report.decisions) == ([], len(actions))
    assert (await harness.views.why("churn")).decision.action == "abort"


async def test_an_order_behind_an_abort_leaves_the_route_as_it_is(harness):
    """In one transaction, where the abort is owed."""
    await harness.load(RETRAINED)
    await harness.run(3)
    harness.store.connection.full = True
    await harness.controller.command("churn", Verb.ABORT, "alice", harness.now)
    await drifted(harness)
    harness.store.connection.full = False
    await harness.run(3)
    again = Harness(harness.store)
    again.now = harness.now
    await again.load(RETRAINED)
    assert (again.rollout.phase, again.weights) == ("aborted", {"v2": 10_000})
    assert "retrain" in await again.actions()


async def test_a_route_without_retrain_withdraws_its_order(harness):
    await harness.load(RETRAINED)
    await drifted(harness)
    await harness.load(CANARY)
    assert not await drifted(harness)
    await harness.run(2)
    last = (await orders(harness))[-1]
    assert (last.action, last.reason.partition(": ")[2]) == (
        "retrain_withdrawn", "the file has no retrain for this route any more",
    )  # fmt: skip
    assert harness.controller.retrain.views() == []
    await harness.load(RETRAINED)
    assert (view(harness).order, view(harness).last) == (None, None)


async def test_a_renamed_route_keeps_its_order(harness):
    await harness.load(RETRAINED)
    await drifted(harness)
    await harness.load(RETRAINED.replace("name: churn", "name: leaving\n    renamed_from: churn"))
    await harness.run(2)
    found = harness.controller.retrain.view("leaving")
    assert found.order is not None
    assert found.order.id == (await orders(harness))[0].to["order"]
    assert len(await orders(harness)) == 1


async def test_wrong_names_and_routes_without_retrain(harness):
    await harness.load()
    assert not harness.controller.retrain.trigger("nothing", "data_drift", None)
    with pytest.raises(UnknownName, match="no route is called nothing"):
        await harness.controller.retrain.order("nothing", "alice")
    with pytest.raises(Refused, match="route churn has no retrain in the file"):
        await harness.controller.retrain.order("churn", "alice")


async def test_evidence_that_is_too_large_is_left_out_and_that_is_said(harness):
    await harness.load(RETRAINED)
    await drifted(harness, {"text": "x" * 100_000})
    assert (await orders(harness))[0].evidence == {"occasion": {"too_large": 100_011}}


async def test_pruning_keeps_where_each_route_stands(tmp_path: Path):
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as store:
        harness = Harness(store)
        await harness.load(RETRAINED, HEAD)
        await harness.run(3)
        await drifted(harness)
        await end(harness)
        await asyncio.to_thread(store.prune, harness.now + 1)
        left = [msgspec.json.decode(row.text, type=Decision).action for row in journal(store)]
        assert left[:2] == ["begin", "retrained"]
        assert replayed(journal(store), store.anchor()).differences == []
