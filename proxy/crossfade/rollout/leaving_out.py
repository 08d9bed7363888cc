"""Counts without an endpoint: after its ejection what came from it counts neither for nor against the model (rollout.ejection).

Of a stratum the endpoint's requests, errors and slow answers are taken away from its side. The other side's events and requests are
scaled down by the same part, so that the share of the traffic, which the tests know, stays as it is. (To scale a count is at
most as bad for the level as to draw the same part at random: wealth is convex in counts.) What the endpoint had at a mark, in a block or
for a key is not known: marks are given up, as in `merging`, and blocks and keys are counted from now on. Rejections, predictions, scores and KPIs are not counted by endpoint
and stay.

What is in flight to the endpoint ends later, and is left out when it comes (`other_endpoints`, `less`).
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from crossfade.rollout.instances import Side, cell_of, kept_part
from crossfade.rollout.panel import KeySums
from crossfade.rollout.strata import EventCount, Stratum
from crossfade.stats.blocks import Blocks
from crossfade.stats.counts import ERROR, REJECTED, REQUESTS, UNREADABLE, Cell
from crossfade.stats.histogram import Histogram, bucket_of

_NOT_BY_ENDPOINT = (REJECTED, UNREADABLE)
_BELOW_EDGE = 0.999  # limits are upper edges of buckets


def leave_out_of(stratum: Stratum, endpoint: str, side: Side, limits: dict[str, float]) -> None:
    cell = cell_of(stratum, side)
    kept = kept_part(cell, [endpoint])
    for kind, events in stratum.events.items():
        if kind in _NOT_BY_ENDPOINT:
            continue
        ours, others = events.challenger, events.champion
        if side == "champion":
            ours, others = others, ours
        _set(ours, *less(ours, cell, kind, [endpoint]))
        _set(others, round(others.first * kept), round(others.all * kept), round(others.n * kept))
    stratum.spent += len(stratum.marks)
    stratum.marks, stratum.latest = [], []
    stratum.blocks = {kind: Blocks() for kind in stratum.blocks}
    stratum.keys, stratum.unkeyed = KeySums(), KeySums()
    remaining = other_endpoints(cell, [endpoint], limits)
    if side == "challenger":
        stratum.challenger = remaining
    else:
        stratum.champion = remaining


def _set(count: EventCount, first: int, every: int, n: int) -> None:
    count.first, count.all, count.n = first, every, n


def less(count: EventCount, cell: Cell, kind: str, endpoints: Collection[str]) -> tuple[int, int, int]:
    """(first, all, n) of the cell without these endpoints; of first events the same part is taken away as of all."""
    left_out = [cell.by_endpoint[name] for name in endpoints if name in cell.by_endpoint]
    if not left_out or kind in _NOT_BY_ENDPOINT:
        return count.first, count.all, count.n
    every = max(count.all - sum(counts.get(kind, 0) for counts in left_out), 0)
    first = round(count.first * every / count.all) if count.all else 0
    return first, every, round(count.n * kept_part(cell, endpoints))


def other_endpoints(cell: Cell, endpoints: Collection[str], limits: dict[str, float]) -> Cell:
    """A copy without the requests, errors and durations of these endpoints; `limits`: seconds by kind."""
    if not endpoints:
        return cell
    out = replace(cell, by_endpoint=dict(cell.by_endpoint))
    for endpoint in endpoints:
        counts = out.by_endpoint.pop(endpoint, None)
        if counts is None:
            continue
        errors = max(out.errors - counts.get(ERROR, 0), 0)
        kept = errors / out.errors if out.errors else 1.0
        out.faults = {kind: left for kind, n in out.faults.items() if (left := round(n * kept))}
        out.fell_back = round(out.fell_back * kept)  # mostly after an error
        out.errors, out.requests = errors, max(out.requests - counts.get(REQUESTS, 0), 0)
        out.duration = durations_without(out.duration, counts, limits)
    return out


def durations_without(durations: Histogram, counts: dict[str, int], limits: dict[str, float]) -> Histogram:
    above = [(bucket_of(limit * _BELOW_EDGE), counts.get(kind, 0)) for kind, limit in limits.items()]
    return durations.without(counts.get(REQUESTS, 0), above)
