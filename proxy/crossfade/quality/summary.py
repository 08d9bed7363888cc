"""From the table of a comparison to what a report says of it.

Rule: all intervals hold at all looks together with 95 %, so a report may be read as often as one likes. They take pairs to be
independent; `keys` says of how many customers the pairs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final

from crossfade.quality.comparison_summary import (
    ComparisonSummary,
    Confusion,
    Decisions,
    DistanceSummary,
    Durations,
    FieldSummary,
    KeySummary,
    LatencySummary,
    Moment,
    SegmentSummary,
    Subject,
    WorstSummary,
)
from crossfade.quality.kept_names import REST
from crossfade.quality.pair_sums import Estimate, PairSums, excess_of, share_of
from crossfade.quality.score_summary import scores_of
from crossfade.quality.table import MOST_KEYS, ComparisonTable
from crossfade.stats.counts import KEY_BITS
from crossfade.stats.distances import Distances
from crossfade.stats.histogram import GAMMA, Histogram, upper_edge
from crossfade.stats.segments import flagged

ALPHA: Final = 0.05
MOST_LABELS: Final = 20
MOST_VALUES: Final = 100  # of a source of segments
MOST_FIELDS: Final = 50
MOST_MOMENTS: Final = 40
OTHER: Final = "other"
_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
_BINS: Final = (8, 40)  # of a histogram of durations: fewest and most


def summary(table: ComparisonTable, of: Subject) -> ComparisonSummary:
    sums = table.sums
    by_decision = sums.decided > 0
    limit = of.changed_limit if by_decision else of.distance_limit
    segment_limit = (limit or 0.0) if of.segment_limit is None else of.segment_limit
    return ComparisonSummary(
        route=of.route,
        champion=of.champion,
        challenger=of.challenger,
        since=of.since,
        until=of.until,
        first_pair=table.first_at,
        last_pair=table.last_at,
        pairs=sums.n,
        noise_pairs=sums.asked,
        rows=table.rows,
        rows_changed=table.rows_changed,
        copy_errors=table.copy_errors,
        keys=KeySummary(table.keyed, distinct_keys(table.keys)),
        measure="decision" if by_decision else "distance",
        limit=limit,
        segment_limit=segment_limit,
        threshold=of.threshold,
        decisions=_decisions(table),
        distance=_distance(table),
        scores=scores_of(table, ALPHA),
        latency=LatencySummary(_durations(table.live), _durations(table.second), _durations(table.copies)),
        segments=_segments(table, of.sources, segment_limit, by_decision),
        fields=_fields(table),
        over_time=_moments(table, by_decision),
        worst=_worst(table, of.sources),
        dropped={OTHER if reason == REST else reason: n for reason, n in table.dropped.items()},
    )


def distinct_keys(lowest: Sequence[int]) -> int:
    """From the lowest hashes of all keys: exact if there are few, else by how densely they lie (k-th minimum value)."""
    if len(lowest) < MOST_KEYS:
        return len(lowest)
    return round((len(lowest) - 1) * 2.0**KEY_BITS / max(lowest[-1], 1))


def _decisions(table: ComparisonTable) -> Decisions:
    sums = table.sums
    n = sums.decided
    agreement, chance = share_of(n - sums.changed, n, ALPHA), _chance_agreement(table)
    return Decisions(
        pairs=n,
        changed=sums.changed / n if n else None,
        noise=sums.noise / sums.twice if sums.twice else None,
        excess=sums.changed_excess(ALPHA),
        agreement=agreement,
        kappa=_kappa(agreement, chance),
        chance_agreement=chance,
        raised=sums.raised,
        lowered=sums.lowered,
        missing=sums.missing,
        confusion=_confusion(table),
    )


def _chance_agreement(table: ComparisonTable) -> float | None:
    """Pairs in which the champion decided; labels that are counted together agree as little as they can."""
    rows = {label: row for label, row in table.confusion.items() if label}
    n = sum(sum(row.values()) for row in rows.values())
    columns: dict[str, int] = {}
    for row in rows.values():
        for label, count in row.items():
            columns[label] = columns.get(label, 0) + count
    if not n:
        return None
    own = [label for label in rows if label != REST]
    return sum(sum(rows[label].values()) * columns.get(label, 0) for label in own) / (n * n)


def _kappa(agreement: Estimate | None, chance: float | None) -> Estimate | None:
    """(agreement − chance)/(1 − chance) (Cohen 1960); the interval takes the chance as known."""
    if agreement is None or chance is None or chance >= 1:
        return None
    low, high = agreement.interval
    return Estimate(
        (agreement.estimate - chance) / (1 - chance),
        ((low - chance) / (1 - chance), (high - chance) / (1 - chance)),
    )


def _confusion(table: ComparisonTable) -> Confusion:
    """Of the most frequent labels; the others are the last row and column."""
    totals: dict[str, int] = {}
    for label, row in table.confusion.items():
        for other, n in row.items():
            totals[label] = totals.get(label, 0) + n
            totals[other] = totals.get(other, 0) + n
    often = sorted((label for label in totals if label != REST), key=lambda label: (-totals[label], label))
    labels = sorted(often[:MOST_LABELS], key=lambda label: (not label, label))
    if len(often) > MOST_LABELS or REST in totals:
        labels.append(REST)
    place = {label: i for i, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for label, row in table.confusion.items():
        for other, n in row.items():
            counts[place.get(label, -1)][place.get(other, -1)] += n
    return Confusion([OTHER if label == REST else label for label in labels], counts)


def _distance(table: ComparisonTable) -> DistanceSummary:
    sums = table.sums
    found = Distances(table.levels, (sums.chance or 1.0) * sums.n, sums.asked)
    return DistanceSummary(sums.mean_distance, sums.mean_noise, excess_of(found, ALPHA))


def _durations(found: Histogram) -> Durations:
    if not found.count:
        return Durations(0, {}, [])
    quantiles = found.quantiles(_QUANTILES)
    low, high = min(found.buckets), max(found.buckets)
    bins_wanted = min(max(round(2 * found.count**0.4), _BINS[0]), _BINS[1])
    wide = (high - low) // bins_wanted + 1
    counts: dict[int, int] = {}
    for bucket, n in found.buckets.items():
        counts[(bucket - low) // wide] = counts.get((bucket - low) // wide, 0) + n
    bins = [
        (upper_edge(low + i * wide) / GAMMA, upper_edge(low + (i + 1) * wide) / GAMMA, n)
        for i, n in sorted(counts.items())
    ]
    return Durations(
        found.count, {f"p{100 * q:g}": s for q, s in zip(_QUANTILES, quantiles, strict=True)}, bins
    )


def _segments(
    table: ComparisonTable, sources: Sequence[str], limit: float, by_decision: bool
) -> list[SegmentSummary]:
    """The ones with most pairs first, in which order they do not depend on what is tested."""
    named: list[tuple[str, str, PairSums]] = []
    for place, values in sorted(table.segments.items()):
        by = sources[place] if place < len(sources) else f"segment {place + 1}"
        named += [(by, value, sums) for value, sums in _most_frequent(values)]
    named.sort(key=lambda each: (-each[2].n, each[0], each[1]))
    logs = [
        sums.log_e_changed(limit) if by_decision else sums.log_e_distance(limit, ALPHA)
        for _, _, sums in named
    ]
    weighted = [log_e - log(len(logs)) for log_e in logs]  # all segments alike: this is one moment
    out = []
    for (by, value, sums), is_flagged in zip(named, flagged(weighted, ALPHA), strict=True):
        excess = sums.changed_excess(ALPHA) if by_decision else sums.distance_excess(ALPHA)
        out.append(
            SegmentSummary(
                by=by,
                value=value,
                pairs=sums.n,
                changed=sums.changed / sums.decided if sums.decided else None,
                distance=sums.mean_distance,
                excess=None if excess is None else excess.estimate,
                interval=None if excess is None else excess.interval,
                flagged=is_flagged,
            )
        )
    return out


def _most_frequent(values: dict[str, PairSums]) -> list[tuple[str, PairSums]]:
    own = sorted((value for value in values if value != REST), key=lambda value: (-values[value].n, value))
    out = [(value, values[value]) for value in own[:MOST_VALUES]]
    others = [*own[MOST_VALUES:], *([REST] if REST in values else [])]
    if others:
        rest = PairSums()
        for value in others:
            rest.merge(values[value])
        out.append((OTHER, rest))
    return out


def _fields(table: ComparisonTable) -> list[FieldSummary]:
    """Those first that differ most beyond the champion's own differences."""
    n, asked = table.sums.n, table.sums.asked
    out = [
        FieldSummary(path, differs / n, noise / asked if asked else None)
        for path, (differs, noise) in table.fields.items()
        if path != REST
    ]
    out.sort(key=lambda field: ((field.noise or 0.0) - field.differs, field.path))
    return out[:MOST_FIELDS]


