"""Checks of outcomes: error rate, latency and number of requests. The rule is in `checks`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from crossfade.rollout.evidence import (
    MIN_FOR_QUANTILE,
    Evidence,
    event_totals,
    latest_counts,
    marked_counts,
    requests_not_abandoned,
    side_totals,
    spent_marks,
    split_counts,
)
from crossfade.rollout.faults import tally, where
from crossfade.rollout.gates import Gate, comparison_gates, limit_gates
from crossfade.rollout.keyed_evidence import keyed_splits, with_keys_above, with_keys_increase
from crossfade.rollout.late_part import late_words, late_words_above, loudest_part
from crossfade.rollout.past import SAME_LOOK, is_alone, limit_text, most_before
from crossfade.rollout.plan import Check
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import Finding, Verdict, duration, percent
from crossfade.rollout.verdict_rule import (
    CheckContext,
    Share,
    TestResult,
    Wording,
    decide,
    incomparable,
    share,
)
from crossfade.stats.counts import ERROR
from crossfade.stats.histogram import Histogram
from crossfade.stats.keyed import log_e_keys_below, log_e_keys_within
from crossfade.stats.latest import log_e_worse_latest
from crossfade.stats.restarts import log_e_above_restarted, log_e_worse_restarted
from crossfade.stats.sequential import (
    LARGEST_SHARE,
    SplitCounts,
    bound,
    gain_above,
    gain_worse,
    log_e_above_all,
    log_e_below,
    log_e_better,
    log_e_worse,
    wilson,
)

# Each endpoint has had more requests since the promote, so slower answers are no proof against the model.
_MORE_LOAD = Gate(
    -inf,
    "its endpoints have had more load since the promote, and a holdback would tell that from a slower model",
    True,
)
_SMALLEST_SHARE = 1e-6  # used for a limit of 0, which cannot be tested


def error_rate_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the challenger's error rate is at most `max`; one-sample, statistics 1.1."""
    limit = check.limit
    strata = evidence.of_step(context.step)
    challenger, _ = side_totals(strata)
    n, x = requests_not_abandoned(challenger), challenger.errors
    result = limit_result(strata, ERROR, Share(x, n), limit, context, "failed")
    kinds = tally(challenger.faults)
    text = f"{x} of {n} requests ({percent(share(x, n))}) failed {where(context.step, context.steps)}"
    text += f": {kinds}" if kinds else ""
    text += f"; the limit is {percent(limit)}"
    if result.within and result.evidence >= bound(context.alpha):
        late = _late_part(strata, ERROR, limit)
        text = f"{percent(late.value)} of the latest {late.n} requests failed; the limit is {percent(limit)} (all in all: {text})"
    return decide(check, context, result, Wording(text, n, share(x, n), wilson(x, n), True))


def latency_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at most 1 − q of the challenger's answers take longer than `max`; one-sample.

    A request that has waited for longer counts even before it is answered.
    """
    limit, q = check.limit, check.quantile or 0.0
    strata = evidence.of_step(context.step)
    ours, _ = event_totals(strata, check.title)
    times = side_totals(strata)[0].duration
    slow = f"took longer than {duration(limit)}"
    result = limit_result(strata, check.title, Share(ours.all, ours.n), 1 - q, context, slow)
    estimate, interval = quantile_of(times, q)
    waiting = ours.n - times.count
    text = (
        f"{check.subject} is {duration(estimate)} over {times.count} answers "
        f"{where(context.step, context.steps)}; the limit is {duration(limit)}"
    )
    if not times.count:
        text = f"{waiting} requests have waited longer than {duration(limit)} without an answer"
    elif waiting > 0:
        text += f"; {waiting} more have waited longer than that without an answer"
    if result.evidence >= bound(context.alpha) and estimate <= limit:
        late = _late_part(strata, check.title, 1 - q)
        latest = f"{percent(late.value)} of the latest {late.n} requests {slow}"
        text = f"{latest}, of which {percent(1 - q)} may (all in all: {text})"
    return decide(check, context, result, Wording(text, ours.n, estimate, interval, True))


def _late_part(strata: Sequence[Stratum], kind: str, limit: float) -> Share:
    """The challenger's events in the part of the step that a FAIL comes from, where its average keeps the limit."""
    counts, marks = split_counts(strata, kind), marked_counts(strata, kind)
    return loudest_part(counts, marks, lambda some: log_e_above_all(some, testable(limit))).here


