"""What is kept of all pairs of a champion and a challenger, for the report: a bounded table of counts, sums and examples.

Rule: adding pairs one by one gives the same table as merging the tables of any parts, in any order. So sums are integers or
multiples of a power of two, examples are chosen by their hash or their distance and not by their turn, names by their hash,
and what is too fine for the room is made coarser by a factor of two.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Final, NamedTuple, TypeVar

import msgspec

from crossfade.quality.compared import Compared
from crossfade.quality.kept_names import REST, rank_of, to_let_go
from crossfade.quality.pair_sums import WIDTH, PairSums
from crossfade.quality.score_buckets import ScoreBuckets
from crossfade.stats.bounded import level_of, toss_of
from crossfade.stats.histogram import Histogram
from crossfade.stats.sums import add_up

MOST_LABELS: Final = 40  # decisions with counts of their own; the report shows the most frequent ones
MOST_VALUES: Final = 200  # of a source of segments
MOST_SOURCES: Final = 16
MOST_FIELDS: Final = 200
MOST_REASONS: Final = 50
MOST_POINTS: Final = 500  # pairs of scores
MOST_WORST: Final = 20
MOST_SLICES: Final = 200
MOST_KEYS: Final = 256
LONGEST_NAME: Final = 256  # characters of a label, segment, field or reason
LONGEST_SHOWN: Final = 2048  # characters of an answer, or of a request's id
_PARTS: Final = 1 << 20  # of a second
_LONGEST: Final = 1e6  # seconds
_LATEST: Final = 1 << 40  # seconds since the epoch


class Point(NamedTuple):
    """`rank`: the hash of the request's id; the lowest ones are kept."""

    rank: int
    champion: float
    challenger: float
    changed: bool


class WorstPair(NamedTuple):
    """`closeness`: 1 − the distance, so that the worst pair is the lowest one. Decisions are empty where there is none."""

    closeness: float
    request_id: str
    at: float
    champion: str
    challenger: str
    champion_decision: str
    challenger_decision: str
    segments: tuple[str, ...]


Item = TypeVar("Item", int, Point, WorstPair)


