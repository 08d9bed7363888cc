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
    Met,
    Stratum,
    both,
    error_marks,
    error_tosses,
    judged,
    over_tosses,
    slow_marks,
    slow_tosses,
)
from proxy.rollout.strategy import Plan
from proxy.rollout.verdict import Finding, Verdict, duration, percent
from proxy.stats.differences import gain_increase
from proxy.stats.histogram import Histogram, bucket_of
from proxy.stats.restarts import log_e_above_restarted, log_e_increase_restarted, log_e_worse_restarted
from proxy.stats.sequential import (
    LARGEST_SHARE,
    Tosses,
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
    estimate: float
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
    evident = above(error_tosses(strata), limit, error_marks(strata) if strata else ())
    found = absolute(Share(x, n), Share(champion.errors, judged(champion)), limit, evident)
    said = f"{percent(share(x, n))} of {n} requests failed; the limit is {percent(limit)}"
    return verdict(check, terms, found, Words(said, n, share(x, n), wilson(x, n)))


def latency_max(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    """H0: at most 1 − q of the challenger's answers take longer than `max`; one-sample.

    Answers in the histogram bucket that holds `max` (2 % wide) count as within it.
    """
    limit, q = check.max or 0.0, check.quantile or 0.0
    edge = bucket_of(limit)
    challenger, champion = (side.duration for side in both(evidence.of_step(terms.step)))
    n, x = challenger.count, challenger.above(edge)
    strata = evidence.of_step(terms.step)
    evident = above(over_tosses(strata, edge), 1 - q, slow_marks(strata, check.title) if strata else ())
    found = absolute(Share(x, n), Share(champion.above(edge), champion.count), 1 - q, evident)
    estimate, interval = quantile_of(challenger, q)
    said = f"{check.subject} is {duration(estimate)} over {n} answers; the limit is {duration(limit)}"
    return verdict(check, terms, found, Words(said, n, estimate, interval))


def above(strata: list[Tosses], limit: float, marks: tuple[Tosses, ...]) -> float:
    return log_e_above_restarted(strata, testable(limit), marks)


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
    tosses = error_tosses(strata)
    evident = log_e_increase_restarted(tosses, allowed, error_marks(strata))
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
    slow = slow_total(strata, check.title)
    if not slow.challenger_n or not slow.champion_n:
        known = f"{min(evidence.baseline.count, WARM_UP)} of {WARM_UP} answers of the champion known"
        return Verdict(check.title, Finding.UNDECIDED, f"nothing to compare yet: {known}")
    limit, q = check.max_ratio or 0.0, check.quantile or 0.0
    challenger, champion = (side.duration for side in both(strata))
    ours, interval = quantile_of(challenger, q)
    theirs, _ = quantile_of(champion, q)
    here, rest = Share(slow.challenger, slow.challenger_n), Share(slow.champion, slow.champion_n)
    found = Tested(
        min(here.n, rest.n),
        log_e_worse_restarted(slow_tosses(strata, check.title), 1.0, slow_marks(strata, check.title)),
        gain_worse(strata[-1].share, here.value, rest.value, 1.0),
        ours <= limit * theirs,
    )
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


def slow_total(strata: list[Stratum], title: str) -> Met:
    out = Met()
    for slow in (s.slow[title] for s in strata if title in s.slow):
        out.challenger += slow.challenger
        out.challenger_n += slow.challenger_n
        out.champion += slow.champion
        out.champion_n += slow.champion_n
    return out


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
