"""Checks: one question asked of the evidence → a verdict.

FAIL is proven: a log e-value reaches its bound, which is right at every look. The rollout's alpha is
split evenly over its tests and over its steps (the watch counting as one), and each step begins
with fresh evidence, so that the chance of any false FAIL in a whole rollout is at most alpha.
PASS is not proven but earned: enough requests (`min_requests`, on the champion too where it is
compared with), no FAIL, and an estimate within the limit. Less than enough is UNDECIDED whatever
the estimate (law 4). An absolute limit that the champion exceeds as well is VOID: the cause is
common, and nobody is blamed (law 6).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt
from typing import NamedTuple

from proxy.config.model import CheckConfig
from proxy.rollout.evidence import (
    WARM_UP,
    Evidence,
    Stratum,
    both,
    judged,
    marks_of,
    met_by,
    tosses_of,
)
from proxy.rollout.strategy import Plan
from proxy.rollout.verdict import Finding, Verdict, duration, percent
from proxy.stats.counts import ERROR
from proxy.stats.differences import gain_increase
from proxy.stats.histogram import Histogram
from proxy.stats.restarts import log_e_above_restarted, log_e_increase_restarted, log_e_worse_restarted
from proxy.stats.sequential import (
    LARGEST_SHARE,
    bound,
    gain_above,
    gain_worse,
    ratio_interval,
    wilson,
)

SMALLEST_SHARE = 1e-6  # stands for a limit of 0, of which no test could be made
COMMON_CAUSE = 2  # bad outcomes of the champion before it can be called sick


class Terms(NamedTuple):
    """`alpha`: this check's share of the rollout's, for this step."""

    step: int
    min_requests: int
    alpha: float


class Tested(NamedTuple):
    """`n`: requests, of the smaller side where two are compared; `gain`: of evidence, expected per request.

    `within`: whether the estimate keeps the limit; `excuse`: why the evidence blames nobody, if so.
    """

    n: int
    evidence: float
    gain: float
    within: bool
    excuse: str = ""


class Words(NamedTuple):
    """The sentence and the numbers shown; `n` on the challenger."""

    said: str
    n: int
    estimate: float | None
    interval: tuple[float, float] | None


def judge_all(plan: Plan, evidence: Evidence, step: int) -> tuple[Verdict, ...]:
    """A verdict for each check of the plan; `step` is len(plan.steps) during the watch."""
    tests = sum((c.metric, c.bound) in TESTS for c in plan.checks)
    alpha = plan.alpha / (max(tests, 1) * (len(plan.steps) + 1))
    needed = plan.steps[min(step, len(plan.steps) - 1)].min_requests
    return tuple(judge(check, evidence, Terms(step, needed, alpha)) for check in plan.checks)


def judge(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    ask = TESTS.get((check.metric, check.bound)) or COUNTS.get((check.metric, check.bound))
    if ask is None:
        return Verdict(check.title, Finding.VOID, f"{check.subject} is not measured by this version")
    return ask(check, evidence, terms)


def error_rate_max(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    """H0: the challenger's error rate is at most `max`; one-sample, statistics 1.1."""
    limit = check.max or 0.0
    challenger, champion = both(evidence.of_step(terms.step))
    n, x = judged(challenger), challenger.errors
    strata = evidence.of_step(terms.step)
    evident = above(strata, ERROR, limit)
    found = absolute(Share(x, n), Share(champion.errors, judged(champion)), limit, evident)
    said = f"{percent(share(x, n))} of {n} requests failed; the limit is {percent(limit)}"
    return verdict(check, terms, found, Words(said, n, share(x, n), wilson(x, n)))


