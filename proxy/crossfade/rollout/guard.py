"""The guard: whether the evidence itself can be trusted at this look, before anybody is judged by it.

Rule (law 6): what it finds is VOID, which holds the rollout and says why. Where the cause lies outside
the challenger, a FAIL beside it becomes VOID too. Other findings hold the rollout but excuse nothing:
an error counts against the backend that was assigned, whoever answered; and a challenger with too
few records, as one that hangs has, cannot have too many errors by it.

The coin is known for unkeyed requests only, each of which draws its bucket; a customer with a key comes
again and again. So the sample ratio is that of unkeyed requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossfade.rollout.evidence import Evidence, Stratum, side_totals
from crossfade.rollout.fuse import RecentOutcomes
from crossfade.rollout.verdict import Finding, Verdict, duration, percent
from crossfade.stats.sequential import bound
from crossfade.stats.shares import log_e_shares

_RATIO_ALPHA = (
    0.001  # of a sample ratio called wrong by chance; beside the rollout's alpha, as it aborts nothing
)
SATURATED = 0.2  # seconds that a worker's loop lags behind
_MIN_REQUESTS = 50  # requests before a share of them is looked at
_MAX_FALLBACK_SHARE = 0.1  # of a side's requests in a step, answered by another backend
_MAX_UNKEYED_SHARE = 0.5  # of a step's requests on a sticky route
SICK_OF = 20  # latest outcomes of the champion that show whether it is sick
_FAILING_SHARE = 0.5
_SAME_TIME = 10.0  # seconds before the challenger's latest outcome in which the champion's count
RECOVERY = 10.0  # seconds after an outage in which one side may be back before the other

PROXY, CHAMPION, RATIO = "guard: proxy", "guard: champion", "guard: sample ratio"
WARMING_UP = "guard: warm-up"
FALLBACKS, UNKEYED = "guard: fallbacks", "guard: unkeyed"


class GuardInput(NamedTuple):
    """`lag`: the longest that a worker's loop lags, in seconds; `sticky`: the route holds customers by a key.

    `warming`: what was counted last was left out, as one of the backends had only just begun.
    """

    lag: float
    sticky: bool
    challenger: RecentOutcomes
    champion: RecentOutcomes
    warming: bool = False


class GuardFinding(NamedTuple):
    """`excuses`: whether a FAIL beside it blames nobody."""

    verdict: Finding
    excuses: bool


def evaluate_guard(evidence: Evidence, step: int, guard_input: GuardInput) -> tuple[GuardFinding, ...]:
    """One for each thing that is wrong with the evidence of this step; none when it can be trusted."""
    strata = evidence.of_step(step)
    found = [
        _saturated_proxy(guard_input.lag),
        _failing_champion(guard_input.challenger, guard_input.champion),
        _warming_up(evidence.challenger) if guard_input.warming else None,
        _sample_ratio(strata),
        *_fallbacks(strata, evidence),
        _unkeyed(strata) if guard_input.sticky else None,
    ]
    return tuple(caution for caution in found if caution is not None)


def void_excused_failures(verdicts: Sequence[Finding], guard: Sequence[GuardFinding]) -> tuple[Finding, ...]:
    """The verdicts with nobody blamed for what the guard found."""
    cause = next((caution.verdict for caution in guard if caution.excuses), None)
    return tuple(verdicts) if cause is None else tuple(_voided(v, cause) for v in verdicts)


def _voided(verdict: Finding, cause: Finding) -> Finding:
    if verdict.verdict is not Verdict.FAIL:
        return verdict
    return Finding(
        verdict.check,
        Verdict.VOID,
        f"{verdict.reason}; nobody is blamed while {cause.reason}",
        verdict.n,
        verdict.estimate,
        verdict.interval,
        verdict.evidence,
        verdict.bound,
    )


def _saturated_proxy(lag: float) -> GuardFinding | None:
    if lag < SATURATED:
        return None
    said = f"the proxy is saturated: a worker lags by {duration(lag)}; the limit is {duration(SATURATED)}"
    return GuardFinding(Finding(PROXY, Verdict.VOID, said, 0, lag), True)


def _failing_champion(challenger: RecentOutcomes, champion: RecentOutcomes) -> GuardFinding | None:
    """Gross failure of the champion at the time of the challenger's latest outcomes, or its own if there are none."""
    ticks = challenger.ticks or champion.ticks
    if not ticks:
        return None
    latest, _ = champion.last(SICK_OF, ticks[-1][0] - _SAME_TIME)
    bad = sum(latest)
    if len(latest) < SICK_OF or bad < _FAILING_SHARE * SICK_OF:
        return None
    said = f"the champion is sick: {bad} of its last {SICK_OF} requests failed"
    return GuardFinding(Finding(CHAMPION, Verdict.VOID, said, SICK_OF, bad / SICK_OF), True)


