"""The guard: whether the evidence of this look is valid.

Rule (law 6): each finding is VOID, which holds the rollout and gives the reason. If the cause is not the challenger,
a FAIL of a check at the same look becomes VOID too. Other findings hold the rollout but leave a FAIL as it is: an
error counts against the assigned backend even if a fallback answered; and a challenger with too few records, for
example because it hangs, does not get too many errors from that.

The sample ratio is tested on requests without a sticky key only. Each of them draws its bucket independently, while
requests with the same key repeat one draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from msgspec.structs import replace

from crossfade.rollout.evidence import Evidence, side_totals
from crossfade.rollout.increases import rejected_increase, unreadable_increase
from crossfade.rollout.instances import SIDES, BadEndpoint, proven_bad
from crossfade.rollout.merging import by_share
from crossfade.rollout.plan import Check
from crossfade.rollout.recent import RecentOutcomes, Row, is_keyed
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import MIN_CHAMPION_ERRORS, Finding, Verdict, duration, percent
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import REJECTED, UNREADABLE
from crossfade.stats.sequential import bound
from crossfade.stats.shares import log_e_shares

_RATIO_ALPHA = (
    0.001  # false alarms of the sample ratio; not part of the rollout's alpha, as it aborts nothing
)
SATURATED = 0.2  # lag of a worker's event loop, seconds
_MIN_REQUESTS = 50  # before a share of requests is compared with a limit
_MAX_FALLBACK_SHARE = 0.1  # share of a side's requests in a step that another backend answered
_MAX_UNKEYED_SHARE = 0.5  # share of a step's requests on a sticky route
CHAMPION_OUTCOMES = 20  # latest outcomes of the champion that show whether it is failing, each key once
_FAILING_SHARE = 0.5
_SAME_TIME = (
    10.0  # the champion's outcomes count if at most so many seconds older than the challenger's latest
)
UNASKED = (  # checks that hold a rollout whose own checks do not ask so: what one side does not answer is no gap (law 17)
    (Check(REJECTED, "max_increase", 0.01, "guard: rejected"), rejected_increase),
    (Check(UNREADABLE, "max_increase", 0.01, "guard: unreadable"), unreadable_increase),
)
_UNASKED_ALPHA = 0.001  # of a wrong VOID; not part of the rollout's alpha, as it aborts nothing
RECOVERY = 10.0  # seconds after an outage in which one side may recover before the other

PROXY, CHAMPION, RATIO = "guard: proxy", "guard: champion", "guard: sample ratio"
WARMING_UP = "guard: warm-up"
FALLBACKS, UNKEYED = "guard: fallbacks", "guard: unkeyed"
INSTANCE = "guard: instance"


class GuardInput(NamedTuple):
    """`lag`: the longest lag of a worker's event loop, seconds; `sticky`: the route has a sticky key.

    `warming`: the latest counts were left out, because the challenger has just got more traffic, or one of the backends has just started
    or recovered. `metrics`: of the
    plan's checks; `steps`: how many the plan has.
    """

    lag: float
    sticky: bool
    challenger: RecentOutcomes
    champion: RecentOutcomes
    warming: bool = False
    metrics: frozenset[str] = frozenset()
    steps: int = 1


class GuardFinding(NamedTuple):
    """`excuses`: whether a FAIL of a check at the same look becomes VOID."""

    finding: Finding
    excuses: bool


def evaluate_guard(evidence: Evidence, step: int, guard_input: GuardInput) -> tuple[GuardFinding, ...]:
    """One finding for each fault of the evidence of this step; none if the evidence is valid."""
    strata = evidence.of_step(step)
    found = [
        _saturated_proxy(guard_input.lag),
        _failing_champion(guard_input.challenger, guard_input.champion),
        _warming_up(evidence.challenger) if guard_input.warming else None,
        _sample_ratio(strata),
        *_fallbacks(strata, evidence),
        _unkeyed(strata) if guard_input.sticky else None,
        *_unasked(evidence, step, guard_input),
        *(GuardFinding(_instance(bad), False) for bad in proven_instances(evidence, step)),
    ]
    return tuple(each for each in found if each is not None)


def _unasked(evidence: Evidence, step: int, guard_input: GuardInput) -> list[GuardFinding]:
    """VOID where the challenger rejects more, or says less, than the champion, and no check of the plan asks about it."""
    context = CheckContext(step, 1, _UNASKED_ALPHA, _UNASKED_ALPHA, steps=guard_input.steps)
    out = []
    challenger, _ = side_totals(evidence.of_step(step))
    met = {REJECTED: challenger.rejected, UNREADABLE: challenger.unreadable}
    for check, evaluate in UNASKED:
        if check.metric in guard_input.metrics or not met[check.metric]:
            continue
        found = evaluate(check, evidence, context)
        if found.verdict is Verdict.FAIL:
            advice = (
                f"no check asks about it; if it is meant, write {{metric: {check.metric}, max_increase: …}}"
            )
            void = replace(found, verdict=Verdict.VOID, reason=f"{found.reason}; {advice}")
            out.append(GuardFinding(void, False))
    return out


def proven_instances(evidence: Evidence, step: int) -> list[BadEndpoint]:
    """Endpoints of either side that are bad while the side's others are not, and that still count."""
    strata = evidence.of_step(step)
    return [bad for side in SIDES for bad in proven_bad(strata, evidence.instances, side)]


def _instance(bad: BadEndpoint) -> Finding:
    text = (
        f"only endpoint {bad.name} is bad: {bad}; it is not ejected, because its backend has `eject: false` or "
        f"less than min_up of the endpoints would be left"
    )
    return Finding(INSTANCE, Verdict.VOID, text, bad.n, bad.x / bad.n)


