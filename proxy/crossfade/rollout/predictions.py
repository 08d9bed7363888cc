"""Checks of what the challenger says: its scores, and decisions that it changes.

Rule: a new model *should* score differently, so "different" fails nobody: only a distance beyond the limit does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from crossfade.rollout.evidence import MIN_FOR_QUANTILE, Evidence, Stratum
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.rollout.verdict_rule import (
    CheckContext,
    Share,
    TestResult,
    Wording,
    incomparable,
    newcombe_interval,
    verdict,
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

_SHOWN_ALPHA = 0.01  # of what is said beside a verdict and decides nothing
_KS_95 = 1.358  # Kolmogorov's limit at 95 %, for display


def score_divergence_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: at no cut is the share of scores up to it more than `max` from the champion's."""
    strata = evidence.comparable(context.step)
    binned = _bins_of(strata)
    if not binned or evidence.levels is None:
        return _no_scores(check, evidence, context, strata)
    limit, below = check.limit, evidence.levels.below
    here, rest = _sum_bins(binned)
    n, rest_n, apart = sum(here), sum(rest), ks_distance(here, rest)
    logs = distance_logs(binned, below, limit)
    found = TestResult(min(n, rest_n), log_mean_exp(logs), max(*logs, 0.0) / max(n, 1), apart <= limit)
    said = (
        f"{n} scores are {apart:.3g} from the champion's {rest_n} (Kolmogorov-Smirnov); "
        f"the limit is {limit:.3g}{_comparison_note(binned)}"
    )
    half = _KS_95 * sqrt(1 / max(n, 1) + 1 / max(rest_n, 1))
    return verdict(
        check, context, found, Wording(said, n, apart, (max(apart - half, 0.0), min(apart + half, 1.0)))
    )


def score_divergence_ratio(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: no decile of the champion's scores, and no tail, is more than `max_ratio` times likelier or rarer."""
    strata = evidence.comparable(context.step)
    binned = _bins_of(strata)
    if not binned:
        return _no_scores(check, evidence, context, strata)
    limit = check.limit or 1.0
    here, rest = _sum_bins(binned)
    n, rest_n = sum(here), sum(rest)
    most = max((a, i) for i, a in enumerate(_share_factors(here, rest)))
    evident = log_e_band(binned, limit)
    found = TestResult(min(n, rest_n), evident, max(evident, 0.0) / max(n, 1), most[0] <= limit)
    said = (
        f"of {n} scores, bin {most[1] + 1} of {len(here)} has a share {most[0]:.3g} times off the champion's; "
        f"allowed is {limit:.3g} times{_comparison_note(binned)}"
    )
    return verdict(check, context, found, Wording(said, n, most[0], None))


def _no_scores(check: Check, evidence: Evidence, context: CheckContext, strata: Sequence[Stratum]) -> Finding:
    if not strata:
        return incomparable(check, evidence, context)
    known = f"{min(evidence.predicted.count, MIN_FOR_QUANTILE)} of {MIN_FOR_QUANTILE} scores of the champion known"
    return Finding(check.title, Verdict.UNDECIDED, f"nothing to compare yet: {known}")


def _bins_of(strata: Sequence[Stratum]) -> list[SplitBins]:
    return [SplitBins(s.share, s.bins.here, s.bins.rest) for s in strata if s.bins is not None]


def _sum_bins(binned: Sequence[SplitBins]) -> tuple[list[int], list[int]]:
    here, rest = (
        [sum(column) for column in zip(*sides, strict=True)]
        for sides in zip(*(b[1:] for b in binned), strict=True)
    )
    return here, rest


def _share_factors(here: Sequence[int], rest: Sequence[int]) -> list[float]:
    """How many times likelier or rarer each bin is, half a score added to each."""
    n, m, half = sum(here), sum(rest), len(here) / 2
    shares = (((x + 0.5) / (n + half), (y + 0.5) / (m + half)) for x, y in zip(here, rest, strict=True))
    return [max(p / q, q / p) for p, q in shares]


def _comparison_note(binned: Sequence[SplitBins]) -> str:
    """What is known beyond the question, and decides nothing."""
    index = f"; PSI {stability_index(*_sum_bins(binned)):.2g}"
    differ = log_e_differ(binned) >= bound(_SHOWN_ALPHA)
    return index + (", so the models do predict differently" if differ else "")


def disagreement_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the challenger decides otherwise at most `max` oftener than the champion, asked twice, does.

    On the pairs of this step or, where nothing is mirrored in it, of the last before it that has any.
    """
    pairs, limit = Pairs(), check.limit
    paired = [s for s in evidence.strata if s.step <= context.step and s.challenger.pairs.n]
    for stratum in (s for s in paired if s.step == paired[-1].step):
        pairs.merge(stratum.challenger.pairs)
    if not pairs.n:
        return Finding(
            check.title, Verdict.UNDECIDED, f"no pairs of answers yet; {context.min_requests} are needed"
        )
    changed, noise = Share(pairs.changed, pairs.n), Share(pairs.noise, pairs.twice)
    beyond = changed.value - noise.value
    said = f"{percent(changed.value)} of {pairs.n} decisions changed{_direction_note(pairs)}"
    if pairs.twice:
        said += f", {percent(noise.value)} of {pairs.twice} when the champion was asked twice"
    else:
        said += " (the champion's own noise is not measured, and without it nothing fails: see `noise`)"
    found = TestResult(pairs.n, log_e_excess(pairs, limit), gain_excess(pairs, limit), beyond <= limit)
    said += f"; allowed is {percent(limit)} more"
    return verdict(check, context, found, Wording(said, pairs.n, beyond, newcombe_interval(changed, noise)))


def _direction_note(pairs: Pairs) -> str:
    if log_e_direction(pairs) < bound(_SHOWN_ALPHA):
        return ""
    return ", mostly to yes" if pairs.raised > pairs.lowered else ", mostly to no"