def latency_max(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    """H0: at most 1 − q of the challenger's answers take longer than `max`; one-sample.

    A request that has waited for longer counts as well, answered or not.
    """
    limit, q = check.max or 0.0, check.quantile or 0.0
    strata = evidence.of_step(terms.step)
    ours, theirs = met_by(strata, check.title)
    times = both(strata)[0].duration
    found = absolute(
        Share(ours.all, ours.n), Share(theirs.all, theirs.n), 1 - q, above(strata, check.title, 1 - q)
    )
    estimate, interval = quantile_of(times, q)
    waiting = ours.n - times.count
    said = (
        f"{check.subject} is {duration(estimate)} over {times.count} answers; the limit is {duration(limit)}"
    )
    if not times.count:
        said = f"{waiting} requests have waited for longer than {duration(limit)} without an answer"
    elif waiting > 0:
        said += f"; {waiting} more have waited for longer without an answer"
    return verdict(check, terms, found, Words(said, ours.n, estimate, interval))


def above(strata: list[Stratum], kind: str, limit: float) -> float:
    return log_e_above_restarted(tosses_of(strata, kind), testable(limit), marks_of(strata, kind))


def testable(limit: float) -> float:
    return min(max(limit, SMALLEST_SHARE), LARGEST_SHARE)


def absolute(here: Share, rest: Share, limit: float, evident: float) -> Tested:
    """The rule for a limit of the challenger alone; `limit` is of the share."""
    within = here.value <= limit
    common = not within and rest.x >= COMMON_CAUSE and rest.value > limit
    excuse = f"the champion is over it too ({percent(rest.value)}): a common cause"
    gain = gain_above(here.value, testable(limit))
    return Tested(here.n, evident, gain, within, excuse if common else "")


def error_rate_increase(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    """H0: the challenger's error rate is at most the champion's, at the same time, plus `max_increase`."""
    strata = evidence.comparable(terms.step)
    if not strata:
        return incomparable(check, evidence, terms)
    allowed = check.max_increase or 0.0
    challenger, champion = both(strata)
    here, rest = Share(challenger.errors, judged(challenger)), Share(champion.errors, judged(champion))
    tosses = tosses_of(strata, ERROR)
    evident = log_e_increase_restarted(tosses, allowed, marks_of(strata, ERROR))
    p, q = here.value, rest.value
    gain = gain_increase(strata[-1].share, p, q, allowed)
    said = (
        f"{percent(p)} of {here.n} requests failed against the champion's {percent(q)} of {rest.n}; "
        f"allowed is {percent(allowed)} more"
    )
    if evident >= bound(terms.alpha):
        low, _ = ratio_interval(tosses, terms.alpha)
        if low > 1:
            said += f" (errors are at least {low:.3g} times as likely)"
    found = Tested(min(here.n, rest.n), evident, gain, p <= q + allowed)
    return verdict(check, terms, found, Words(said, here.n, p - q, difference(here, rest)))


def latency_ratio(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    """H0: the challenger exceeds `max_ratio` times the champion's quantile no oftener than the champion its own."""
    strata = evidence.comparable(terms.step)
    if not strata:
        return incomparable(check, evidence, terms)
    here, rest = met_by(strata, check.title)
    if not here.n or not rest.n:
        known = f"{min(evidence.baseline.count, WARM_UP)} of {WARM_UP} answers of the champion known"
        return Verdict(check.title, Finding.UNDECIDED, f"nothing to compare yet: {known}")
    limit, q = check.max_ratio or 0.0, check.quantile or 0.0
    challenger, champion = (side.duration for side in both(strata))
    ours, interval = quantile_of(challenger, q)
    theirs, _ = quantile_of(champion, q)
    found = Tested(
        min(here.n, rest.n),
        log_e_worse_restarted(tosses_of(strata, check.title), 1.0, marks_of(strata, check.title)),
        gain_worse(strata[-1].share, share(here.first, here.n), share(rest.first, rest.n), 1.0),
        bool(challenger.count) and ours <= limit * theirs,
    )
    if not challenger.count or not champion.count:
        said = f"{here.all} of {here.n} requests have waited for too long, and {rest.all} of the champion's {rest.n}"
        return verdict(check, terms, found, Words(said, here.n, None, None))
    said = (
        f"{check.subject} is {duration(ours)} over {challenger.count} answers against the champion's "
        f"{duration(theirs)}, {ours / theirs:.3g} times; allowed is {limit:.3g} times"
    )
    between = (interval[0] / theirs, interval[1] / theirs) if interval else None
    return verdict(check, terms, found, Words(said, here.n, ours / theirs, between))


def requests_min(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    """Whether the challenger had its requests in this step; it can only pass or wait."""
    needed = int(check.min or 0)
    n = judged(both(evidence.of_step(terms.step))[0])
    finding = Finding.PASS if n >= needed else Finding.UNDECIDED
    reason = f"{n} requests in this step; needed are {needed}"
    return Verdict(check.title, finding, reason, n, float(n), eta_requests=max(needed - n, 0) or None)


Ask = Callable[[CheckConfig, Evidence, Terms], Verdict]
TESTS: dict[tuple[str, str], Ask] = {
    ("error_rate", "max"): error_rate_max,
    ("error_rate", "max_increase"): error_rate_increase,
    ("latency", "max"): latency_max,
    ("latency", "max_ratio"): latency_ratio,
}
COUNTS: dict[tuple[str, str], Ask] = {("requests", "min"): requests_min}


def verdict(check: CheckConfig, terms: Terms, tested: Tested, words: Words) -> Verdict:
    """The rule of this module."""
    limit = bound(terms.alpha)
    missing = max(terms.min_requests - tested.n, 0)
    finding, why = Finding.PASS, ""
    if tested.excuse:
        finding, why = Finding.VOID, f"; {tested.excuse}"
    elif tested.evidence >= limit:
        finding = Finding.FAIL
    elif missing:
        finding, why = Finding.UNDECIDED, f"; {missing} more requests are needed"
    elif not tested.within:
        finding, why = Finding.UNDECIDED, "; not yet beyond chance"
    proof = ceil((limit - tested.evidence) / tested.gain) if tested.gain > 0 else 0
    eta = min(filter(None, (missing, proof)), default=None) if finding is Finding.UNDECIDED else None
    known = words.n > 0
    return Verdict(
        check=check.title,
        verdict=finding,
        reason=words.said + why if known else f"no requests yet; {terms.min_requests} are needed",
        n=words.n,
        estimate=words.estimate if known else None,
        interval=words.interval if known else None,
        evidence=tested.evidence,
        bound=limit,
        eta_requests=eta,
    )


def incomparable(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    if not evidence.of_step(terms.step):
        return Verdict(check.title, Finding.UNDECIDED, f"no requests yet; {terms.min_requests} are needed")
    reason = "champion and challenger have not had live traffic at the same time: nothing to compare"
    return Verdict(check.title, Finding.VOID, reason)


class Share(NamedTuple):
    x: int
    n: int

    @property
    def value(self) -> float:
        return share(self.x, self.n)


def share(x: int, n: int) -> float:
    return x / n if n else 0.0


def quantile_of(held: Histogram, q: float) -> tuple[float, tuple[float, float] | None]:
    """The quantile in seconds, and Wilson's interval of its rank carried over to it."""
    if not held.count:
        return 0.0, None
    low, high = wilson(round(q * held.count), held.count)
    low_edge, value, high_edge = held.quantiles((min(low, q), q, max(high, q)))
    return value, (low_edge, high_edge)


def difference(here: Share, rest: Share) -> tuple[float, float]:
    """Newcombe's interval of a difference of shares, from Wilson's of each."""
    p, q = here.value, rest.value
    (low, high), (other_low, other_high) = wilson(here.x, here.n), wilson(rest.x, rest.n)
    down = sqrt((p - low) ** 2 + (other_high - q) ** 2)
    up = sqrt((high - p) ** 2 + (q - other_low) ** 2)
    return p - q - down, p - q + up