def _moments(table: ComparisonTable, by_decision: bool) -> list[Moment]:
    places = sorted(table.slices)
    out: list[Moment] = []
    so_far = PairSums()
    wide = -(-len(places) // MOST_MOMENTS) if places else 1
    for i in range(0, len(places), wide):
        span = PairSums()
        for place in places[i : i + wide]:
            span.merge(table.slices[place])
        so_far.merge(span)
        excess = so_far.changed_excess(ALPHA) if by_decision else so_far.distance_excess(ALPHA)
        out.append(
            Moment(
                at=float((places[min(i + wide, len(places)) - 1] + 1) << table.doublings),
                pairs=span.n,
                changed=span.changed / span.decided if span.decided else None,
                distance=span.mean_distance,
                excess=None if excess is None else excess.estimate,
                interval=None if excess is None else excess.interval,
            )
        )
    return out


def _worst(table: ComparisonTable, sources: Sequence[str]) -> list[WorstSummary]:
    return [
        WorstSummary(
            request_id=pair.request_id,
            at=pair.at,
            distance=1 - pair.closeness,
            champion=pair.champion,
            challenger=pair.challenger,
            champion_decision=pair.champion_decision,
            challenger_decision=pair.challenger_decision,
            segments={
                (sources[i] if i < len(sources) else f"segment {i + 1}"): value
                for i, value in enumerate(pair.segments)
            },
        )
        for pair in table.worst
    ]