class ComparisonTable(msgspec.Struct):
    """`rows`: of all answers of the champion; of these `rows_changed`.

    `keyed`: pairs with a sticky key; `keys`: the lowest hashes of these keys, which tell how many there are. `confusion`: by the
    champion's and the challenger's decision, empty for none. `segments`: by the place of the source in `prediction.segment`, and
    the value; empty for unknown. `fields`: [pairs in which its value differs, pairs in which the champion's two answers differ].
    `levels`: pairs by level of both distances, as the tests of distances want them. `slices`: by time of the
    request, each 2^`doublings` seconds. `dropped`: pairs that could not be compared, by reason.
    """

    sums: PairSums = msgspec.field(default_factory=PairSums)
    rows: int = 0
    rows_changed: int = 0
    copy_errors: int = 0
    first_at: float | None = None
    last_at: float | None = None
    keyed: int = 0
    keys: list[int] = msgspec.field(default_factory=list)
    confusion: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    champion_scores: ScoreBuckets = msgspec.field(default_factory=ScoreBuckets)
    challenger_scores: ScoreBuckets = msgspec.field(default_factory=ScoreBuckets)
    points: list[Point] = msgspec.field(default_factory=list)
    live: Histogram = msgspec.field(default_factory=Histogram)
    copies: Histogram = msgspec.field(default_factory=Histogram)
    second: Histogram = msgspec.field(default_factory=Histogram)
    segments: dict[int, dict[str, PairSums]] = msgspec.field(default_factory=dict)
    fields: dict[str, list[int]] = msgspec.field(default_factory=dict)
    levels: dict[int, int] = msgspec.field(default_factory=dict)
    worst: list[WorstPair] = msgspec.field(default_factory=list)
    slices: dict[int, PairSums] = msgspec.field(default_factory=dict)
    doublings: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)

    def add(self, pair: Compared, chance: float) -> None:
        """`chance`: of asking the champion twice."""
        at = min(max(pair.at, 0.0), float(_LATEST))
        self.sums.add(pair, chance)
        self.rows += pair.rows
        self.rows_changed += pair.rows_changed
        self.copy_errors += pair.copy_failed
        self.first_at = at if self.first_at is None else min(self.first_at, at)
        self.last_at = at if self.last_at is None else max(self.last_at, at)
        self._add_key(pair.key)
        self._add_decisions(pair)
        self._add_scores(pair)
        self._add_durations(pair)
        self._add_levels(pair)
        for place, value in enumerate(pair.segments[:MOST_SOURCES]):
            values = self.segments.setdefault(place, {})
            values.setdefault(value[:LONGEST_NAME], PairSums()).add(pair, chance)
            _keep_sums(values, MOST_VALUES)
        self._add_fields(pair)
        self._add_worst(pair, at)
        self.slices.setdefault(int(at) >> self.doublings, PairSums()).add(pair, chance)
        self._widen(self.doublings)

    def drop(self, reason: str, n: int = 1) -> None:
        add_up(self.dropped, {reason[:LONGEST_NAME]: n})
        _keep_counts(self.dropped, MOST_REASONS)

    def merge(self, other: ComparisonTable) -> None:
        self.sums.merge(other.sums)
        self.rows += other.rows
        self.rows_changed += other.rows_changed
        self.copy_errors += other.copy_errors
        self.first_at = _one_of(min, self.first_at, other.first_at)
        self.last_at = _one_of(max, self.last_at, other.last_at)
        self.keyed += other.keyed
        self.keys = sorted({*self.keys, *other.keys})[:MOST_KEYS]
        for decision, row in other.confusion.items():
            add_up(self.confusion.setdefault(decision, {}), row)
        self._keep_labels()
        self.champion_scores.merge(other.champion_scores)
        self.challenger_scores.merge(other.challenger_scores)
        self.points = sorted([*self.points, *other.points])[:MOST_POINTS]
        self.live.merge(other.live)
        self.copies.merge(other.copies)
        self.second.merge(other.second)
        for place, values in other.segments.items():
            mine = self.segments.setdefault(place, {})
            _merge_sums(mine, values)
            _keep_sums(mine, MOST_VALUES)
        for path, counts in other.fields.items():
            _add_counts(self.fields, path, counts)
        self._keep_fields()
        add_up(self.levels, other.levels)
        self.worst = sorted([*self.worst, *other.worst])[:MOST_WORST]
        self._merge_slices(other)
        add_up(self.dropped, other.dropped)
        _keep_counts(self.dropped, MOST_REASONS)

    def _add_key(self, key: int | None) -> None:
        if key is None:
            return
        self.keyed += 1
        if (len(self.keys) < MOST_KEYS or key < self.keys[-1]) and key not in self.keys:
            _insert(self.keys, key, MOST_KEYS)

    def _add_decisions(self, pair: Compared) -> None:
        if not pair.champion_decision and not pair.challenger_decision:
            return
        row = self.confusion.setdefault(pair.champion_decision[:LONGEST_NAME], {})
        add_up(row, {pair.challenger_decision[:LONGEST_NAME]: 1})
        self._keep_labels()

    def _keep_labels(self) -> None:
        labels = set(self.confusion).union(*self.confusion.values())
        for label in to_let_go(labels, MOST_LABELS):
            gone = self.confusion.pop(label, None)
            if gone is not None:
                add_up(self.confusion.setdefault(REST, {}), gone)
            for row in self.confusion.values():
                if label in row:
                    n = row.pop(label)
                    row[REST] = row.get(REST, 0) + n

    def _add_scores(self, pair: Compared) -> None:
        here, there = pair.champion_score, pair.challenger_score
        if here is not None and isfinite(here):
            self.champion_scores.add(here)
        if there is not None and isfinite(there):
            self.challenger_scores.add(there)
        if here is None or there is None or not isfinite(here) or not isfinite(there):
            return
        _insert(self.points, Point(rank_of(pair.request_id), here, there, pair.changed), MOST_POINTS)

    def _add_durations(self, pair: Compared) -> None:
        """Of answers only: an error at once would make its side look quick."""
        self.live.add(_seconds(pair.live_seconds))
        if pair.copy_seconds is not None and not pair.copy_failed:
            self.copies.add(_seconds(pair.copy_seconds))
        if pair.second_seconds is not None:
            self.second.add(_seconds(pair.second_seconds))

    def _add_levels(self, pair: Compared) -> None:
        unit, noise = rank_of(pair.request_id), pair.noise_distance
        level = level_of(pair.distance, 0.0, 1.0, toss_of(unit, 0))
        own = 0 if noise is None else level_of(noise, 0.0, 1.0, toss_of(unit, 1))
        add_up(self.levels, {level * WIDTH + own: 1})

    def _add_fields(self, pair: Compared) -> None:
        for path in pair.fields[:MOST_FIELDS]:
            _add_counts(self.fields, path[:LONGEST_NAME], (1, 0))
        for path in pair.noise_fields[:MOST_FIELDS]:
            _add_counts(self.fields, path[:LONGEST_NAME], (0, 1))
        self._keep_fields()

    def _keep_fields(self) -> None:
        for path in to_let_go(self.fields, MOST_FIELDS):
            _add_counts(self.fields, REST, self.fields.pop(path))

    def shows(self, pair: Compared) -> bool:
        """Whether it would be one of the worst pairs. Errors are counted; they would leave no room for answers."""
        if pair.copy_failed or (pair.distance <= 0 and not pair.changed):
            return False
        if len(self.worst) < MOST_WORST:
            return True
        last = self.worst[-1]
        return (1 - pair.distance, pair.request_id[:LONGEST_SHOWN]) <= (last.closeness, last.request_id)

    def _add_worst(self, pair: Compared, at: float) -> None:
        if not self.shows(pair):
            return
        worst = WorstPair(
            1 - pair.distance,
            pair.request_id[:LONGEST_SHOWN],
            at,
            pair.champion[:LONGEST_SHOWN],
            pair.challenger[:LONGEST_SHOWN],
            pair.champion_decision[:LONGEST_NAME],
            pair.challenger_decision[:LONGEST_NAME],
            tuple(value[:LONGEST_NAME] for value in pair.segments[:MOST_SOURCES]),
        )
        _insert(self.worst, worst, MOST_WORST)

    def _merge_slices(self, other: ComparisonTable) -> None:
        self._widen(other.doublings)
        shift = self.doublings - other.doublings
        for place, sums in other.slices.items():
            self.slices.setdefault(place >> shift, PairSums()).merge(sums)
        self._widen(self.doublings)

    def _widen(self, doublings: int) -> None:
        """Make slices as wide as this, and wider until there is room for them."""
        while self.doublings < doublings or len(self.slices) > MOST_SLICES:
            slices, self.slices = self.slices, {}
            self.doublings += 1
            for place, sums in slices.items():
                self.slices.setdefault(place >> 1, PairSums()).merge(sums)


def _seconds(seconds: float) -> float:
    """A multiple of a power of two, so that sums do not depend on the order."""
    return round(min(max(seconds, 0.0), _LONGEST) * _PARTS) / _PARTS


def _insert(held: list[Item], item: Item, most: int) -> None:
    """Keep the lowest ones, in order."""
    if len(held) < most or item < held[-1]:
        insort(held, item)
        del held[most:]


def _one_of(choose: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else choose(a, b)


def _merge_sums(mine: dict[str, PairSums], more: dict[str, PairSums]) -> None:
    for name, sums in more.items():
        mine.setdefault(name, PairSums()).merge(sums)


def _keep_sums(values: dict[str, PairSums], most: int) -> None:
    for name in to_let_go(values, most):
        _merge_sums(values, {REST: values.pop(name)})


def _keep_counts(counts: dict[str, int], most: int) -> None:
    for name in to_let_go(counts, most):
        add_up(counts, {REST: counts.pop(name)})


def _add_counts(held: dict[str, list[int]], path: str, more: Iterable[int]) -> None:
    held[path] = [a + b for a, b in zip(held.get(path, (0, 0)), more, strict=True)]
