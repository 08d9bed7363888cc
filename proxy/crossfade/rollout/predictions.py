"""Checks of predictions: the distribution of the challenger's scores, and decisions that it changes.

Rule: a new model *should* score differently, so a difference alone never FAILs; a distance beyond the limit does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from crossfade.rollout.evidence import MIN_FOR_QUANTILE, Evidence, side_totals
from crossfade.rollout.lost_answers import lost_pairs, lost_scores
from crossfade.rollout.paired import WITHOUT_NOISE, no_pairs, pairs_of
from crossfade.rollout.plan import Check
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.rollout.verdict_rule import (
    CheckContext,
    Share,
    TestResult,
    Wording,
    decide,
    incomparable,
    newcombe_interval,
)
from crossfade.stats.divergence import (
    SplitBins,
    distance_logs,
    ks_distance,
    log_e_band,
    log_e_differ,
    stability_index,
)
from crossfade.stats.pairs import Pairs, gain_excess, log_e_direction, log_e_excess
from crossfade.stats.sequential import bound, log_mean_exp

_SHOWN_ALPHA = 0.01  # of notes in a reason, which decide nothing
_KS_95 = 1.358  # Kolmogorov-Smirnov quantile at 95 %, at one look, for display


def score_divergence_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at each cut, the share of scores up to it differs from the champion's by at most `max`."""
    strata = evidence.comparable(context.step)
    binned, lost = _bins_of(strata), lost_scores(strata)
    if not binned or evidence.levels is None:
        return _no_scores(check, evidence, context, strata, lost)
    limit, below = check.limit, evidence.levels.below
    here, rest = _sum_bins(binned)
    n, rest_n, distance = sum(here), sum(rest), ks_distance(here, rest)
    logs = distance_logs(binned, below, limit)
    result = TestResult(
        min(n, rest_n), log_mean_exp(logs), max(*logs, 0.0) / max(n, 1), distance <= limit, lost
    )
    text = (
        f"Kolmogorov-Smirnov distance {distance:.3g} between {n} scores and the champion's {rest_n}; "
        f"the limit is {limit:.3g}{_comparison_note(binned)}"
    )
    half = _KS_95 * sqrt(1 / max(n, 1) + 1 / max(rest_n, 1))
    return decide(
        check,
        context,
        result,
        Wording(text, n, distance, (max(distance - half, 0.0), min(distance + half, 1.0))),
    )


def score_divergence_ratio(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: each decile of the champion's scores, and each tail, is at most `max_ratio` times as likely or as rare."""
    strata = evidence.comparable(context.step)
    binned, lost = _bins_of(strata), lost_scores(strata)
    if not binned:
        return _no_scores(check, evidence, context, strata, lost)
    limit = check.limit or 1.0
    here, rest = _sum_bins(binned)
    n, rest_n = sum(here), sum(rest)
    most = max((a, i) for i, a in enumerate(_share_factors(here, rest)))
    log_e = log_e_band(binned, limit)
    result = TestResult(min(n, rest_n), log_e, max(log_e, 0.0) / max(n, 1), most[0] <= limit, lost)
    text = (
        f"of {n} scores, the share of bin {most[1] + 1} of {len(here)} differs from the champion's "
        f"by a factor of {most[0]:.3g}; "
        f"the limit is {limit:.3g}{_comparison_note(binned)}"
    )
    return decide(check, context, result, Wording(text, n, most[0], None))


def _no_scores(
    check: Check, evidence: Evidence, context: CheckContext, strata: Sequence[Stratum], lost: str
) -> Finding:
    if not strata:
        return incomparable(check, evidence, context)
    if lost:
        return Finding(check.title, Verdict.VOID, lost, side_totals(strata)[0].answers)
    known = evidence.predicted.count
    reason = f"nothing to compare yet: the champion has {known} of {MIN_FOR_QUANTILE} scores that are needed"
    if evidence.levels is not None:
        reason = f"the bins are fixed by {known} scores of the champion; scores from now on are compared"
    return Finding(check.title, Verdict.UNDECIDED, reason)


def _bins_of(strata: Sequence[Stratum]) -> list[SplitBins]:
    return [SplitBins(s.share, s.bins.here, s.bins.rest) for s in strata if s.bins is not None]


def _sum_bins(binned: Sequence[SplitBins]) -> tuple[list[int], list[int]]:
    here, rest = (
        [sum(column) for column in zip(*sides, strict=True)]
        for sides in zip(*(b[1:] for b in binned), strict=True)
    )
    return here, rest


def _share_factors(here: Sequence[int], rest: Sequence[int]) -> list[float]:
    """For each bin the ratio of shares, or its inverse if that is larger; half a score is added to each bin."""
    n, m, half = sum(here), sum(rest), len(here) / 2
    shares = (((x + 0.5) / (n + half), (y + 0.5) / (m + half)) for x, y in zip(here, rest, strict=True))
    return [max(p / q, q / p) for p, q in shares]


def _comparison_note(binned: Sequence[SplitBins]) -> str:
    """A note for people that decides nothing: the PSI, and whether the distributions differ significantly."""
    index = f"; PSI {stability_index(*_sum_bins(binned)):.2g}"
    differ = log_e_differ(binned) >= bound(_SHOWN_ALPHA)
    return index + (", the distributions differ significantly" if differ else "")


def disagreement_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the share of decisions that the challenger changes is at most the champion's noise plus `max`.

    The pairs are those of this step or, if nothing is mirrored in it, of the latest step before it that has any.
    """
    pairs, limit = pairs_of(evidence, context.step), check.limit
    lost = lost_pairs(pairs)
    if not pairs.n and not lost:
        return no_pairs(check, context)
    changed, noise = Share(pairs.changed, pairs.n), Share(pairs.noise, pairs.twice)
    beyond = changed.value - noise.value
    text = f"{percent(changed.value)} of {pairs.n} decisions changed{_direction_note(pairs)}"
    if pairs.missing:
        text += f" ({pairs.missing} because the challenger gave none)"
    if pairs.twice:
        text += f", {percent(noise.value)} of {pairs.twice} when the champion was asked twice"
    else:
        text += WITHOUT_NOISE
    result = TestResult(pairs.n, log_e_excess(pairs, limit), gain_excess(pairs, limit), beyond <= limit, lost)
    text += f"; allowed is {percent(limit)} more"
    return decide(check, context, result, Wording(text, pairs.n, beyond, newcombe_interval(changed, noise)))


def _direction_note(pairs: Pairs) -> str:
    if log_e_direction(pairs) < bound(_SHOWN_ALPHA):
        return ""
    return ", mostly to yes" if pairs.raised > pairs.lowered else ", mostly to no"
