"""The recommendation: PROMOTE the challenger, KEEP the champion, or UNDECIDED, by the one number that the plan names.

Rule: PROMOTE if the challenger is proven to be better by more than `min_lift`, KEEP if it is proven not to be, both at every look.
An equal challenger is KEEP as soon as its lift is proven to be below `min_lift`. Where a route tests several challengers of one
champion, the probability of any wrong recommendation among them is at most alpha: half of it for the comparisons with the
champion, by closed testing with means of e-values (each mean is an e-process, so Ville's inequality holds for it), and half for
those with each other, by Bonferroni over their intervals. The best is promoted when no other is better than it by `min_lift` or
more; then the others are KEEP.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from math import ceil, exp, inf

import msgspec
from msgspec.structs import replace

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.guard import FALLBACKS, RATIO, UNKEYED
from crossfade.rollout.kpi_evidence import KpiEvidence
from crossfade.rollout.plan import Check, Goal, Plan
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.bounded import SplitLevels
from crossfade.stats.lift import (
    Levels,
    LiftTests,
    drift_of_levels,
    drift_of_means,
    growth,
    lift_interval,
    log_e_less_levels,
    log_e_less_means,
    log_e_more_levels,
    log_e_more_means,
)
from crossfade.stats.means import MIN_UNITS, MeanSums, mixture_rho
from crossfade.stats.sequential import bound, log_mean_exp

_INVALID = (RATIO, FALLBACKS, UNKEYED)  # what the guard finds while a comparison of means is not valid
_EVENT_CENTRES = (0.0, 0.25, 0.5, 0.75, 1.0)  # nothing is known of an event's probability before


class Advice(StrEnum):
    PROMOTE = "PROMOTE"
    KEEP = "KEEP"
    UNDECIDED = "UNDECIDED"


class Lift(msgspec.Struct, frozen=True):
    """What is known of one challenger against the champion. Lifts are gains: positive is better, whichever way the number goes.

    `better`, `worse`: log e-values that the gain is above, and that it is below `min_lift`; `same`: against "no difference".
    `low`, `high`: an interval of the gain at all looks, with the alpha that `lift_of` was given; None where it is open. `units`: customers or requests of
    the smaller side. `needed`: units until a verdict as the numbers are now; `planned`: in all, for a gain that is `min_effect` off `min_lift`.
    `out`: not on trial; it was or will be, so it still counts as one of those that are compared.
    """

    units: int
    n: int
    gain: float
    mean: float
    rest_mean: float
    better: float
    worse: float
    same: float = 0.0
    low: float | None = None
    high: float | None = None
    needed: int | None = None
    planned: int | None = None
    out: bool = False

    @property
    def p_value(self) -> float:
        """Of "no difference", valid at every look."""
        return min(1.0, exp(-self.same)) if self.same > 0 else 1.0


UNKNOWN = Lift(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)  # of a challenger without enough numbers: anything is possible
OUT = replace(UNKNOWN, out=True)


class Recommendation(msgspec.Struct, frozen=True):
    """`bound`: the log e-value that `Lift.better` or `worse` needs while there is no other challenger."""

    advice: Advice
    reason: str
    bound: float
    lift: Lift | None = None


# ── one challenger against the champion ───────────────────────────────────────────────────────────


def lift_of(check: Check, goal: Goal, found: KpiEvidence, alpha: float, shown: bool = True) -> Lift | None:
    """None while there is nothing to compare, or the champion's mean is not above 0. `alpha`: of the interval.

    `shown`: with the interval, which costs some thirty times as much as the tests.
    """
    tests = _tests(check, found, alpha)
    if tests is None or tests.mean <= 0 or not found.here.n:
        return None
    factor, turn = goal.factor, -1.0 if goal.lower else 1.0
    ratio = _estimate(check, found, tests.mean)
    low, high = lift_interval(tests, ratio - 1, alpha) if shown else (None, None)
    more, less = tests.more(factor), tests.less(factor)
    needed, planned = _units(check, goal, found, (tests.mean, more, less), alpha)
    return Lift(
        units=min(found.here.units, found.rest.units),
        n=found.here.n + found.rest.n,
        gain=turn * (ratio - 1),
        mean=ratio * tests.mean,
        rest_mean=tests.mean,
        better=less if goal.lower else more,
        worse=more if goal.lower else less,
        same=log_mean_exp([tests.more(1.0), tests.less(1.0)]),
        low=_turned(high) if goal.lower else low,
        high=_turned(low) if goal.lower else high,
        needed=needed,
        planned=planned,
    )


def _turned(gain: float | None) -> float | None:
    return None if gain is None else -gain


def _tests(check: Check, found: KpiEvidence, alpha: float) -> LiftTests | None:
    if check.is_exact:
        strata, levels = _split_levels(found), _levels(check, found)
        if levels is None or not strata:
            return None
        return LiftTests(
            lambda factor: log_e_more_levels(strata, levels, factor),
            lambda factor: log_e_less_levels(strata, levels, factor),
            found.rest.mean,
        )
    if found.scale is None or min(found.here.units, found.rest.units) < MIN_UNITS:
        return None
    sums, mean, rho = found.difference, found.base.mean, mixture_rho(found.scale.planned, 2 * alpha)
    return LiftTests(
        lambda factor: log_e_more_means(sums, mean, factor, rho),
        lambda factor: log_e_less_means(sums, mean, factor, rho),
        mean,
    )


def _split_levels(found: KpiEvidence) -> list[SplitLevels]:
    return [SplitLevels(c.share, c.here, c.rest) for c in found.coins]


def _levels(check: Check, found: KpiEvidence) -> Levels | None:
    if check.kind == "event":
        return Levels(0.0, 1.0, _EVENT_CENTRES)
    assert check.range is not None
    return Levels(*check.range, (found.scale.centre,)) if found.scale else None


def _estimate(check: Check, found: KpiEvidence, mean: float) -> float:
    """The ratio of the means, at equal weights."""
    return 1 + _drift(check, found, mean, 1.0).mean / mean


def _drift(check: Check, found: KpiEvidence, mean: float, factor: float) -> MeanSums:
    if not check.is_exact:
        return drift_of_means(found.difference, mean, factor)
    levels = _levels(check, found)
    assert levels is not None
    return drift_of_levels(_split_levels(found), levels, factor, mean)


def _units(
    check: Check, goal: Goal, found: KpiEvidence, tested: tuple[float, float, float], alpha: float
) -> tuple[int | None, int | None]:
    """Units of the smaller side: until a verdict at the present rates, and planned for `min_effect` in all.

    `tested`: the champion's mean, and the log e-values against "at most" and "at least" the factor.
    """
    units, (mean, more, less) = min(found.here.units, found.rest.units), tested
    drift = _drift(check, found, mean, goal.factor)
    rate, left = growth(drift, units), bound(alpha) - (more if drift.s > 0 else less)
    needed = max(ceil(left / rate), 0) if rate > 0 else None
    if not goal.min_effect:
        return needed, None
    wanted = MeanSums(goal.min_effect * mean * drift.d, drift.v, 0.0, drift.d)
    rate = growth(wanted, units)
    return needed, ceil(bound(alpha) / rate) if rate > 0 else None


def on_trial(plan: Plan, evidence: Evidence, alpha: float, shown: bool = True) -> Lift | None:
    """The lift by the plan's own number. `alpha`: of its interval."""
    goal = plan.primary
    assert goal is not None
    check = next((check for check in plan.checks if check.title == goal.title), None)
    if check is None:
        return None
    return lift_of(check, goal, evidence.kpis.get(goal.title, KpiEvidence()), alpha, shown)