def void_excused_failures(findings: Sequence[Finding], guard: Sequence[GuardFinding]) -> tuple[Finding, ...]:
    """The findings, with each FAIL turned into VOID if the guard found a cause outside the challenger."""
    cause = next((g.finding for g in guard if g.excuses), None)
    return tuple(findings) if cause is None else tuple(_voided(v, cause) for v in findings)


def _voided(finding: Finding, cause: Finding) -> Finding:
    if finding.verdict is not Verdict.FAIL:
        return finding
    return Finding(
        finding.check,
        Verdict.VOID,
        f"{finding.reason}; not counted against the challenger because {cause.reason}",
        finding.n,
        finding.estimate,
        finding.interval,
        finding.evidence,
        finding.bound,
    )


def _saturated_proxy(lag: float) -> GuardFinding | None:
    if lag < SATURATED:
        return None
    text = f"the proxy is saturated: a worker's event loop lags by {duration(lag)}; the limit is {duration(SATURATED)}"
    return GuardFinding(Finding(PROXY, Verdict.VOID, text, 0, lag), True)


def _failing_champion(challenger: RecentOutcomes, champion: RecentOutcomes) -> GuardFinding | None:
    """The champion is failing at the time of the challenger's latest outcome if it has any."""
    ticks = challenger.ticks or champion.ticks
    if not ticks:
        return None
    latest = champion.last(CHAMPION_OUTCOMES, ticks[-1].at - _SAME_TIME)
    if not _is_failing(latest):
        return None
    n = len(latest.units)
    once = " (each key counted once)" if is_keyed(latest.units) else ""
    text = f"the champion is failing: {latest.bad} of its last {n} requests failed{once}"
    return GuardFinding(Finding(CHAMPION, Verdict.VOID, text, n, latest.bad / n), True)


def is_failing(champion: RecentOutcomes, now: float) -> bool:
    """Whether half of the champion's latest outcomes are errors, so that counts of this tick are left out.

    It depends on earlier ticks only, so it is independent of the side of each request that is left out.
    """
    return _is_failing(champion.last(CHAMPION_OUTCOMES, now - _SAME_TIME))


def fails_too(challenger: RecentOutcomes, now: float) -> bool:
    """Whether half of its latest outcomes are errors, at a time when the champion is failing; it may have few."""
    latest = challenger.last(CHAMPION_OUTCOMES, now - _SAME_TIME)
    return latest.bad > 0 and latest.bad >= _FAILING_SHARE * len(latest.units)


def _is_failing(latest: Row) -> bool:
    """A champion with few keys has fewer units than CHAMPION_OUTCOMES; one key alone shows nothing."""
    enough = latest.requests >= CHAMPION_OUTCOMES and latest.bad >= MIN_CHAMPION_ERRORS
    return enough and latest.bad >= _FAILING_SHARE * len(latest.units)


def _warming_up(challenger: str) -> GuardFinding:
    text = (
        f"warm-up: {challenger} has just got more traffic, or it or the champion has just started or recovered "
        "from an outage of both"
    )
    return GuardFinding(Finding(WARMING_UP, Verdict.VOID, text), False)


def _sample_ratio(strata: Sequence[Stratum]) -> GuardFinding | None:
    """Two-sided; the product over shares of their e-values (statistics 1.3)."""
    counted = ((s.share, (s.challenger.unkeyed, s.champion.unkeyed)) for s in strata if s.compares)
    sums = by_share(counted, lambda one, other: (one[0] + other[0], one[1] + other[1]))
    pairs = [(share, ours, rest) for share, (ours, rest) in sums]
    log_e = fsum(log_e_shares((ours, rest), (share, 1 - share)) for share, ours, rest in pairs)
    if log_e < bound(_RATIO_ALPHA):
        return None
    here, n = sum(ours for _, ours, _ in pairs), sum(ours + rest for _, ours, rest in pairs)
    expected = fsum(share * (ours + rest) for share, ours, rest in pairs) / n
    text = (
        f"the sample ratio is wrong: {percent(here / n)} of {n} requests without a key went to the challenger, "
        f"but its weight is {percent(expected)}; requests are lost or misrouted"
    )
    found = Finding(RATIO, Verdict.VOID, text, here, here / n, None, log_e, bound(_RATIO_ALPHA))
    return GuardFinding(found, here / n > expected)


def _fallbacks(strata: Sequence[Stratum], evidence: Evidence) -> list[GuardFinding]:
    out = []
    names = (evidence.challenger, evidence.champion)
    for name, cell in zip(names, side_totals(strata), strict=True):
        if cell.requests >= _MIN_REQUESTS and cell.fell_back > _MAX_FALLBACK_SHARE * cell.requests:
            text = (
                f"{percent(cell.fell_back / cell.requests)} of {name}'s {cell.requests} requests were answered "
                f"by another backend; the limit is {percent(_MAX_FALLBACK_SHARE)}"
            )
            share = cell.fell_back / cell.requests
            out.append(GuardFinding(Finding(FALLBACKS, Verdict.VOID, text, cell.requests, share), False))
    return out


def _unkeyed(strata: Sequence[Stratum]) -> GuardFinding | None:
    sides = side_totals(strata)
    n, x = sum(cell.requests for cell in sides), sum(cell.unkeyed for cell in sides)
    if n < _MIN_REQUESTS or x <= _MAX_UNKEYED_SHARE * n:
        return None
    text = f"{percent(x / n)} of {n} requests had no sticky key; the limit is {percent(_MAX_UNKEYED_SHARE)}"
    return GuardFinding(Finding(UNKEYED, Verdict.VOID, text, n, x / n), False)
