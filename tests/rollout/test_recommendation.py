"""PROMOTE, KEEP and UNDECIDED: of one challenger and among several, for events, amounts and ranges."""

from __future__ import annotations

import random
from itertools import count, product
from math import exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number
from crossfade.rollout.plan import Goal
from crossfade.rollout.recommendation import (
    OUT,
    Advice,
    Lift,
    _rejected,
    interval_alpha,
    lift_of,
    recommend,
)
from crossfade.stats.sequential import bound

from .counting import check

PROMOTE, KEEP, UNDECIDED = Advice.PROMOTE, Advice.KEEP, Advice.UNDECIDED
ALPHA = 0.01
EVENT = check("kpi", name="conversion", kind="event", min_increase=0)
AMOUNT = check("kpi", name="revenue", min_increase=0)
RANGE = check("kpi", name="rating", range=[0, 5], min_increase=0)
CHURN = check("kpi", name="churned", kind="event", max_increase=0)
UNITS = count(1)


def goal(question, min_lift: float = 0.05, **others) -> Goal:
    return Goal(question.title, min_lift, **others)


def seen(question, rng: random.Random, n: int, draw, share: float = 0.5) -> KpiEvidence:
    """`draw(here)`: a number. In ticks of 50."""
    found = KpiEvidence()
    fed: list[Fed] = []
    for _ in range(n):
        here = rng.random() < share
        fed.append(Fed(Number(draw(here), next(UNITS), False), here, share))
        if len(fed) == 50:
            found.add(question, fed)
            fed = []
    return found


def event(rng: random.Random, ours: float, theirs: float):
    return lambda here: float(rng.random() < (ours if here else theirs))


def advice_of(question, aim: Goal, found: KpiEvidence) -> Advice:
    lift = lift_of(question, aim, found, ALPHA)
    return recommend(aim, ALPHA, "v3", {"v3": lift}).advice


@pytest.mark.parametrize(
    ("ours", "theirs", "advice"),
    [(0.26, 0.20, PROMOTE), (0.20, 0.20, KEEP), (0.16, 0.20, KEEP), (0.21, 0.20, UNDECIDED)],
)
def test_events(ours, theirs, advice):
    rng = random.Random(1)
    found = seen(EVENT, rng, 40_000, event(rng, ours, theirs))
    assert advice_of(EVENT, goal(EVENT, 0.10 if ours == 0.20 else 0.05), found) is advice


@pytest.mark.parametrize(("ours", "advice"), [(0.97, PROMOTE), (0.90, KEEP)])
def test_events_that_are_common_are_judged_by_their_absence(ours, advice):
    """An accuracy of 90 %: with c at 0 the test would need ten times as many."""
    rng = random.Random(2)
    assert advice_of(EVENT, goal(EVENT, 0.03), seen(EVENT, rng, 16_000, event(rng, ours, 0.9))) is advice


@pytest.mark.parametrize(("ours", "advice"), [(1.3, PROMOTE), (1.0, KEEP), (0.8, KEEP)])
@pytest.mark.parametrize("question", [AMOUNT, RANGE])
def test_amounts_and_ranges(question, ours, advice):
    rng = random.Random(3)
    draw = lambda here: (ours if here else 1.0) * rng.lognormvariate(-0.125, 0.5)  # noqa: E731
    assert advice_of(question, goal(question, 0.10), seen(question, rng, 10_000, draw)) is advice


@pytest.mark.parametrize(("ours", "advice"), [(0.14, PROMOTE), (0.20, KEEP), (0.26, KEEP)])
def test_where_less_is_better_a_saving_is_the_gain(ours, advice):
    rng = random.Random(4)
    aim = goal(CHURN, 0.1, lower=True)
    found = seen(CHURN, rng, 40_000, event(rng, ours, 0.2))
    lift = lift_of(CHURN, aim, found, ALPHA)
    assert lift is not None
    assert lift.low is not None
    assert lift.high is not None
    assert lift.low < 1 - ours / 0.2 < lift.high
    assert recommend(aim, ALPHA, "v3", {"v3": lift}).advice is advice


