"""The number of strata of a step has a bound: old strata of the same share are merged.

A route whose other rollouts or whose splits change often opens a stratum with each ledger version. A decision keeps them all, so
without a bound its record would grow without limit.

Why merging is valid (shared-share argument of statistics 1.1): within a stratum each request goes to the challenger with the
known probability `share`, and the log wealth of each alternative is linear in the stratum's counts. So two strata of one share have
the same log wealth apart as together, and the test from the start does not change by a merge. Tests that are not linear (the
sample ratio, KPIs, coverage of feedback) add up the counts of one share before they look at them (`by_share`).

Tests that begin at a mark (stats.restarts) need the order of the strata. Neighbours keep their order, so their marks stay, with the
counts of the strata before added. Where others are merged, the marks in them are given up: the wealth of their slots is set to 0,
and the slots stay used (`spent`). To throw wealth away is always valid.

More than SHARES different shares in a step are not compared: from then on, requests under another share count for absolute limits
only. That is settled before the first of these requests comes, so it does not depend on the side of any request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from crossfade.rollout.copies import sum_of_copies
from crossfade.rollout.panel import KeySums
from crossfade.rollout.strata import EventCounts, Mark, Stratum
from crossfade.stats.blocks import Blocks
from crossfade.stats.counts import Cell
from crossfade.stats.scores import ScoreBins, add_bins
from crossfade.stats.sequential import SplitCounts

MOST = 16  # strata of a step before old ones are merged
NEWEST = 3  # strata that are not merged: requests in flight still end under their versions
SHARES = 8  # different shares in a step that are compared
NOT_COMPARED = 1.0  # the share of a stratum in which the champion's requests are not compared

Part = TypeVar("Part")


def share_to_open(strata: Sequence[Stratum], share: float) -> float:
    """The share for another stratum of the step with these strata."""
    known = {s.share for s in strata if s.compares}
    return share if not 0 < share < 1 or share in known or len(known) < SHARES else NOT_COMPARED


def merge_old(strata: Sequence[Stratum], since: Collection[int]) -> list[Stratum]:
    """The strata of one step, with old ones merged if there are many. No stratum is changed: others may hold it.

    `since`: ledger versions from which a check counts. What is before such a version is not merged with what follows it.
    """
    if len(strata) < MOST:
        return list(strata)
    old, newest = list(strata[:-NEWEST]), strata[-NEWEST:]
    joined: list[Stratum] = []
    for stratum in old:
        if joined and _key(joined[-1], since) == _key(stratum, since):
            joined[-1] = _sum(joined[-1], stratum)
        else:
            joined.append(stratum)
    if len(joined) + NEWEST >= MOST:
        joined = _merge_apart(joined, since)
    return [*joined, *newest]


def _key(stratum: Stratum, since: Collection[int]) -> tuple[float, int]:
    return stratum.share, sum(stratum.version >= first for first in since)


def _merge_apart(strata: Sequence[Stratum], since: Collection[int]) -> list[Stratum]:
    """Strata of one share need not be neighbours; all marks are given up."""
    found: dict[tuple[float, int], Stratum] = {}
    for stratum in strata:
        plain = replace(stratum, marks=[], spent=stratum.spent + len(stratum.marks))
        key = _key(stratum, since)
        found[key] = _sum(found[key], plain) if key in found else plain
    return list(found.values())


def _sum(one: Stratum, other: Stratum) -> Stratum:
    """`other` is the later one; requests in flight count under its version."""
    kinds = {**one.events, **other.events}
    return Stratum(
        other.version,
        other.step,
        other.share,
        _sum_of_cells(one.champion, other.champion),
        _sum_of_cells(one.challenger, other.challenger),
        {kind: _sum_of_events(one.events.get(kind), other.events.get(kind)) for kind in kinds},
        [*one.marks, *(_behind(one, mark) for mark in other.marks)],
        _sum_of_bins(one.bins, other.bins),
        one.spent + other.spent,
        _sum_of_blocks(one.blocks, other.blocks),
        _sum_of_keys(one.keys, other.keys),
        _sum_of_keys(one.unkeyed, other.unkeyed),
        copies=sum_of_copies(one.copies, other.copies),
    )


def _sum_of_cells(one: Cell, other: Cell) -> Cell:
    out = Cell.of(other.key)
    out.merge(one)
    out.merge(other)
    return out


def _sum_of_events(one: EventCounts | None, other: EventCounts | None) -> EventCounts:
    out = EventCounts()
    for events in (one, other):
        if events is not None:
            for mine, more in ((out.challenger, events.challenger), (out.champion, events.champion)):
                mine.add(more.first, more.all, more.n)
    return out


def _sum_of_blocks(one: dict[str, Blocks], other: dict[str, Blocks]) -> dict[str, Blocks]:
    """The open block is that of the later stratum."""
    out = {}
    for kind in {**one, **other}:
        before, after = one.get(kind, Blocks()), other.get(kind, Blocks())
        closed = replace(before.sums)
        closed.merge(after.closed)
        out[kind] = replace(after, closed=closed)
    return out


def _sum_of_keys(one: KeySums, other: KeySums) -> KeySums:
    out = KeySums()
    out.merge(one)
    out.merge(other)
    return out


def _behind(before: Stratum, mark: Mark) -> Mark:
    """The mark of a stratum, in the sum of this stratum and the one before."""
    counts = {
        kind: _plus(found, before.events[kind].split_counts(before.share)) if kind in before.events else found
        for kind, found in mark.counts.items()
    }
    blocks = {}
    for kind, found in mark.blocks.items():
        blocks[kind] = replace(found)
        if kind in before.blocks:
            blocks[kind].merge(before.blocks[kind].sums)
    return Mark(mark.n + before.challenger.requests - before.challenger.abandoned, counts, blocks)


def _plus(one: SplitCounts, other: SplitCounts) -> SplitCounts:
    return SplitCounts(one.share, *(a + b for a, b in zip(one[1:], other[1:], strict=True)))


def _sum_of_bins(one: ScoreBins | None, other: ScoreBins | None) -> ScoreBins | None:
    if one is None or other is None:
        return one or other
    return ScoreBins(add_bins(one.here, other.here), add_bins(one.rest, other.rest))


def by_share(
    parts: Iterable[tuple[float, Part]], add: Callable[[Part, Part], Part]
) -> list[tuple[float, Part]]:
    """One part for each share. What is not linear in counts is computed from these, so that a merge changes nothing."""
    out: dict[float, Part] = {}
    for share, part in parts:
        out[share] = add(out[share], part) if share in out else part
    return list(out.items())