def testable(limit: float) -> float:
    return min(max(limit, _SMALLEST_SHARE), LARGEST_SHARE)


def limit_result(
    strata: Sequence[Stratum], kind: str, here: Share, limit: float, context: CheckContext, verb: str
) -> TestResult:
    """The result for an absolute limit of the challenger's share of events. `verb`: as `failed`."""
    p0 = testable(limit)
    counts, marks = split_counts(strata, kind), marked_counts(strata, kind)
    log_e = log_e_above_restarted(counts, p0, marks, spent_marks(strata))
    log_e = with_keys_above(log_e, strata, kind, p0, context.alpha)
    return TestResult(
        here.n,
        log_e,
        gain_above(here.value, p0),
        here.value <= limit,
        proof=_proof_below(strata, kind, here, p0, context),
        gates=lambda: limit_gates(strata, kind, p0, context.alpha),
        late=lambda: late_words_above(strata, kind, p0, verb),
    )


def _proof_below(
    strata: Sequence[Stratum], kind: str, here: Share, p0: float, context: CheckContext
) -> float | None:
    """Where requests have sticky keys only a test with the key as the unit proves that the limit is kept."""
    if not context.prove:
        return None
    splits = keyed_splits(strata, kind)
    return log_e_keys_below(splits, p0, context.alpha) if splits else log_e_below(here.x, here.n, p0)


