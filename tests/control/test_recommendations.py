"""Recommendations at work: shown, told, and acted by where the plan says so; each in the journal and replayed."""

from __future__ import annotations

import asyncio
import random
from itertools import count

import pytest

from crossfade.control.advising import EVERY
from crossfade.control.replay import journal, replayed
from crossfade.control.seen import Meant
from crossfade.control.views import RecommendationView, StatusChange, Verb
from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number

from .harness import HEADING, Harness

CHECKS = "[{metric: error_rate, max: 5%}, {metric: kpi, name: conversion, kind: event, min_increase: -0.05}]"
UNITS = count(1)


def entry(challenger: str, more: str = "", strategy: str = "ab_test", weight: str = "30%") -> str:
    return (
        f"      - {{strategy: {strategy}, champion: v2, challenger: {challenger}, steps: [{{weight: {weight}, hold: 10s}}], "
        f"min_requests: 50, checks: {CHECKS}, primary: conversion{more}}}\n"
    )


def file_of(*entries: str) -> str:
    return HEADING + "    rollout:\n" + "".join(entries)


def learn(harness: Harness, challenger: str, ours: float, theirs: float, n: int = 20_000) -> None:
    """Feedback of n requests on each side, as it would come from the prediction log: of customers without a key."""
    route = harness.controller.state.route("churn")
    rollout = route.rollouts[challenger]
    goal = rollout.plan.primary
    assert goal is not None
    check = next(check for check in rollout.plan.checks if check.title == goal.title)
    found = KpiEvidence()
    sides = ((True, ours), (False, theirs))
    rng = random.Random(1)
    fed = [
        Fed(Number(float(i < n * share), next(UNITS), False), here, 0.5)
        for here, share in sides
        for i in range(n)
    ]
    rng.shuffle(fed)
    found.add(check, fed)
    rollout.evidence.kpis[check.title] = found
    rollout.evaluate()
    route.share_lifts()


def said(harness: Harness, challenger: str = "v3") -> RecommendationView:
    view = harness.views.rollout("churn", harness.now, challenger).recommendation
    assert view is not None
    return view


def phases(harness: Harness) -> dict[str, str]:
    return {view.challenger: view.phase for view in harness.views.rollouts(harness.now)}


async def begun(*entries: str) -> Harness:
    harness = Harness()
    await harness.load(file_of(*entries))
    await harness.run(2, 1000)
    return harness


async def assert_replayed(harness: Harness) -> None:
    await harness.controller.idle()
    report = replayed(journal(harness.store))
    assert report.differences == []
    assert report.replayed


async def test_a_rollout_without_a_number_to_go_by_has_no_recommendation():
    harness = await begun(entry("v3").replace(", primary: conversion", ""))
    assert harness.views.rollout("churn", harness.now).recommendation is None
    assert (await harness.views.why("churn")).recommendation is None


async def test_what_is_recommended_is_shown_and_nothing_moves():
    harness = await begun(entry("v3", ", min_effect: 2%"))
    assert said(harness).recommendation == "UNDECIDED"
    assert said(harness).lift is None
    learn(harness, "v3", 0.26, 0.20)
    await harness.run(20, 1000)
    shown = said(harness)
    assert (shown.recommendation, shown.act, shown.min_lift) == ("PROMOTE", False, 0.05)
    assert shown.lift == pytest.approx(0.3)
    assert shown.interval is not None
    assert shown.interval[0] is not None
    assert 0.05 < shown.interval[0] < 0.3
    assert shown.p_value is not None
    assert shown.p_value < 1e-6
    assert shown.evidence["PROMOTE"] > shown.bound
    assert shown.planned_units is not None
    assert shown.planned_seconds is not None
    assert (await harness.views.why("churn")).recommendation == shown
    assert phases(harness) == {"v3": "paused"}  # waits for the approval, as an A/B test does
    await assert_replayed(harness)


@pytest.mark.parametrize("horizon", [0, 1])
async def test_a_verdict_that_is_not_there_yet_has_a_time(horizon):
    """The first numbers came a horizon after the first requests."""
    harness = Harness()
    feedback = f"    feedback: {{horizon: {horizon}s}}\n" if horizon else ""
    await harness.load(file_of(entry("v3")).replace("    rollout:\n", f"{feedback}    rollout:\n"))
    await harness.run(4, 1000)
    learn(harness, "v3", 0.2, 0.2, n=300)
    await harness.run(2, 1000)
    shown = said(harness)
    assert shown.recommendation == "UNDECIDED"
    assert shown.eta_units is not None
    assert shown.eta_seconds is not None
    state = harness.controller.state
    rate = 300 / (state.served - state.route("churn").rollouts["v3"].state.started - horizon)
    assert shown.eta_seconds == pytest.approx(shown.eta_units / rate)