def is_failing(champion: RecentOutcomes, now: float) -> bool:
    """Whether what is counted now is left out: an outage says nothing of the challenger, whoever has it too.

    Known from the ticks before, so that it has nothing to do with the sides of the requests that it is asked for.
    """
    latest, _ = champion.last(SICK_OF, now - _SAME_TIME)
    return len(latest) == SICK_OF and sum(latest) >= _FAILING_SHARE * SICK_OF


def _warming_up(challenger: str) -> GuardFinding:
    said = (
        f"warming up: {challenger} or the champion has only just begun, or come back after an outage of both"
    )
    return GuardFinding(Finding(WARMING_UP, Verdict.VOID, said), False)


def _sample_ratio(strata: Sequence[Stratum]) -> GuardFinding | None:
    """Two-sided; the product over strata of the e-values of their own shares (statistics 1.3)."""
    pairs = [(s.share, s.challenger.unkeyed, s.champion.unkeyed) for s in strata if s.compares]
    evident = sum(log_e_shares((ours, rest), (share, 1 - share)) for share, ours, rest in pairs)
    if evident < bound(_RATIO_ALPHA):
        return None
    here, n = sum(ours for _, ours, _ in pairs), sum(ours + rest for _, ours, rest in pairs)
    expected = sum(share * (ours + rest) for share, ours, rest in pairs) / n
    said = (
        f"the sample ratio is wrong: {percent(here / n)} of {n} unkeyed requests came to the challenger, "
        f"where its weight is {percent(expected)}; requests are lost or misdirected"
    )
    found = Finding(RATIO, Verdict.VOID, said, here, here / n, None, evident, bound(_RATIO_ALPHA))
    return GuardFinding(found, here / n > expected)


def _fallbacks(strata: Sequence[Stratum], evidence: Evidence) -> list[GuardFinding]:
    out = []
    names = (evidence.challenger, evidence.champion)
    for name, cell in zip(names, side_totals(strata), strict=True):
        if cell.requests >= _MIN_REQUESTS and cell.fell_back > _MAX_FALLBACK_SHARE * cell.requests:
            said = (
                f"{percent(cell.fell_back / cell.requests)} of {name}'s {cell.requests} requests were answered "
                f"by another backend; the limit is {percent(_MAX_FALLBACK_SHARE)}"
            )
            share = cell.fell_back / cell.requests
            out.append(GuardFinding(Finding(FALLBACKS, Verdict.VOID, said, cell.requests, share), False))
    return out


def _unkeyed(strata: Sequence[Stratum]) -> GuardFinding | None:
    sides = side_totals(strata)
    n, x = sum(cell.requests for cell in sides), sum(cell.unkeyed for cell in sides)
    if n < _MIN_REQUESTS or x <= _MAX_UNKEYED_SHARE * n:
        return None
    said = f"{percent(x / n)} of {n} requests had no sticky key; the limit is {percent(_MAX_UNKEYED_SHARE)}"
    return GuardFinding(Finding(UNKEYED, Verdict.VOID, said, n, x / n), False)
