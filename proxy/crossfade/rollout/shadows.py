"""Checks of mirrored copies themselves: are they slower than the champion's second answers, and do they fail?

Rule: as for pairs, those of this step count or, if nothing is mirrored in it, of the latest step before it that has any.
"""

from __future__ import annotations

from crossfade.rollout.copies import Copies, SlowCopies, histogram_of, needed_for, sum_of_copies
from crossfade.rollout.evidence import Evidence, requests_not_abandoned, side_totals
from crossfade.rollout.faults import odds, tally, where
from crossfade.rollout.gates import Gate, worse_than_all
from crossfade.rollout.outcomes import limit_result, testable
from crossfade.rollout.paired import no_pairs, paired_strata, pairs_of
from crossfade.rollout.plan import Check
from crossfade.rollout.strata import EventCount, EventCounts, Stratum
from crossfade.rollout.verdict import Finding, Verdict, duration, percent
from crossfade.rollout.verdict_rule import CheckContext, Share, TestResult, Wording, decide
from crossfade.stats.blocks import BLOCK, log_e_blocks, of_difference
from crossfade.stats.counts import ERROR
from crossfade.stats.sequential import (
    SplitCounts,
    gain_above,
    gain_worse,
    log_e_above,
    log_e_worse,
    wilson,
)

_COIN = 0.5  # either answer of a pair is as likely to be the slow one


def shadow_latency_ratio(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: a copy takes longer than `max_ratio` times the quantile of the champion's second answers at most as often as such an
    answer takes longer than the quantile itself.
    """
    strata = paired_strata(evidence, context.step)
    latency = pairs_of(evidence, context.step).latency
    if not strata:
        return no_pairs(check, context)
    found = Copies()
    for stratum in strata:
        found = sum_of_copies(found, stratum.copies)
    slow = found.slow.get(check.title, SlowCopies())
    q = check.quantile or 0.0
    if not slow.n:
        return _no_limit(check, evidence, q)
    ours, theirs = (histogram_of(side).quantile(q) or 0.0 for side in (latency.copies, latency.seconds))
    ratio = ours / theirs if theirs else 1.0
    sums = slow.blocks.sums

    def gates() -> list[Gate]:
        log_e = log_e_blocks([of_difference(sums, _COIN, 0.0)], context.alpha)
        so_far = f"{odds(log_e)} so far" if log_e > 0 else "no evidence"
        return [Gate(log_e, f"they came in bursts: with {BLOCK} seconds as one unit, {so_far}")]

    result = TestResult(
        slow.n,
        log_e_worse([SplitCounts(_COIN, slow.here, slow.rest)], 1.0),
        gain_worse(_COIN, slow.here / slow.n, slow.rest / slow.n, 1.0),
        ratio <= check.limit,
        gates=gates,
    )
    text = (
        f"{check.subject} is {duration(ours)} over the copies of {slow.n} requests that asked the champion twice, against its second "
        f"answers' {duration(theirs)}, {ratio:.3g} times; allowed is {check.limit:.3g} times; in {slow.here} pairs only the "
        f"copy was slow, in {slow.rest} only the second answer"
    )
    return decide(check, context, result, Wording(text, slow.n, ratio, None, True))


def _no_limit(check: Check, evidence: Evidence, quantile: float) -> Finding:
    known, needed = evidence.again.durations.count, needed_for(quantile)
    if check.title in evidence.again.limits:
        reason = (
            f"the limit is fixed by {known} second answers of the champion; pairs from now on are compared"
        )
    else:
        reason = f"nothing to compare yet: the champion gave {known} of {needed} second answers that are needed (see `noise`)"
    return Finding(check.title, Verdict.UNDECIDED, reason)


def shadow_errors_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at most `max` of the mirrored copies fail at the challenger."""
    mirrored = [s for s in evidence.strata if s.step <= context.step and _copies_of(s).n]
    strata = [s for s in mirrored if s.step == mirrored[-1].step]
    if not strata:
        needed = context.min_requests
        return Finding(
            check.title, Verdict.UNDECIDED, f"no copies have been answered yet; {needed} are needed"
        )
    beside = [s for s in strata if s.share]
    if beside:
        counts = [_copies_of(s) for s in beside]
        here = Share(sum(c.errors for c in counts), sum(c.n for c in counts))
        result = _beside_live(beside, here, sum(c.first for c in counts), check.limit)
        kinds = ""
    else:
        challenger, _ = side_totals(strata)
        here = Share(challenger.errors, requests_not_abandoned(challenger))
        result = limit_result(strata, ERROR, here, check.limit, context, "failed")
        kinds = tally(challenger.faults)
    text = (
        f"{here.x} of {here.n} copies ({percent(here.value)}) failed {where(strata[-1].step, context.steps)}"
    )
    text += f"{': ' if kinds else ''}{kinds}; the limit is {percent(check.limit)}"
    return decide(check, context, result, Wording(text, here.n, here.value, wilson(here.x, here.n), True))


def _copies_of(stratum: Stratum) -> Copies:
    """Where the challenger has no live traffic, its side of the stratum is of copies."""
    if stratum.share:
        return stratum.copies
    return Copies(requests_not_abandoned(stratum.challenger), stratum.challenger.errors)


def _beside_live(strata: list[Stratum], here: Share, first: int, limit: float) -> TestResult:
    """Copies to a challenger that has live traffic too."""
    p0 = testable(limit)

    def gates() -> list[Gate]:
        sides = [
            EventCounts(EventCount(s.copies.first, s.copies.errors, s.copies.n), s.events[ERROR].champion)
            for s in strata
            if ERROR in s.events and s.events[ERROR].champion.n
        ]
        return [worse_than_all(sides)] if sides else []

    return TestResult(
        here.n,
        log_e_above(first, here.n, p0),
        gain_above(here.value, p0),
        here.value <= limit,
        gates=gates,
    )
