"""What is counted of mirrored copies beside their pairs: slow answers of twice-asked requests, and copies that fail beside live traffic.

Rule: for `shadow_latency` an answer is slow if it took longer than a limit. The limits are fixed before the answers that they are
applied to: for the champion's second answer the quantile of its second answers so far, for the copy `max_ratio` times that.
Both answers are asked for behind the answer to the client, so they meet the same conditions. A pair tells something if exactly
one of the two is slow, and while the challenger is no slower that one is the copy's with probability 1/2 at most (McNemar).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from crossfade.rollout.first_events import FirstEvents
from crossfade.rollout.limits import Limit, limit_of
from crossfade.stats.blocks import BLOCK, Blocks
from crossfade.stats.counts import ERROR, SHADOW, Cell
from crossfade.stats.histogram import Histogram
from crossfade.stats.paired_latency import is_slow

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check

SHADOW_LATENCY = "shadow_latency"
_PAIR = "pair"  # kind of event: the first pair of a key in a step
_COPY_ERROR = "copy_error"  # kind of event: the first copy of a key in a step that failed
_LEAST, _MOST = 50, 500  # second answers of the champion before a quantile of them is used
_BEYOND = 5  # answers beyond the quantile that are needed


class SlowCopies(msgspec.Struct):
    """Of `n` twice-asked requests, in how many only the copy was slow (`here`), and in how many only the second answer (`rest`)."""

    here: int = 0
    rest: int = 0
    n: int = 0
    blocks: Blocks = msgspec.field(default_factory=Blocks)

    def add(self, when: int, slow: bool, slow_second: bool) -> None:
        here, rest = slow and not slow_second, slow_second and not slow
        self.here += here
        self.rest += rest
        self.n += 1
        self.blocks.add(when // BLOCK, (here - rest) / 2, 1, here + rest)


class Copies(msgspec.Struct, omit_defaults=True):
    """`n`, `errors`: copies to a challenger that has live traffic too, and those that failed; `first`: failures that tests count, the first
    of each key. `slow`: by the title of a check.
    """

    n: int = 0
    errors: int = 0
    first: int = 0
    slow: dict[str, SlowCopies] = msgspec.field(default_factory=dict)

    def with_durations(self, cell: Cell, again: SecondAnswers) -> Cell:
        """Count the durations of pairs against the limits of the moment. Returns the cell without them."""
        latency = cell.pairs.latency
        if not latency.both:
            return cell
        for title, limit in again.limits.items():
            found = self.slow.setdefault(title, SlowCopies())
            for when, copy, second in latency.both:
                found.add(when, is_slow(copy, limit.challenger), is_slow(second, limit.champion))
        again.durations.merge(histogram_of(latency.seconds))
        return replace(cell, pairs=replace(cell.pairs, latency=latency.sides()))

    def count_beside_live(self, cell: Cell, firsts: dict[str, FirstEvents] | None) -> None:
        """Without live traffic the copies are the challenger's side of the stratum."""
        if cell.role != SHADOW:
            return
        events = cell.events.get(ERROR)
        first = cell.errors - (events.keyed if events else 0)
        if events is not None and firsts is not None:
            first += firsts.setdefault(_COPY_ERROR, FirstEvents()).count(events.keys)
        self.n += cell.requests - cell.abandoned
        self.errors += cell.errors
        self.first += first

    def without(self, titles: Iterable[str]) -> Copies:
        gone = frozenset(titles)
        return replace(self, slow={title: found for title, found in self.slow.items() if title not in gone})


def sum_of_copies(one: Copies, other: Copies) -> Copies:
    """`other` is the later one: the open block is its own."""
    slow = {}
    for title in {**one.slow, **other.slow}:
        a, b = one.slow.get(title, SlowCopies()), other.slow.get(title, SlowCopies())
        closed = replace(a.blocks.sums)
        closed.merge(b.blocks.closed)
        slow[title] = SlowCopies(
            a.here + b.here, a.rest + b.rest, a.n + b.n, replace(b.blocks, closed=closed)
        )
    return Copies(one.n + other.n, one.errors + other.errors, one.first + other.first, slow)


class SecondAnswers(msgspec.Struct, omit_defaults=True):
    """`durations`: of all second answers of the champion. `limits`: by the title of a check, fixed from these when there were
    `limits_from`, and again when there are twice as many.
    """

    durations: Histogram = msgspec.field(default_factory=Histogram)
    limits: dict[str, Limit] = msgspec.field(default_factory=dict)
    limits_from: int = 0

    def fix(self, checks: Iterable[Check]) -> None:
        known = self.durations.count
        due = known >= max(1, 2 * self.limits_from)
        limits = {}
        for check in checks:
            if check.metric == SHADOW_LATENCY and known >= needed_for(check.quantile or 0.0):
                kept = None if due else self.limits.get(check.title)
                limits[check.title] = kept or limit_of(self.durations, check)
        if due:
            self.limits_from = known
        self.limits = limits

    def without(self, titles: Iterable[str]) -> SecondAnswers:
        gone = frozenset(titles)
        return replace(
            self, limits={title: limit for title, limit in self.limits.items() if title not in gone}
        )


def with_first_pairs(cell: Cell, firsts: dict[str, FirstEvents] | None) -> Cell:
    """Add the first pair of each key in the step to the pairs without a key; later pairs of a key often repeat it.

    Durations are counted of all pairs.
    """
    if cell.keyed_pairs and firsts is not None:
        seen = firsts.setdefault(_PAIR, FirstEvents())
        for pair in cell.keyed_pairs:
            if pair.key is not None and seen.count([pair.key]):
                cell.pairs.add(*pair[1:])
            elif pair.measured is not None:
                cell.pairs.latency.add(pair.measured.durations)
    return cell


def needed_for(quantile: float) -> int:
    """How many second answers of the champion fix a limit."""
    return min(max(ceil(_BEYOND / (1 - quantile) - 1e-9) if quantile < 1 else _MOST, _LEAST), _MOST)


def histogram_of(buckets: Mapping[int, int]) -> Histogram:
    """Without the sum of the durations."""
    return Histogram(dict(buckets), sum(buckets.values()))