def latency_ratio(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the challenger exceeds `max_ratio` times a quantile of the champion at most as often as the champion exceeds it."""
    if is_alone(evidence, context.step) and {check.title} <= evidence.limits.keys() & evidence.before.keys():
        return _latency_since_before(check, evidence, context)
    strata = evidence.comparable(context.step)
    if not strata:
        return incomparable(check, evidence, context)
    here, rest = event_totals(strata, check.title)
    if not here.n or not rest.n:
        known = min(evidence.baseline.count, MIN_FOR_QUANTILE)
        reason = (
            f"nothing to compare yet: the champion has {known} of {MIN_FOR_QUANTILE} answers that are needed"
        )
        return Finding(check.title, Verdict.UNDECIDED, reason)
    limit, q = check.limit, check.quantile or 0.0
    challenger, champion = (side.duration for side in side_totals(strata))
    ours, interval = quantile_of(challenger, q)
    theirs, _ = quantile_of(champion, q)
    counts = split_counts(strata, check.title)
    log_e = log_e_worse_restarted(counts, 1.0, marked_counts(strata, check.title), spent_marks(strata))
    result = TestResult(
        min(here.n, rest.n),
        with_keys_increase(log_e, strata, check.title, 0.0, context.alpha),
        gain_worse(strata[-1].share, share(here.first, here.n), share(rest.first, rest.n), 1.0),
        bool(challenger.count) and ours <= limit * theirs,
        proof=_proof_better(strata, counts, check.title, context),
        gates=lambda: comparison_gates(strata, check.title, 0.0, context.alpha),
        late=lambda: _late_words_worse(strata, check),
    )
    if not challenger.count or not champion.count:
        text = f"{here.all} of {here.n} requests exceed the limit, and {rest.all} of the champion's {rest.n}"
        return decide(check, context, result, Wording(text, here.n, None, None))
    text = (
        f"{check.subject} is {duration(ours)} over {challenger.count} answers "
        f"{where(strata[-1].step, context.steps)} against the champion's {duration(theirs)}, {ours / theirs:.3g} times; "
        f"allowed is {limit:.3g} times"
    )
    if result.evidence >= bound(context.alpha) and result.within:
        part = loudest_part(counts, marked_counts(strata, check.title), lambda some: log_e_worse(some, 1.0))
        text = (
            f"{percent(part.here.value)} of the latest {part.here.n} requests exceed {limit:.3g} times the champion's "
            f"{check.subject} so far, and {percent(part.rest.value)} of its own exceed that (all in all: {text})"
        )
    between = (interval[0] / theirs, interval[1] / theirs) if interval else None
    return decide(check, context, result, Wording(text, here.n, ours / theirs, between, True))


def _late_words_worse(strata: Sequence[Stratum], check: Check) -> str:
    counts, latest = split_counts(strata, check.title), latest_counts(strata, check.title)
    log_e = log_e_worse_latest(counts, 1.0, latest)
    verb = f"exceed {check.limit:.3g} times the champion's {check.subject} so far"
    return late_words(strata, check.title, log_e, lambda some: log_e_worse(some, 1.0), verb)


def _latency_since_before(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: no more answers take longer than `max_ratio` times the champion's quantile than may by the quantile, or than took longer
    than the quantile itself before.
    """
    strata = evidence.of_step(context.step)
    limit = evidence.limits[check.title]
    counted = evidence.before[check.title]
    before = Share(counted.all, counted.n)
    allowed = max(most_before(before, 0.0), 1 - (check.quantile or 0.0))
    ours, _ = event_totals(strata, check.title)
    here = Share(ours.all, ours.n)
    counts, marks = split_counts(strata, check.title), marked_counts(strata, check.title)
    log_e = log_e_above_restarted(counts, allowed, marks, spent_marks(strata))
    log_e = with_keys_above(log_e, strata, check.title, allowed, context.alpha)
    within = here.value <= allowed
    text = (
        f"{here.x} of {here.n} requests ({percent(here.value)}) took longer than {duration(limit.challenger)} "
        f"{where(context.step, context.steps)}, which is {check.limit:.3g} times the champion's {check.subject} before; "
        f"{limit_text(allowed, before)}"
    )
    if log_e >= bound(context.alpha):
        if within:
            late = _late_part(strata, check.title, allowed)
            text = f"{percent(late.value)} of the latest {late.n} requests took longer than that (all in all: {text})"
        text += SAME_LOOK
    times = side_totals(strata)[0].duration
    ratio = quantile_of(times, check.quantile or 0.0)[0] / limit.champion if times.count else None
    slow = f"took longer than {duration(limit.challenger)}"
    more = [_MORE_LOAD] if context.step >= context.steps else []
    result = TestResult(
        here.n,
        log_e,
        gain_above(here.value, allowed),
        within,
        gates=lambda: [*limit_gates(strata, check.title, allowed, context.alpha), *more],
        late=lambda: late_words_above(strata, check.title, allowed, slow),
    )
    return decide(check, context, result, Wording(text, here.n, ratio, None, True))


def _proof_better(
    strata: Sequence[Stratum], counts: Sequence[SplitCounts], kind: str, context: CheckContext
) -> float | None:
    if not context.prove:
        return None
    splits = keyed_splits(strata, kind)
    return log_e_keys_within(splits, 0.0, context.alpha) if splits else log_e_better(counts, 1.0)


def requests_min(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """Whether the challenger has enough requests in this step. It never FAILs."""
    needed = int(check.limit)
    n = requests_not_abandoned(side_totals(evidence.of_step(context.step))[0])
    verdict = Verdict.PASS if n >= needed else Verdict.UNDECIDED
    reason = f"{n} requests in this step; {needed} are needed"
    return Finding(check.title, verdict, reason, n, float(n), eta_requests=max(needed - n, 0) or None)


def quantile_of(durations: Histogram, q: float) -> tuple[float, tuple[float, float] | None]:
    """The quantile in seconds, and the quantiles at Wilson's interval of its rank."""
    if not durations.count:
        return 0.0, None
    low, high = wilson(round(q * durations.count), durations.count)
    low_edge, value, high_edge = durations.quantiles((min(low, q), q, max(high, q)))
    return value, (low_edge, high_edge)
