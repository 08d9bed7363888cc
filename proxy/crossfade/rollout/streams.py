"""Checks of streamed answers: time to the first token, gaps, tokens a second, lengths, and streams that break.

Rule: each is a test of a share of streams: those beyond a limit, of which a quantile says how many may be.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.rollout.evidence import (
    Evidence,
    event_totals,
    marked_counts,
    side_totals,
    spent_marks,
    split_counts,
)
from crossfade.rollout.faults import where
from crossfade.rollout.gates import comparison_gates
from crossfade.rollout.increases import Kind, increase_or_before
from crossfade.rollout.keyed_evidence import with_keys_increase
from crossfade.rollout.late_part import late_words
from crossfade.rollout.outcomes import limit_result, quantile_of
from crossfade.rollout.plan import Check
from crossfade.rollout.strata import Stratum
from crossfade.rollout.stream_events import MIN_STREAMS
from crossfade.rollout.verdict import Finding, Verdict, duration, percent
from crossfade.rollout.verdict_rule import CheckContext, Share, TestResult, Wording, decide, incomparable
from crossfade.stats.histogram import Histogram
from crossfade.stats.restarts import log_e_worse_restarted
from crossfade.stats.sequential import gain_worse, log_e_worse, wilson
from crossfade.stats.streams import FIRST_TOKEN, STREAM_BROKEN, TOKEN_GAP, Streams

_BROKEN = Kind(STREAM_BROKEN, "broke off behind the first token", lambda cell: {})


def stream_limit(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at most 1 − q of the challenger's streams are above `max`, or at most q below `min`."""
    strata, q = evidence.of_step(context.step), check.quantile or 0.0
    ours, _ = event_totals(strata, check.event)
    if not ours.n:
        return Finding(check.title, Verdict.UNDECIDED, "no streamed answers that have this value yet")
    allowed = q if check.is_least else 1 - q
    here = Share(ours.all, ours.n)
    side = "below" if check.is_least else "above"
    result = limit_result(strata, check.event, here, allowed, context, f"are {side} the limit")
    value, interval = quantile_of(_values(strata, check), q)
    text = (
        f"{check.subject} is {_shown(check, value)} over {ours.n} streams {where(context.step, context.steps)}; the limit is "
        f"{_shown(check, check.limit)}, and {percent(here.value)} are {side} it"
    )
    return decide(check, context, result, Wording(text, ours.n, value, interval, True))


def stream_ratio(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: a stream of the challenger is beyond the ratio of the champion's quantile at most as often as one of the champion is
    beyond the quantile.
    """
    strata = evidence.comparable(context.step)
    if not strata:
        return incomparable(check, evidence, context)
    here, rest = event_totals(strata, check.event)
    if not here.n or not rest.n:
        known = min(evidence.streamed.values(check.metric).count, MIN_STREAMS)
        reason = f"nothing to compare yet: the champion has {known} of {MIN_STREAMS} streams that are needed"
        return Finding(check.title, Verdict.UNDECIDED, reason)
    q = check.quantile or 0.0
    ours, interval = quantile_of(_values(strata, check), q)
    theirs, _ = quantile_of(_values(strata, check, False), q)
    ratio = ours / theirs if theirs else 1.0
    counts, marks = split_counts(strata, check.event), marked_counts(strata, check.event)
    log_e = log_e_worse_restarted(counts, 1.0, marks, spent_marks(strata))
    result = TestResult(
        min(here.n, rest.n),
        with_keys_increase(log_e, strata, check.event, 0.0, context.alpha),
        gain_worse(strata[-1].share, Share(here.first, here.n).value, Share(rest.first, rest.n).value, 1.0),
        ratio >= check.limit if check.is_least else ratio <= check.limit,
        gates=lambda: comparison_gates(strata, check.event, 0.0, context.alpha),
        late=lambda: _late(strata, check),
    )
    text = (
        f"{check.subject} is {_shown(check, ours)} over {here.n} streams {where(strata[-1].step, context.steps)} against the "
        f"champion's {_shown(check, theirs)} over {rest.n}, {ratio:.3g} times; allowed is "
        f"{'at least' if check.is_least else 'at most'} {check.limit:.3g} times"
    )
    between = (interval[0] / theirs, interval[1] / theirs) if interval and theirs else None
    return decide(check, context, result, Wording(text, here.n, ratio, between))


def stream_broken_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at most `max` of the challenger's streams end behind their first token and before their end."""
    strata = evidence.of_step(context.step)
    ours, _ = event_totals(strata, STREAM_BROKEN)
    here = Share(ours.all, ours.n)
    result = limit_result(strata, STREAM_BROKEN, here, check.limit, context, _BROKEN.verb)
    text = (
        f"{here.x} of {here.n} streams ({percent(here.value)}) {_BROKEN.verb} {where(context.step, context.steps)}; the limit "
        f"is {percent(check.limit)}"
    )
    return decide(check, context, result, Wording(text, here.n, here.value, wilson(here.x, here.n)))


def stream_broken_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at most `max_increase` more of the challenger's streams than of the champion's break."""
    return increase_or_before(check, evidence, context, _BROKEN)


def _late(strata: Sequence[Stratum], check: Check) -> str:
    counts = split_counts(strata, check.event)
    log_e = log_e_worse_restarted(counts, 1.0, marked_counts(strata, check.event), spent_marks(strata))
    verb = f"are beyond {check.limit:.3g} times the champion's {check.subject} so far"
    return late_words(strata, check.event, log_e, lambda some: log_e_worse(some, 1.0), verb)


def _values(strata: Sequence[Stratum], check: Check, challenger: bool = True) -> Histogram:
    streams = side_totals(strata)[0 if challenger else 1].streams or Streams()
    return streams.values(check.metric)


def _shown(check: Check, value: float) -> str:
    return duration(value) if check.metric in (FIRST_TOKEN, TOKEN_GAP) else f"{value:.3g}"