def test_the_numbers_of_a_lift():
    rng = random.Random(5)
    found = seen(EVENT, rng, 20_000, event(rng, 0.24, 0.20))
    lift = lift_of(EVENT, goal(EVENT, min_effect=0.02), found, ALPHA)
    assert lift is not None
    assert lift.n == 20_000
    assert 9000 < lift.units <= 10_000
    assert lift.gain == pytest.approx(0.2, abs=0.08)
    assert lift.mean == pytest.approx(lift.rest_mean * (1 + lift.gain))
    assert lift.low is not None
    assert lift.high is not None
    assert lift.low < lift.gain < lift.high
    assert 0 < lift.p_value < 1e-4
    assert lift.planned is not None
    assert lift.planned > 10 * lift.units


def test_the_units_that_are_needed_are_about_right():
    """What a test of 4000 says is needed for a verdict is what it then takes, within a factor of three."""
    rng = random.Random(6)
    aim, found = goal(EVENT, 0.1), seen(EVENT, rng, 4000, event(rng, 0.25, 0.25))
    lift = lift_of(EVENT, aim, found, ALPHA)
    assert lift is not None
    assert lift.needed
    needed, n = lift.needed + lift.units, 4000
    while advice_of(EVENT, aim, found) is UNDECIDED:
        fed = []
        for _ in range(500):
            here = rng.random() < 0.5
            fed.append(Fed(Number(event(rng, 0.25, 0.25)(here), next(UNITS), False), here, 0.5))
        found.add(EVENT, fed)
        n += 500
    assert needed / 3 < n / 2 < 3 * needed


@pytest.mark.parametrize("question", [EVENT, AMOUNT, RANGE])
def test_without_numbers_nothing_is_recommended(question):
    assert lift_of(question, goal(question), KpiEvidence(), ALPHA) is None
    said = recommend(goal(question), ALPHA, "v3", {"v3": None})
    assert said.advice is UNDECIDED
    assert said.reason.startswith("no lift yet: too few numbers of champion and v3")


def test_a_champion_whose_mean_is_not_above_0_has_no_lift():
    rng = random.Random(7)
    assert lift_of(EVENT, goal(EVENT), seen(EVENT, rng, 1000, event(rng, 0.1, 0.0)), ALPHA) is None
    loss = seen(AMOUNT, rng, 1000, lambda here: rng.gauss(-5, 1))
    assert lift_of(AMOUNT, goal(AMOUNT), loss, ALPHA) is None


def test_evidence_that_is_not_valid_recommends_nothing():
    said = recommend(
        goal(EVENT), ALPHA, "v3", {"v3": lift(5.0, 0.2, 0.3, 100.0)}, "the sample ratio is wrong"
    )
    assert said.advice is UNDECIDED
    assert said.reason == "the evidence is not valid: the sample ratio is wrong"


# ── several ───────────────────────────────────────────────────────────────────────────────────────


def lift(gain: float, low: float | None, high: float | None, better: float = 0.0, worse: float = 0.0) -> Lift:
    return Lift(1000, 2000, gain, 1 + gain, 1.0, better, worse, 0.0, low, high)


SURE = 50.0


@pytest.mark.parametrize(
    ("lifts", "advice"),
    [
        ({"a": lift(0.2, 0.15, 0.25, SURE), "b": lift(0.1, 0.06, 0.14, SURE)}, {"a": PROMOTE, "b": KEEP}),
        (
            {"a": lift(0.2, 0.10, 0.30, SURE), "b": lift(0.18, 0.08, 0.28, SURE)},
            {"a": UNDECIDED, "b": UNDECIDED},
        ),
        # As good within min_lift: the better estimate wins, so that a test of equals ends.
        ({"a": lift(0.2, 0.18, 0.22, SURE), "b": lift(0.19, 0.17, 0.21, SURE)}, {"a": PROMOTE, "b": KEEP}),
        ({"a": lift(0.2, 0.15, 0.25, SURE), "b": lift(0.0, -0.03, 0.03, 0, SURE)}, {"a": PROMOTE, "b": KEEP}),
        (
            {"a": lift(0.0, -0.02, 0.02, 0, SURE), "b": lift(0.0, -0.02, 0.02, 0, SURE)},
            {"a": KEEP, "b": KEEP},
        ),
        ({"a": lift(0.2, 0.15, 0.25, SURE), "b": None}, {"a": UNDECIDED, "b": UNDECIDED}),
        ({"a": lift(0.2, 0.15, 0.25, SURE), "b": lift(0.1, 0.0, 0.14)}, {"a": PROMOTE, "b": KEEP}),
        ({"a": lift(0.2, 0.15, 0.25, SURE), "b": OUT}, {"a": PROMOTE}),
        ({"a": lift(0.0, -0.02, 0.02, 0, SURE), "b": OUT}, {"a": KEEP}),
    ],
)
def test_the_best_of_several(lifts, advice):
    aim = Goal("kpi", 0.05)
    assert {name: recommend(aim, ALPHA, name, lifts).advice for name in advice} == advice


