"""Checks of KPIs: numbers from feedback, compared at the same weights.

Rule: feedback may come long after its request, so a KPI has one test over all steps of the rollout. A declared kind or range has an
exact test; amounts are tested in the limit of many customers (what is counted: `kpi_evidence`). `max` and `min` are broken only
where the challenger is also proven worse than the champion; else a common cause may have broken them (VOID).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from crossfade.rollout.coverage import coverage_fault
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpi_evidence import FIRST_UNITS, KpiEvidence, SideNumbers
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.rollout.verdict_rule import CheckContext, TestResult, Wording, decide, incomparable
from crossfade.stats.bounded import SplitLevels, flipped, log_e_level_above, log_e_level_increase
from crossfade.stats.differences import log_e_increase, log_e_within
from crossfade.stats.means import (
    MIN_UNITS,
    gain_mean,
    log_e_mean_above,
    log_e_mean_below,
    mean_interval,
    mixture_rho,
)
from crossfade.stats.sequential import SplitCounts, bound, log_e_above, log_e_below
from crossfade.stats.shares import log_e_shares

_COVERAGE_ALPHA = 0.001  # false alarms of one-sided feedback; it holds the rollout and aborts nothing
_HEAVY = 0.05  # share of one unit in the sum of all from which the reason names it


class Bets(NamedTuple):
    """Log e-values against "at most the limit" and against "at least the limit"."""

    more: float
    less: float


def kpi_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0 of a FAIL: the difference of means, challenger less champion, at the same time, keeps the limit.

    `max_increase` passes as all checks do. `min_increase` asks for a gain and passes only if the gain is proven.
    """
    found = evidence.kpis.get(check.title, KpiEvidence())
    context = context._replace(alpha=context.whole)
    early = _nothing_to_test(check, evidence, found, context)
    if early:
        return early
    limit, gains = check.limit, check.bound == "min_increase"
    bets = _bets_on_difference(check, found, limit, context.alpha)
    difference, between = _difference(check, found, context.alpha)
    text = (
        f"{check.named} is {_mean(found.here, found)} against the champion's {_mean(found.rest, found)}, "
        f"{difference:+.4g} at equal weights; the limit is {'at least' if gains else 'at most'} {limit:+.4g}"
    )
    text += _not_known(check, found)
    n = min(found.here.units, found.rest.units)
    growth = _growth(check, found, bets.less if gains else bets.more, limit)
    is_proven = (bets.less if gains else bets.more) >= bound(context.alpha)
    excuse = coverage_fault(check, evidence, is_proven) or _one_sided_feedback(found)
    if gains:
        result = TestResult(n, bets.less, growth, bets.more >= bound(context.alpha), excuse, bets.more)
    else:
        result = TestResult(n, bets.more, growth, difference <= limit, excuse, bets.less)
    return decide(check, context, result, Wording(text, found.here.units, difference, between))