# ── among several ─────────────────────────────────────────────────────────────────────────────────


def recommended(
    plan: Plan, evidence: Evidence, others: Mapping[str, Lift | None], findings: Sequence[Finding]
) -> Recommendation | None:
    """What is recommended for the plan's challenger; None if the plan has no number for it.

    `others`: the lifts of the other challengers that are tested for the same number. The interval is left out where nothing follows from it.
    """
    goal, own = plan.primary, plan.challenger
    if goal is None:
        return None
    alpha = interval_alpha(plan.alpha, len(others) + 1)
    lift = on_trial(plan, evidence, alpha, shown=False)
    known = [each for each in (lift, *others.values()) if each is not None]
    if lift is not None and (
        lift.worse >= bound(plan.alpha) or max(each.better for each in known) >= bound(plan.alpha)
    ):
        lift = on_trial(plan, evidence, alpha)
    return recommend(goal, plan.alpha, own, {own: lift, **others}, void_of(goal, findings))


def is_same(goal: Goal | None, other: Goal | None) -> bool:
    """Whether two challengers are compared: by the same number, and the same gain."""
    return (
        goal is not None
        and other is not None
        and (goal.title, goal.min_lift, goal.lower) == (other.title, other.min_lift, other.lower)
    )


def void_of(goal: Goal, findings: Sequence[Finding]) -> str:
    """Why the evidence says nothing of the goal; empty if it is valid."""
    void = [f for f in findings if f.verdict is Verdict.VOID and f.check in (*_INVALID, goal.title)]
    return void[0].reason if void else ""


