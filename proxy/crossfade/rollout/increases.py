"""Checks of events against the champion at the same time: errors, rejections, unreadable answers.

The proxy tossed the coin, so what clients do wrong falls on both sides alike: more on one side is the model's doing.
A challenger that has all of the traffic is compared with the champion's share before (rollout.past).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from crossfade.rollout.evidence import (
    Evidence,
    event_totals,
    latest_counts,
    marked_counts,
    side_totals,
    spent_marks,
    split_counts,
)
from crossfade.rollout.faults import tally, where
from crossfade.rollout.gates import comparison_gates, limit_gates
from crossfade.rollout.keyed_evidence import keyed_splits, with_keys_above, with_keys_increase
from crossfade.rollout.late_part import late_words, late_words_above, loudest_part
from crossfade.rollout.past import MIN_BEFORE, SAME_LOOK, is_alone, limit_text, most_before
from crossfade.rollout.plan import Check
from crossfade.rollout.strata import EventCount, Stratum
from crossfade.rollout.verdict import Finding, percent
from crossfade.rollout.verdict_rule import (
    CheckContext,
    Share,
    TestResult,
    Wording,
    decide,
    incomparable,
    newcombe_interval,
)
from crossfade.stats.counts import ERROR, REJECTED, UNREADABLE, Cell
from crossfade.stats.differences import gain_increase, log_e_increase, log_e_within
from crossfade.stats.keyed import log_e_keys_within
from crossfade.stats.latest import log_e_increase_latest
from crossfade.stats.restarts import log_e_above_restarted, log_e_increase_restarted
from crossfade.stats.sequential import SplitCounts, bound, gain_above, log_e_above_all, ratio_interval, wilson


class Kind(NamedTuple):
    """`kinds`: of a side's events, for the reason."""

    event: str
    verb: str
    kinds: Callable[[Cell], dict[str, int]]


_ERRORS = Kind(ERROR, "failed", lambda cell: cell.faults)
_REJECTIONS = Kind(REJECTED, "were rejected", lambda cell: cell.rejections)
_UNREADABLE = Kind(UNREADABLE, "got an answer without a prediction", lambda cell: {})


def error_rate_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the challenger's error rate is at most the champion's, at the same time, plus `max_increase`."""
    if is_alone(evidence, context.step) and _before(evidence, ERROR).n >= MIN_BEFORE:
        return _increase_since_before(check, evidence, context, _ERRORS)
    strata = evidence.comparable(context.step)
    return _increase(check, strata, context, _ERRORS) if strata else incomparable(check, evidence, context)


def rejected_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the challenger rejects at most `max_increase` more of the requests than the champion."""
    return increase_or_before(check, evidence, context, _REJECTIONS)