@pytest.mark.parametrize("strategy", ["ab_test", "champion_challenger", "canary"])
@pytest.mark.parametrize(
    ("ours", "phase", "action", "begin"),
    [
        (0.26, "promoted", "promote", "PROMOTE: v3 gains 30%"),
        (0.20, "aborted", "abort", "KEEP v2: v3 gains 0%"),
    ],
)
async def test_where_the_plan_acts_the_recommendation_ends_it_after_the_hold(
    strategy, ours, phase, action, begin
):
    harness = await begun(entry("v3", ", act: true", strategy))
    learn(harness, "v3", ours, 0.20, n=80_000)
    await harness.run(5, 1000)
    assert phases(harness) == {"v3": "progressing"}
    await harness.run(8, 1000)
    assert phases(harness) == {"v3": phase}
    await harness.controller.idle()
    last = await harness.controller.journal.last("churn")
    assert last is not None
    assert (last.action, last.actor) == (action, "loop")
    assert last.reason.startswith(begin)
    await assert_replayed(harness)


async def test_an_undecided_recommendation_holds_the_last_step():
    harness = await begun(entry("v3", ", act: true", "canary"))
    learn(harness, "v3", 0.21, 0.20)
    await harness.run(30, 1000)
    assert phases(harness) == {"v3": "progressing"}
    assert harness.views.rollout("churn", harness.now).waiting_for.startswith("a recommendation: v3 gains 5%")


async def test_a_failed_guardrail_wins():
    harness = await begun(entry("v3", ", act: true"))
    learn(harness, "v3", 0.26, 0.20)
    harness.error_share = {"v3": 0.4}
    await harness.run(13, 1000)
    assert phases(harness) == {"v3": "aborted"}


async def test_a_guardrail_without_a_verdict_waits():
    harness = await begun(entry("v3", ", act: true").replace("min_requests: 50", "min_requests: 1000000"))
    learn(harness, "v3", 0.26, 0.20)
    await harness.run(20, 1000)
    assert phases(harness) == {"v3": "progressing"}
    assert said(harness).recommendation == "PROMOTE"


async def test_an_edit_to_act_is_followed_and_in_the_journal():
    harness = await begun(entry("v3"))
    learn(harness, "v3", 0.26, 0.20)
    await harness.run(13, 1000)
    assert phases(harness) == {"v3": "paused"}
    await harness.load(file_of(entry("v3", ", act: true, min_lift: 4%")))
    edited = await harness.controller.journal.last("churn")
    assert edited is not None
    assert "min_lift: 5% → 4%; act: no → yes" in edited.reason
    await harness.run(2, 1000)
    assert phases(harness) == {"v3": "promoted"}
    await assert_replayed(harness)


async def test_the_best_of_two_challengers_is_promoted_after_the_other_is_gone():
    """v3 gains 50 %, v4 gains 20 %: both are better than the champion, and v3 is better than v4."""
    harness = await begun(entry("v3", ", act: true"), entry("v4", ", act: true"))
    learn(harness, "v3", 0.30, 0.20, n=40_000)
    learn(harness, "v4", 0.24, 0.20, n=40_000)
    await harness.run(4, 1000)
    assert said(harness, "v3").recommendation == "PROMOTE"
    assert said(harness, "v4").recommendation == "KEEP"
    assert "v3 is better" in said(harness, "v4").reason
    assert set(said(harness, "v3").others) == {"v4"}
    await harness.run(20, 1000)
    assert phases(harness) == {"v3": "promoted", "v4": "aborted"}
    await assert_replayed(harness)


async def test_a_challenger_that_is_gone_still_counts_as_one_that_was_tested():
    harness = await begun(entry("v3"), entry("v4"))
    alone = await begun(entry("v3"))
    for each in (harness, alone):
        learn(each, "v3", 0.26, 0.20)
    bound = said(harness, "v3").bound
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "", Meant("v4"))
    await harness.run(2, 1000)
    assert said(harness, "v3").bound == bound > said(alone, "v3").bound
    assert said(harness, "v3").others == {}


@pytest.mark.parametrize(("ours", "phase"), [(0.96, "promoted"), (0.90, "aborted")])
async def test_accuracy_decides_as_a_kpi_does(ours, phase):
    checks = "[{metric: error_rate, max: 5%}, {metric: accuracy, min_increase: -0.05}]"
    text = file_of(entry("v3", ", act: true, min_lift: 3%").replace(CHECKS, checks))
    text = text.replace("primary: conversion", "primary: accuracy")
    harness = Harness()
    await harness.load(
        text.replace("    rollout:\n", "    prediction: {score: p, decision: 0.5}\n    rollout:\n", 1)
    )
    await harness.run(2, 1000)
    learn(harness, "v3", ours, 0.90)
    await harness.run(12, 1000)
    assert phases(harness) == {"v3": phase}
    await assert_replayed(harness)


async def test_a_recommendation_is_told_once():
    harness = await begun(entry("v3"))
    feed = harness.controller.feed.subscribe()
    learn(harness, "v3", 0.26, 0.20)
    await harness.run(int(3 * EVERY), 1000)
    told = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                told.append(await anext(feed))
        except TimeoutError:
            break
    texts = [e.detail for e in told if isinstance(e, StatusChange) and e.what == "recommendation"]
    assert len(texts) == 1
    assert texts[0].startswith("v3: PROMOTE: v3 gains 30%")