def interval_alpha(alpha: float, challengers: int) -> float:
    """Of each challenger's interval, so that all hold together with half of alpha where there are several."""
    return alpha if challengers == 1 else alpha / 2 / challengers


def recommend(
    goal: Goal, alpha: float, own: str, lifts: Mapping[str, Lift | None], void: str = ""
) -> Recommendation:
    """`own`: whose recommendation. `lifts`: of each challenger of the champion that the plans test for this goal, `own` too; None while it has too few numbers.

    `void`: why the evidence is not valid; then nothing is recommended.
    """
    several = len(lifts) > 1
    limit = bound(alpha / 2 if several else alpha)
    lift = lifts[own]
    if void:
        return Recommendation(Advice.UNDECIDED, f"the evidence is not valid: {void}", limit, lift)
    if lift is None:
        reason = f"no lift yet: too few numbers of champion and {own}, or a mean of the champion that is not above 0"
        return Recommendation(Advice.UNDECIDED, reason, limit)
    advice, why = _among(goal, own, {name: found or UNKNOWN for name, found in lifts.items()}, limit)
    return Recommendation(advice, f"{_in_words(goal, own, lift)}: {why}", limit, lift)


def _among(goal: Goal, own: str, lifts: Mapping[str, Lift], limit: float) -> tuple[Advice, str]:
    kept = _rejected({name: -inf if lift.out else lift.worse for name, lift in lifts.items()}, limit)
    better = _rejected({name: -inf if lift.out else lift.better for name, lift in lifts.items()}, limit)
    lifts = {name: lift for name, lift in lifts.items() if not lift.out}
    least = _gain_text(goal.min_lift)
    if own in kept:
        return Advice.KEEP, f"it is proven not to reach {least}"
    best = _best(goal, better, kept, lifts)
    if best == own:
        return Advice.PROMOTE, f"it is proven to be above {least}{_of_others(own, lifts)}"
    if best:
        return Advice.KEEP, f"{best} is better, or as good within {least}"
    if own in better:
        rivals = [
            name
            for name in lifts
            if name != own and not _loses(goal, lifts[name], lifts[own]) and name not in kept
        ]
        return Advice.UNDECIDED, f"it is above {least}, but may be worse than {' and '.join(rivals)}"
    needed = lifts[own].needed
    eta = f"; about {needed} more of {own} decide it at this difference" if needed else ""
    return Advice.UNDECIDED, f"neither above nor below {least} is proven{eta}"


def _rejected(log_e: Mapping[str, float], limit: float) -> set[str]:
    """Closed testing: a hypothesis is rejected if the mean of e-values of each set that it is in reaches the bound.

    The least mean of a set of k with it is that with the k − 1 smallest others.
    """
    return {name for name in log_e if all(m >= limit for m in _least_means(name, log_e))}


def _least_means(name: str, log_e: Mapping[str, float]) -> list[float]:
    others = sorted(value for other, value in log_e.items() if other != name)
    return [log_mean_exp([log_e[name], *others[:k]]) for k in range(len(others) + 1)]


def _best(goal: Goal, better: Collection[str], kept: Collection[str], lifts: Mapping[str, Lift]) -> str:
    """The challenger to promote; empty while none is known to be it."""
    rest = [name for name in lifts if name not in kept]
    fit = [
        name
        for name in rest
        if name in better and all(_loses(goal, lifts[other], lifts[name]) for other in rest if other != name)
    ]
    return max(fit, key=lambda name: (lifts[name].gain, name), default="")


def _loses(goal: Goal, other: Lift, lift: Lift) -> bool:
    """Whether `other` is proven not to be better than `lift` by `min_lift` or more."""
    return other.high is not None and lift.low is not None and other.high - lift.low <= goal.min_lift


def _of_others(own: str, lifts: Mapping[str, Lift]) -> str:
    others = [name for name in lifts if name != own]
    return f", and no worse than {' and '.join(others)}" if others else ""


def _in_words(goal: Goal, own: str, lift: Lift) -> str:
    """As `v3 gains 6.2% (3.1% to 9.4%), 0.21 against the champion's 0.2 over 12000`; the interval is left out if it is open."""
    is_open = lift.low is None and lift.high is None
    between = "" if is_open else f" ({_gain_text(lift.low)} to {_gain_text(lift.high)})"
    return (
        f"{own} {'saves' if goal.lower else 'gains'} {_gain_text(lift.gain)}{between}, "
        f"{lift.mean:.4g} against the champion's {lift.rest_mean:.4g} over {lift.n}"
    )


def _gain_text(gain: float | None) -> str:
    return "any" if gain is None else f"{gain * 100:.3g}%"