def kpi_limit(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0 of a FAIL: the challenger's mean is at most `max`, or at least `min`, or it is no worse than the champion's."""
    found = evidence.kpis.get(check.title, KpiEvidence())
    context = context._replace(alpha=context.whole)
    early = _nothing_to_test(check, evidence, found, context)
    if early:
        return early
    upper, limit = check.bound == "max", check.limit
    bets, worse = (
        _bets_on_limit(check, found, context.alpha),
        _bets_on_difference(check, found, 0.0, context.alpha),
    )
    log_e, proof = bets if upper else (bets.less, bets.more)
    log_e_worse = worse.more if upper else worse.less
    excuse = coverage_fault(check, evidence, log_e >= bound(context.alpha)) or _one_sided_feedback(found)
    if not excuse and log_e >= bound(context.alpha) > log_e_worse:
        excuse = (
            f"the limit is broken, but the challenger is not proven worse than the champion ({found.rest.mean:.4g} over "
            f"{found.rest.n}): a common cause"
        )
    mean = found.here.mean
    text = f"{check.named} is {_mean(found.here, found)}; the limit is {limit:.4g}{_not_known(check, found)}"
    within = mean <= limit if upper else mean >= limit
    result = TestResult(found.here.units, log_e, _growth_of_limit(found), within, excuse, proof)
    return decide(
        check, context, result, Wording(text, found.here.units, mean, _around_mean(check, found, context))
    )


def _nothing_to_test(
    check: Check, evidence: Evidence, found: KpiEvidence, context: CheckContext
) -> Finding | None:
    if not any(s.compares and s.step <= context.step for s in evidence.strata):
        return incomparable(check, evidence, context)
    if found.unusable is not None:
        value = found.unusable if isinstance(found.unusable, str) else f"{found.unusable:.10g}"
        reason = f"{check.label} has the value {value} in the feedback; {_wanted(check)}"
        return Finding(check.title, Verdict.VOID, reason)
    if found.here.n + found.rest.n:
        return None
    needed = f"{context.min_requests} values are needed"
    if found.first.known:
        reason = (
            f"{found.first.known} customers or requests gave feedback; the first {FIRST_UNITS} that are not all alike "
            f"fix the scale of the test and are not counted, and then {needed}"
        )
        return Finding(check.title, Verdict.UNDECIDED, reason)
    return Finding(check.title, Verdict.UNDECIDED, f"no feedback yet; {needed}")


def _wanted(check: Check) -> str:
    if check.metric != "kpi":
        return f"{check.metric} needs {check.wanted}"
    return "an event is 0 or 1" if check.kind == "event" else "an amount is a number, of no more than 1e100"


def _bets_on_difference(check: Check, found: KpiEvidence, limit: float, alpha: float) -> Bets:
    if check.metric == "accuracy":  # a bet on what is rarer grows faster: on wrong answers
        wrong = _bets_on_events(found, -limit, 0)
        return Bets(wrong.less, wrong.more)
    if check.kind == "event":
        return _bets_on_events(found, limit, 1)
    if check.range:
        levels, centre, margin = _split_levels(found), _scaled(check, found), limit / check.width
        return Bets(
            log_e_level_increase(levels, centre, margin),
            log_e_level_increase(flipped(levels), 1 - centre, -margin),
        )
    if not found.scale or min(found.here.units, found.rest.units) < MIN_UNITS:
        return Bets(0.0, 0.0)
    rho = mixture_rho(found.scale.planned, 2 * alpha)
    return Bets(
        log_e_mean_above(found.difference, limit, rho), log_e_mean_below(found.difference, limit, rho)
    )


def _bets_on_events(found: KpiEvidence, limit: float, level: int) -> Bets:
    """On the difference of how often a number is at this level: 1 is an event, 0 none."""
    counts = [
        SplitCounts(c.share, c.here[level], c.rest[level], sum(c.here), sum(c.rest)) for c in found.coins
    ]
    other = [SplitCounts(1 - w, y, x, m, n) for w, x, y, n, m in counts]
    if limit > 0:
        return Bets(log_e_increase(counts, limit), log_e_within(counts, limit))
    if limit < 0:
        return Bets(log_e_within(other, -limit), log_e_increase(other, -limit))
    return Bets(log_e_increase(counts, 0.0), log_e_increase(other, 0.0))


def _bets_on_limit(check: Check, found: KpiEvidence, alpha: float) -> Bets:
    if check.kind == "event":
        x, n, limit = round(found.here.total), found.here.n, check.limit
        return Bets(log_e_above(x, n, limit), log_e_below(x, n, limit)) if 0 < limit < 1 else Bets(0.0, 0.0)
    if check.range:
        levels = [sum(column) for column in zip(*(c.here for c in found.coins), strict=True)]
        limit = (check.limit - check.range[0]) / check.width
        return Bets(log_e_level_above(levels, limit), log_e_level_above(levels[::-1], 1 - limit))
    if not found.scale or min(found.here.units, found.rest.units) < MIN_UNITS:
        return Bets(0.0, 0.0)
    rho = mixture_rho(found.scale.beyond, 2 * alpha)
    return Bets(log_e_mean_above(found.beyond, 0.0, rho), log_e_mean_below(found.beyond, 0.0, rho))


def _difference(check: Check, found: KpiEvidence, alpha: float) -> tuple[float, tuple[float, float] | None]:
    """The difference of means at equal weights. The interval is that of the means: an exact test has none to show."""
    if check.is_exact or not found.scale:
        return _difference_of_levels(check, found), None
    between = mean_interval(found.difference, mixture_rho(found.scale.planned, alpha), alpha)
    return found.difference.mean, between if found.difference.v else None


def _difference_of_levels(check: Check, found: KpiEvidence) -> float:
    """Overlap weights: coins of one probability w have the weight w(1 − w) times their number."""
    top = weights = 0.0
    for share, here, rest in _split_levels(found):
        n, m = sum(here), sum(rest)
        if n and m:
            weight = share * (1 - share) * (n + m)
            weights += weight
            top += weight * (_mean_level(here) - _mean_level(rest))
    return top / weights * (check.width if check.range else 1.0) if weights else 0.0


def _mean_level(levels: Sequence[int]) -> float:
    return sum([k * n for k, n in enumerate(levels)]) / sum(levels) / (len(levels) - 1)


def _around_mean(check: Check, found: KpiEvidence, context: CheckContext) -> tuple[float, float] | None:
    if check.is_exact or not found.scale or not found.beyond.v:
        return None
    low, high = mean_interval(found.beyond, mixture_rho(found.scale.beyond, context.alpha), context.alpha)
    return low + check.limit, high + check.limit


def _growth(check: Check, found: KpiEvidence, log_e: float, limit: float) -> float:
    """Of the log e-value, in nats per unit of the challenger."""
    here = max(found.here.units, 1)
    if check.is_exact:
        return max(log_e, 0.0) / here
    return gain_mean(found.difference, limit, here)


def _growth_of_limit(found: KpiEvidence) -> float:
    return gain_mean(found.beyond, 0.0, found.here.units)


def _split_levels(found: KpiEvidence) -> list[SplitLevels]:
    return [SplitLevels(coins.share, coins.here, coins.rest) for coins in found.coins]


def _scaled(check: Check, found: KpiEvidence) -> float:
    """The centre of the exact test: the mean of the first units, as a share of the range."""
    assert check.range is not None
    middle = found.scale.centre if found.scale else check.range[0]
    return (middle - check.range[0]) / check.width


def _mean(side: SideNumbers, found: KpiEvidence) -> str:
    """As `0.2 over 1000`, or `0.2 over 1000 of 212 customers`."""
    over = f"{side.n} of {side.units} customers" if found.keyed else f"{side.n}"
    return f"{side.mean:.4g} over {over}"


def _not_known(check: Check, found: KpiEvidence) -> str:
    """What the test does not know: amounts that are rare and large, or cut off."""
    if check.range:
        n = found.here.n + found.rest.n
        cut = found.clipped / n if n else 0.0
        return f"; {percent(cut)} of the values were outside the range and moved to its ends" if cut else ""
    if check.kind == "event" or not found.absolute or found.largest < _HEAVY * found.absolute:
        return ""
    share = percent(found.largest / found.absolute)
    one = "one customer" if found.keyed else "one value"
    return f"; {one} is {share} of the sum: the interval may miss rare large amounts"


def _one_sided_feedback(found: KpiEvidence) -> str:
    """Why the feedback is no valid sample: one side gets it more often than its share; empty if it is valid."""
    counted = [(c.share, sum(c.here), sum(c.rest)) for c in found.coins]
    if fsum(log_e_shares((x, y), (w, 1 - w)) for w, x, y in counted) < bound(_COVERAGE_ALPHA):
        return ""
    here, n = sum(x for _, x, _ in counted), sum(x + y for _, x, y in counted)
    expected = fsum(w * (x + y) for w, x, y in counted) / n
    return f"{percent(here / n)} of the feedback is for the challenger, but its weight is {percent(expected)}"