ENDS = st.one_of(st.none(), st.floats(-1, 3))
LIFTS = st.builds(
    lambda gain, low, high, better, worse, out: Lift(
        1000, 2000, gain, 1 + gain, 1.0, better, worse, 0.0, low, high, out=out
    ),
    *(st.floats(-0.9, 3), ENDS, ENDS, st.floats(-5, 20), st.floats(-5, 20), st.booleans()),
)


@given(st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), LIFTS), min_size=1), st.floats(0, 0.5))
def test_at_most_one_of_several_is_to_be_promoted_and_it_is_proven(lifts, min_lift):
    """Whatever the numbers are; so two rollouts of a route never wait for each other's promotion."""
    aim = Goal("kpi", min_lift)
    on_trial = {name for name, found in lifts.items() if not (found and found.out)}
    said = {name: recommend(aim, ALPHA, name, lifts) for name in on_trial}
    best = [name for name, each in said.items() if each.advice is PROMOTE]
    assert len(best) <= 1
    for name in best:
        found = lifts[name]
        assert found is not None
        assert found.better >= bound(ALPHA / 2 if len(lifts) > 1 else ALPHA)
        assert all(said[other].advice is KEEP for other in on_trial - {name})


def test_reasons_name_who_is_better():
    aim = Goal("kpi", 0.05)
    lifts = {"a": lift(0.2, 0.15, 0.25, SURE), "b": lift(0.1, 0.06, 0.14, SURE)}
    assert recommend(aim, ALPHA, "a", lifts).reason == (
        "a gains 20% (15% to 25%), 1.2 against the champion's 1 over 2000: it is proven to be above 5%, and no worse than b"
    )
    assert recommend(aim, ALPHA, "b", lifts).reason.endswith("a is better, or as good within 5%")


def test_with_several_each_test_asks_for_more():
    """Closed testing: one e-value is not enough beside others that say nothing, but all together may be."""
    limit = bound(ALPHA)
    assert _rejected({"a": limit}, limit) == {"a"}
    assert _rejected({"a": limit, "b": 0.0}, limit) == set()
    assert _rejected({"a": limit + log(2), "b": 0.0}, limit) == {"a"}
    assert _rejected({"a": limit, "b": limit}, limit) == {"a", "b"}
    assert _rejected({"a": limit, "b": -inf}, limit) == set()  # one that is out was a hypothesis too
    assert recommend(Goal("kpi"), ALPHA, "a", {"a": None}).bound == pytest.approx(limit)
    assert recommend(Goal("kpi"), ALPHA, "a", {"a": None, "b": None}).bound == pytest.approx(bound(ALPHA / 2))


@given(st.lists(st.floats(-5, 20), min_size=1, max_size=5), st.floats(0.5, 8))
def test_closed_testing_is_that_of_all_sets(values, limit):
    named = dict(enumerate(values))

    def mean(names) -> float:
        return sum(exp(named[name]) for name in names) / len(names)

    sets = [s for s in product((0, 1), repeat=len(values)) if any(s)]
    families = [[name for name, member in enumerate(s) if member] for s in sets]
    least = {name: min(mean(family) for family in families if name in family) for name in named}
    expected = {name for name, value in least.items() if value >= exp(limit)}
    found = _rejected({str(name): value for name, value in named.items()}, limit)
    borderline = {name for name, value in least.items() if value == pytest.approx(exp(limit))}
    assert {int(name) for name in found} | borderline == expected | borderline


def test_intervals_of_several_share_alpha():
    assert interval_alpha(0.01, 1) == 0.01
    assert interval_alpha(0.01, 2) == 0.0025


def test_an_open_interval_is_never_beaten():
    aim = Goal("kpi", 0.05)
    lifts = {"a": lift(0.2, 0.15, 0.25, SURE), "b": lift(0.3, None, None)}
    assert recommend(aim, ALPHA, "a", lifts).advice is UNDECIDED
    assert "may be worse than b" in recommend(aim, ALPHA, "a", lifts).reason
