"""Checks of KPIs: numbers from feedback, compared at the same weights.

Rule: feedback may come long after its request, so a KPI has one test over all steps of the rollout. Numbers that
are all 0 or 1 are tested exactly, as events; other numbers are tested asymptotically.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.merging import by_share
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.rollout.verdict_rule import CheckContext, TestResult, Wording, decide, incomparable
from crossfade.stats.differences import log_e_increase, log_e_within
from crossfade.stats.means import (
    MIN_UNITS,
    Moments,
    SplitMoments,
    WeightedDifference,
    gain_mean,
    log_e_mean_above,
    log_e_mean_below,
    mean_interval,
    weighted_difference,
)
from crossfade.stats.sequential import SplitCounts, bound, log_e_above, log_e_below
from crossfade.stats.shares import log_e_shares

_COVERAGE_ALPHA = 0.001  # false alarms of one-sided feedback; it holds the rollout and aborts nothing


def kpi_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0 of a FAIL: the difference of means, challenger less champion, at the same time, keeps the limit.

    `max_increase` passes as all checks do. `min_increase` asks for a gain and passes only if the gain is proven.
    """
    name = check.name or ""
    sides = _sides_of(evidence, context.step, name)
    if not sides:
        return _no_feedback(check, evidence, context)
    context = context._replace(alpha=context.whole)
    limit = check.limit
    here, rest = _sum_moments([s.here for s in sides]), _sum_moments([s.rest for s in sides])
    found = weighted_difference(sides)
    more, less = _log_e_difference(sides, found, limit, context.alpha)
    n, gains = min(here.n, rest.n), check.bound == "min_increase"
    low, high = mean_interval(found, context.alpha)
    between = (low, high) if found.v else None
    growth = gain_mean(found, limit) * found.n / max(here.n, 1)
    text = (
        f"{name} is {here.mean:.4g} over {here.n} against the champion's {rest.mean:.4g} over {rest.n}, "
        f"{found.difference:+.4g} at equal weights; the limit is {'at least' if gains else 'at most'} {limit:+.4g}"
    )
    excuse = _one_sided_feedback(sides)
    if gains:
        result = TestResult(n, less, growth, more >= bound(context.alpha), excuse, more)
    else:
        result = TestResult(n, more, growth, found.difference <= limit, excuse, less)
    return decide(check, context, result, Wording(text, here.n, found.difference, between))


def _log_e_difference(
    sides: Sequence[SplitMoments], found: WeightedDifference, limit: float, alpha: float
) -> tuple[float, float]:
    """Log e-values against "at most `limit` more" and against "at least `limit` more".

    Exact if each number is 0 or 1: the two-sample test of events. Otherwise asymptotic, from MIN_UNITS per side on.
    """
    if all(s.here.binary and s.rest.binary for s in sides):
        counts = [
            SplitCounts(s.share, round(s.here.total), round(s.rest.total), s.here.n, s.rest.n) for s in sides
        ]
        other = [SplitCounts(1 - w, y, x, m, n) for w, x, y, n, m in counts]
        if limit > 0:
            return log_e_increase(counts, limit), log_e_within(counts, limit)
        if limit < 0:
            return log_e_within(other, -limit), log_e_increase(other, -limit)
        return log_e_increase(counts, 0.0), log_e_increase(other, 0.0)
    if min(sum(s.here.n for s in sides), sum(s.rest.n for s in sides)) < MIN_UNITS:
        return 0.0, 0.0
    return log_e_mean_above(found, limit, alpha), log_e_mean_below(found, limit, alpha)


def kpi_limit(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0 of a FAIL: the challenger's mean is at most `max`, or at least `min`; one-sample."""
    name = check.name or ""
    sides = _sides_of(evidence, context.step, name)
    if not sides:
        return _no_feedback(check, evidence, context)
    context = context._replace(alpha=context.whole)
    upper, limit = check.bound == "max", check.limit
    here, rest = _sum_moments([s.here for s in sides]), _sum_moments([s.rest for s in sides])
    found = _difference_from_limit(here, limit)
    more, less = _log_e_limit(here, found, limit, context.alpha)
    within, common = ((m.mean <= limit) == upper or m.mean == limit for m in (here, rest))
    excuse = (
        f"the champion is beyond the limit too ({rest.mean:.4g}): a common cause"
        if not within and not common and rest.n
        else ""
    )
    log_e, proof = (more, less) if upper else (less, more)
    text = f"{name} is {here.mean:.4g} over {here.n}; the limit is {limit:.4g}"
    low, high = mean_interval(found, context.alpha)
    between = (low + limit, high + limit) if found.v else None
    result = TestResult(
        here.n, log_e, gain_mean(found, 0.0), within, _one_sided_feedback(sides) or excuse, proof
    )
    return decide(check, context, result, Wording(text, here.n, here.mean, between))


def _difference_from_limit(here: Moments, limit: float) -> WeightedDifference:
    """The difference of one side from a limit, in the form of a difference of two sides."""
    return WeightedDifference(here.total - here.n * limit, here.around(here.mean), here.n, here.n)


def _log_e_limit(here: Moments, found: WeightedDifference, limit: float, alpha: float) -> tuple[float, float]:
    """Log e-values against "at most the limit" and "at least the limit"; exact if each number is 0 or 1."""
    if here.binary and 0 < limit < 1:
        x = round(here.total)
        return log_e_above(x, here.n, limit), log_e_below(x, here.n, limit)
    if here.n < MIN_UNITS:
        return 0.0, 0.0
    return log_e_mean_above(found, 0.0, alpha), log_e_mean_below(found, 0.0, alpha)


def _sides_of(evidence: Evidence, step: int, name: str) -> list[SplitMoments]:
    """Moments under each share so far in which both sides had traffic and there is feedback."""
    compared = (s for s in evidence.strata if s.compares and s.step <= step)
    found = ((s.share, (s.challenger.kpis.get(name), s.champion.kpis.get(name))) for s in compared)
    some = ((w, (here or Moments(), rest or Moments())) for w, (here, rest) in found if here or rest)
    sums = by_share(some, lambda one, other: (_plus(one[0], other[0]), _plus(one[1], other[1])))
    return [SplitMoments(w, here, rest) for w, (here, rest) in sums]


def _plus(one: Moments, other: Moments) -> Moments:
    return _sum_moments([one, other])


def _sum_moments(moments: Sequence[Moments]) -> Moments:
    out = Moments()
    for each in moments:
        out.merge(each)
    return out


def _one_sided_feedback(sides: Sequence[SplitMoments]) -> str:
    """Why the feedback is no valid sample: one side gets it more often than its share; empty if it is valid."""
    if fsum(log_e_shares((s.here.n, s.rest.n), (s.share, 1 - s.share)) for s in sides) < bound(
        _COVERAGE_ALPHA
    ):
        return ""
    here, n = sum(s.here.n for s in sides), sum(s.here.n + s.rest.n for s in sides)
    expected = fsum(s.share * (s.here.n + s.rest.n) for s in sides) / n
    return f"{percent(here / n)} of the feedback is for the challenger, but its weight is {percent(expected)}"


def _no_feedback(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    if not any(s.compares and s.step <= context.step for s in evidence.strata):
        return incomparable(check, evidence, context)
    return Finding(
        check.title, Verdict.UNDECIDED, f"no feedback yet; {context.min_requests} values are needed"
    )