def unreadable_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at most `max_increase` more of the challenger's answers than of the champion's say no prediction."""
    return increase_or_before(check, evidence, context, _UNREADABLE)


def increase_or_before(check: Check, evidence: Evidence, context: CheckContext, kind: Kind) -> Finding:
    strata = evidence.comparable(context.step)
    if strata and not is_alone(evidence, context.step):
        return _increase(check, strata, context, kind)
    return _increase_since_before(check, evidence, context, kind)


def _increase(check: Check, strata: Sequence[Stratum], context: CheckContext, kind: Kind) -> Finding:
    allowed = check.limit
    ours, theirs = event_totals(strata, kind.event)
    here, rest = Share(ours.all, ours.n), Share(theirs.all, theirs.n)
    counts, marks = split_counts(strata, kind.event), marked_counts(strata, kind.event)
    log_e = log_e_increase_restarted(counts, allowed, marks, spent_marks(strata))
    log_e = with_keys_increase(log_e, strata, kind.event, allowed, context.alpha)
    p, q = here.value, rest.value
    within = p <= q + allowed
    challenger, champion = side_totals(strata)
    text = (
        f"{_failed(here, kind, challenger, where(strata[-1].step, context.steps))}, against "
        f"{percent(q)} of the champion's {rest.n}{_kinds(kind, champion)}; allowed is {percent(allowed)} more"
    )
    if log_e >= bound(context.alpha):
        if within:
            part = loudest_part(counts, marks, lambda some: log_e_increase(some, allowed))
            text = (
                _late_text(part.here, part.rest, strata[-1].share, kind, allowed) + f" (all in all: {text})"
            )
        low, _ = ratio_interval(counts, context.alpha)
        if low > 1:
            text += f"; at least {low:.3g} times as likely"
    proof = _proof(strata, counts, kind.event, check.limit, context)
    gain = gain_increase(strata[-1].share, p, q, allowed)
    result = TestResult(
        min(here.n, rest.n),
        log_e,
        gain,
        within,
        proof=proof,
        gates=lambda: comparison_gates(strata, kind.event, allowed, context.alpha),
        late=lambda: _late_words(strata, counts, kind, allowed),
    )
    return decide(check, context, result, Wording(text, here.n, p - q, newcombe_interval(here, rest), True))


def _proof(
    strata: Sequence[Stratum], counts: Sequence[SplitCounts], kind: str, margin: float, context: CheckContext
) -> float | None:
    """Where requests have sticky keys only a test with the key as the unit proves that the limit is kept."""
    if not context.prove:
        return None
    splits = keyed_splits(strata, kind)
    return log_e_keys_within(splits, margin, context.alpha) if splits else log_e_within(counts, margin)


def _late_words(strata: Sequence[Stratum], counts: Sequence[SplitCounts], kind: Kind, allowed: float) -> str:
    log_e = log_e_increase_latest(counts, allowed, latest_counts(strata, kind.event))
    return late_words(strata, kind.event, log_e, lambda some: log_e_increase(some, allowed), kind.verb)


def _failed(here: Share, kind: Kind, cell: Cell, place: str) -> str:
    """As `14 of 300 requests (4.67%) failed in step 2 of 4: 9 × HTTP 500, 5 × first-byte timeout`."""
    kinds = tally(kind.kinds(cell))
    text = f"{here.x} of {here.n} requests ({percent(here.value)}) {kind.verb} {place}"
    return f"{text}: {kinds}" if kinds else text


def _kinds(kind: Kind, cell: Cell) -> str:
    kinds = tally(kind.kinds(cell))
    return f" ({kinds})" if kinds else ""


def _late_text(here: Share, rest: Share, share: float, kind: Kind, allowed: float) -> str:
    """The numbers of a FAIL whose whole step keeps the limit on average."""
    if here.value > rest.value + allowed:
        return (
            f"{percent(here.value)} of the latest {here.n} requests {kind.verb}, against {percent(rest.value)} of the "
            f"champion's {rest.n}; allowed is {percent(allowed)} more"
        )
    # The sides have had other numbers of requests than their weights say, so shares of them mislead.
    return (
        f"{here.x} of the {here.x + rest.x} requests that {kind.verb} were the challenger's, which has {percent(share)} "
        f"of the traffic"
    )


def _before(evidence: Evidence, event: str) -> Share:
    """Of the champion, alone and beside the challenger."""
    alone, shared = evidence.before.get(event, EventCount()), [s for s in evidence.strata if s.compares]
    _, beside = event_totals(shared, event)
    return Share(alone.all + beside.all, alone.n + beside.n)


def _increase_since_before(check: Check, evidence: Evidence, context: CheckContext, kind: Kind) -> Finding:
    """H0: the share is at most the upper limit of the champion's share before, plus `max_increase`."""
    strata, before = evidence.of_step(context.step), _before(evidence, kind.event)
    allowed = most_before(before, check.limit)
    ours, _ = event_totals(strata, kind.event)
    here = Share(ours.all, ours.n)
    counts, marks = split_counts(strata, kind.event), marked_counts(strata, kind.event)
    log_e = log_e_above_restarted(counts, allowed, marks, spent_marks(strata))
    log_e = with_keys_above(log_e, strata, kind.event, allowed, context.alpha)
    failed = _failed(here, kind, side_totals(strata)[0], where(context.step, context.steps))
    text = f"{failed}; {limit_text(allowed, before)}"
    within = here.value <= allowed
    if log_e >= bound(context.alpha):
        if within:
            part = loudest_part(counts, marks, lambda some: log_e_above_all(some, allowed)).here
            text = f"{percent(part.value)} of the latest {part.n} requests {kind.verb} (all in all: {text})"
        text += SAME_LOOK
    result = TestResult(
        here.n,
        log_e,
        gain_above(here.value, allowed),
        within,
        gates=lambda: limit_gates(strata, kind.event, allowed, context.alpha),
        late=lambda: late_words_above(strata, kind.event, allowed, kind.verb),
    )
    return decide(check, context, result, Wording(text, here.n, here.value, wilson(here.x, here.n), True))
