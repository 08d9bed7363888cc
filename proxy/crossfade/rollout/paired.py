"""Checks of mirrored pairs beyond changed decisions: how far answers are apart, and in which segment decisions change.

Rule: pairs are those of this step or, if nothing is mirrored in it, of the latest step before it that has any. The champion's own
noise is taken off; without `noise` on the mirror it is not known, and the check cannot FAIL.
"""

from __future__ import annotations

from typing import NamedTuple

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.lost_answers import lost_pairs
from crossfade.rollout.plan import Check
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.rollout.verdict_rule import CheckContext, Share, TestResult, Wording, decide, newcombe_interval
from crossfade.stats.distances import gain_distance, log_e_distance, mixed_interval
from crossfade.stats.pairs import Pairs, gain_excess, log_e_excess
from crossfade.stats.segments import SegmentPairs, flagged, in_order, log_e_segments, weighted

_SHOWN_ALPHA = 0.05  # of the interval in a finding, which decides nothing
_POOLED = 20  # twice-asked pairs of all segments that are added to a segment's own to know its noise
_NAMED = 3  # segments in a reason
WITHOUT_NOISE = " (the champion's own noise is not measured, so this check cannot FAIL: see `noise`)"


def paired_strata(evidence: Evidence, step: int) -> list[Stratum]:
    found = [s for s in evidence.strata if s.step <= step and has_pairs(s.challenger.pairs)]
    return [s for s in found if s.step == found[-1].step]


def pairs_of(evidence: Evidence, step: int) -> Pairs:
    pairs = Pairs()
    for stratum in paired_strata(evidence, step):
        pairs.merge(stratum.challenger.pairs)
    return pairs


def has_pairs(pairs: Pairs) -> bool:
    return bool(pairs.n or pairs.lost or pairs.champion_lost or pairs.distances.counts)


def no_pairs(check: Check, context: CheckContext) -> Finding:
    return Finding(
        check.title, Verdict.UNDECIDED, f"no pairs of answers yet; {context.min_requests} are needed"
    )


def distance_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: the mean distance of the challenger's answers is at most the champion's own plus `max`."""
    pairs = pairs_of(evidence, context.step)
    found, lost = pairs.distances, lost_pairs(pairs)
    n = found.n
    if not n and not lost:
        return no_pairs(check, context)
    mean, noise = found.mean, found.noise
    beyond = mean - noise
    text = f"the answers of {n} pairs are {mean:.3g} apart on average"
    text += (
        f", {noise:.3g} over {found.twice} that asked the champion twice" if found.twice else WITHOUT_NOISE
    )
    text += f"; allowed is {check.limit:.3g} more"
    result = TestResult(
        n,
        log_e_distance(found, check.limit),
        gain_distance(found, check.limit),
        beyond <= check.limit,
        lost,
    )
    return decide(check, context, result, Wording(text, n, beyond, mixed_interval(found, _SHOWN_ALPHA), True))


class _Segment(NamedTuple):
    """`evidence`: with its weight. `beyond`: the share of changed decisions beyond noise."""

    name: str
    source: str
    pairs: SegmentPairs
    evidence: float
    beyond: float

    def __str__(self) -> str:
        return f"{self.name} ({percent(self.beyond)} beyond noise, {self.pairs.n} pairs)"


def segment_divergence_max(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0: in each segment the share of decisions that the challenger changes is at most the champion's noise plus `max`.

    A FAIL is a segment that e-BH flags, so α is that of a FAIL where no segment differs. A PASS asks each segment with
    `min_requests` pairs, and the smaller ones of a source together if those have so many: else few pairs would pass unseen.
    """
    pairs, limit = pairs_of(evidence, context.step), check.limit
    lost = lost_pairs(pairs)
    if not pairs.n and not lost:
        return no_pairs(check, context)
    segments = _segments(pairs, limit)
    if not segments and not lost:
        return Finding(
            check.title, Verdict.VOID, "no segments of these pairs are known: see `segment`", pairs.n
        )
    logs = [segment.evidence for segment in segments]
    known = [segment for segment in segments if segment.pairs.n >= context.min_requests]
    asked = known + _together(segments, pairs, context.min_requests)
    worst = max(asked or segments, key=lambda segment: segment.beyond, default=None)
    proven = [s for s, is_proven in zip(segments, flagged(logs, context.alpha), strict=True) if is_proven]
    if proven:
        worst = max(proven, key=lambda segment: segment.evidence)
    result = TestResult(
        pairs.n,
        log_e_segments(logs),
        gain_excess(worst.pairs, limit) * worst.pairs.n / pairs.n if worst and pairs.n else 0.0,
        all(segment.beyond <= limit for segment in asked),
        lost,
    )
    interval = None if worst is None else newcombe_interval(*_shares(worst.pairs))
    text = _words(segments, known, proven, worst, limit) + ("" if pairs.twice else WITHOUT_NOISE)
    return decide(
        check, context, result, Wording(text, pairs.n, worst.beyond if worst else None, interval, True)
    )


def _segments(pairs: Pairs, limit: float) -> list[_Segment]:
    out = []
    for source, value, found in in_order(pairs.segments):
        name = f"{source} = {value or 'unknown'}"
        log_e = weighted(log_e_excess(found, limit), found.rank)
        out.append(_Segment(name, source, found, log_e, _beyond(found, pairs)))
    return out


def _together(segments: list[_Segment], pairs: Pairs, needed: int) -> list[_Segment]:
    """Of each source, the segments of fewer than `needed` pairs as one, if that has so many."""
    sums: dict[str, SegmentPairs] = {}
    for segment in segments:
        if segment.pairs.n < needed:
            sums.setdefault(segment.source, SegmentPairs()).merge(segment.pairs)
    return [
        _Segment(f"{source}, small segments together", source, found, 0.0, _beyond(found, pairs))
        for source, found in sums.items()
        if found.n >= needed
    ]


def _beyond(found: SegmentPairs, pairs: Pairs) -> float:
    """The share of changed decisions beyond noise, of which a segment knows little alone."""
    pooled = Share(pairs.noise, pairs.twice).value
    noise = (found.noise + _POOLED * pooled) / (found.twice + _POOLED)
    return found.changed / found.n - noise


def _shares(pairs: SegmentPairs) -> tuple[Share, Share]:
    return Share(pairs.changed, pairs.n), Share(pairs.noise, pairs.twice)


def _words(
    segments: list[_Segment],
    known: list[_Segment],
    proven: list[_Segment],
    worst: _Segment | None,
    limit: float,
) -> str:
    if worst is None:
        return "no segments are known"
    end = f"; allowed is {percent(limit)} more"
    if proven:
        ordered = sorted(proven, key=lambda segment: -segment.evidence)
        more = f" and {len(proven) - _NAMED} more" if len(proven) > _NAMED else ""
        return f"decisions change in {', '.join(map(str, ordered[:_NAMED]))}{more}{end}"
    if not known:
        return f"none of {len(segments)} segments has enough pairs; the furthest is {worst}{end}"
    return f"of {len(known)} segments with enough pairs, the furthest is {worst}{end}"
