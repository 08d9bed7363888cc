"""What is known about a challenger: counts by stratum, a stratum being one ledger version of the route.

A step has one stratum, or several where another rollout of the route moved weights meanwhile.

Rule: within a stratum the weights do not move, so each request between champion and challenger was
the toss of a coin with known bias; strata are never pooled in a comparison. A threshold for slow
answers is fixed before the counts that it is applied to are looked at (statistics 1.2). Now and then
the counts of a stratum are marked, so that what begins late can be seen from there (stats.restarts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.rollout.first_events import FirstEvents
from crossfade.stats.counts import ERROR, Cell
from crossfade.stats.histogram import LOG_GAMMA, Histogram, bucket_of, upper_edge
from crossfade.stats.restarts import is_mark_due
from crossfade.stats.scores import Levels, ScoreBins, Scores, add_bins, levels_of
from crossfade.stats.sequential import SplitCounts

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check

MIN_FOR_QUANTILE = 500  # durations of the champion before its quantile may serve as a threshold
SHADOW = "shadow"
_SCORE = "score"  # the kind of event that a first score is
_PAIR = "pair"  # and a first pair


class Side(msgspec.Struct):
    """Events of one kind on one side, `n` requests: those that count (of a key, its first in the step), and all."""

    first: int = 0
    all: int = 0
    n: int = 0

    def add(self, first: int, every: int, n: int) -> None:
        self.first += first
        self.all += every
        self.n += n


class EventCounts(msgspec.Struct):
    challenger: Side = msgspec.field(default_factory=Side)
    champion: Side = msgspec.field(default_factory=Side)

    def tosses(self, share: float) -> SplitCounts:
        return SplitCounts(
            share, self.challenger.first, self.champion.first, self.challenger.n, self.champion.n
        )


class Limit(NamedTuple):
    """Seconds."""

    challenger: float
    champion: float


class Mark(msgspec.Struct):
    """What a stratum had counted when it was marked, at `n` requests of the challenger: tosses by kind of event."""

    n: int
    tosses: dict[str, SplitCounts]


class Stratum(msgspec.Struct):
    """`share`: the challenger's part of what champion and challenger get together, 0 to 1."""

    version: int
    step: int
    share: float
    champion: Cell
    challenger: Cell
    met: dict[str, EventCounts] = msgspec.field(
        default_factory=dict
    )  # by ERROR, or the title of a latency check
    marks: list[Mark] = msgspec.field(default_factory=list)
    bins: ScoreBins | None = None

    @property
    def compares(self) -> bool:
        """Whether both sides get live traffic."""
        return 0 < self.share < 1


class Evidence(msgspec.Struct):
    """Everything counted for one attempt of a rollout.

    `baseline`: all durations known of the champion, and `limits`, fixed when it held `limits_from` of them, the
    seconds above which an answer is slow for a check. `firsts`: by step and kind of event, the keys that met one.
    `predicted`: what the champion scored until `levels`, the bins of scores, were fixed by it.
    """

    champion: str
    challenger: str
    strata: list[Stratum] = msgspec.field(default_factory=list)
    baseline: Histogram = msgspec.field(default_factory=Histogram)
    limits: dict[str, Limit] = msgspec.field(default_factory=dict)  # by the check's title
    limits_from: int = 0
    firsts: dict[int, dict[str, FirstEvents]] = msgspec.field(default_factory=dict)
    warm_until: float | None = None  # wall time; None before the challenger's first request
    predicted: Scores = msgspec.field(default_factory=Scores)
    levels: Levels | None = None

    def open(self, route: str, version: int, step: int, share: float) -> None:
        """A new stratum: counts of this ledger version belong to it from now on.

        Requests still under way from the step before count there; who met an event earlier is forgotten.
        """
        champion, challenger = (Cell(route, name, "", version) for name in (self.champion, self.challenger))
        self.strata.append(Stratum(version, step, share, champion, challenger))
        self.firsts = {s: kinds for s, kinds in self.firsts.items() if s >= step - 1}
        self.firsts.setdefault(step, {})

    def is_warming(self, cells: Iterable[Cell], now: float, warm_up: float) -> bool:
        """Whether these counts come too soon after the challenger's first request to say how it will be."""
        if self.warm_until is None:
            versions = {s.version for s in self.strata}
            if any(c.backend == self.challenger and c.ledger_version in versions for c in cells):
                self.warm_until = now + warm_up
        return self.warm_until is not None and now < self.warm_until

    def of_step(self, step: int) -> list[Stratum]:
        return [s for s in self.strata if s.step == step]

    def comparable(self, step: int) -> list[Stratum]:
        """The strata in which both sides have traffic, of this step or of the last before it that has any.

        Never of two steps together, as a key may have had its first event in each (rollout.firsts).
        """
        compared = [s for s in self.strata if s.compares and s.step <= step]
        return [s for s in compared if s.step == compared[-1].step]


def gather(evidence: Evidence, cells: Iterable[Cell], checks: Iterable[Check]) -> None:
    """Add the counts of one tick, which are those of one route; then fix the limits of those to come.

    A challenger without live traffic (a shadow) is known by the answers to its mirrored copies.
    """
    strata = {s.version: s for s in evidence.strata}
    for cell in cells:
        stratum = strata.get(cell.ledger_version)
        cell = _with_first_scores(evidence, stratum.step if stratum else None, cell)
        if stratum is not None and cell.backend == evidence.challenger:
            _add_first_pairs(evidence, stratum.step, cell)
            if (cell.role == SHADOW) == (stratum.share == 0):
                for kind in (ERROR, *evidence.limits):
                    side = stratum.met.setdefault(kind, EventCounts()).challenger
                    side.add(*_count_events(evidence, stratum.step, cell, kind))
                stratum.challenger.merge(_kept_counts(cell))
                _bin_scores(evidence.levels, stratum, cell.scores, here=True)
            else:
                stratum.challenger.pairs.merge(cell.pairs)
        elif cell.backend == evidence.champion and cell.role != SHADOW:
            evidence.baseline.merge(cell.duration)
            if stratum is not None:
                for kind in (ERROR, *evidence.limits):
                    side = stratum.met.setdefault(kind, EventCounts()).champion
                    side.add(*_count_events(evidence, stratum.step, cell, kind))
                stratum.champion.merge(_kept_counts(cell))
                _bin_scores(evidence.levels, stratum, cell.scores, here=False)
            if evidence.levels is None:
                evidence.predicted.merge(cell.scores)
    marked = Counter[int]()  # by step, as its strata have the slots together
    for stratum in evidence.strata:
        marked[stratum.step] += len(stratum.marks)
    for stratum in evidence.strata:
        marked[stratum.step] += _set_mark(stratum, marked[stratum.step])
    fix_limits(evidence, checks)
    if evidence.levels is None and evidence.predicted.count >= MIN_FOR_QUANTILE:
        levels = levels_of(evidence.predicted)
        evidence.levels = levels if levels.cuts else None  # where all scores are one, there is nothing to cut


def _bin_scores(levels: Levels | None, stratum: Stratum, scores: Scores, here: bool) -> None:
    """By levels that were fixed before these scores came."""
    if levels is None or not scores.count:
        return
    if stratum.bins is None:
        stratum.bins = ScoreBins(levels.binned(Scores()), levels.binned(Scores()))
    side = stratum.bins.here if here else stratum.bins.rest
    side[:] = add_bins(side, levels.binned(scores))


def _kept_counts(cell: Cell) -> Cell:
    """What the evidence keeps of it."""
    return replace(cell, events={}, first_byte=Histogram(), scores=Scores(), keyed_scores=[], keyed_pairs=[])


def _with_first_scores(evidence: Evidence, step: int | None, cell: Cell) -> Cell:
    """With the scores without a key, each key's first in the step; all of them until the levels are fixed.

    The cell itself stays as it is, as the champion's is one for all rollouts of the route.
    """
    if not cell.keyed_scores:
        return cell
    scores = Scores()
    scores.merge(cell.scores)
    kinds = {} if step is None else evidence.firsts.get(step, {})
    firsts = kinds.setdefault(_SCORE, FirstEvents()) if evidence.levels else None
    for key, bucket in cell.keyed_scores:
        if firsts is None or firsts.count([key]):
            scores.add_to(bucket)
    return replace(cell, scores=scores)


def _add_first_pairs(evidence: Evidence, step: int, cell: Cell) -> None:
    """To the pairs without a key, each key's first in the step: the second of a customer may well be the first again."""
    kinds = evidence.firsts.get(step)
    if not cell.keyed_pairs or kinds is None:
        return
    firsts = kinds.setdefault(_PAIR, FirstEvents())
    for pair in cell.keyed_pairs:
        if pair.key is not None and firsts.count([pair.key]):
            cell.pairs.add(*pair[1:])


def _count_events(evidence: Evidence, step: int, cell: Cell, kind: str) -> tuple[int, int, int]:
    """Of the events of this kind those that count (all without a key, and each key's first), all, and of how many."""
    events = cell.events.get(kind)
    if kind == ERROR:
        every, n = cell.errors, requests_not_abandoned(cell)
    else:
        every, n = (events.n, events.early) if events else (0, 0)
        n += cell.duration.count
    if events is None:
        return every, every, n
    kinds = evidence.firsts.get(step)
    first = kinds.setdefault(kind, FirstEvents()).count(events.keys) if kinds is not None else 0
    return every - events.keyed + first, every, n


def fix_limits(evidence: Evidence, checks: Iterable[Check]) -> None:
    """What is slow from now on: the limit itself, or what the champion's quantile has been.

    The latter anew whenever the champion has answered twice as often as the last time, so that workers are
    seldom told another. An inaccurate one costs power, never validity, as it is fixed before what it is applied to.
    """
    known = evidence.baseline.count
    due = known >= max(MIN_FOR_QUANTILE, 2 * evidence.limits_from)
    limits = {}
    for check in checks:
        if check.metric == "latency" and check.bound == "max":
            limits[check.title] = Limit(check.limit, check.limit)
        elif check.metric == "latency" and known >= MIN_FOR_QUANTILE:
            kept = None if due else evidence.limits.get(check.title)
            limits[check.title] = kept or limit_of(evidence.baseline, check)
    if due:
        evidence.limits_from = known
    evidence.limits = limits


def limit_of(baseline: Histogram, check: Check) -> Limit:
    """The champion's quantile, rounded up to a bucket edge, and max_ratio times that, likewise."""
    value = baseline.quantile(check.quantile or 0.0)
    assert value is not None  # it has WARM_UP values
    bucket = bucket_of(value)
    return Limit(upper_edge(bucket + ceil(log(check.limit or 1.0) / LOG_GAMMA - 1e-9)), upper_edge(bucket))


def _set_mark(stratum: Stratum, used: int) -> bool:
    """When it is time; `used`: the marks of its step."""
    n = requests_not_abandoned(stratum.challenger)
    due = is_mark_due(n, stratum.marks[-1].n if stratum.marks else 0, used)
    if due:
        tosses = {kind: met.tosses(stratum.share) for kind, met in stratum.met.items()}
        stratum.marks.append(Mark(n, tosses))
    return due


def split_counts(strata: Iterable[Stratum], kind: str) -> list[SplitCounts]:
    return [s.met[kind].tosses(s.share) for s in strata if kind in s.met]


def marked_counts(strata: Iterable[Stratum], kind: str) -> list[tuple[SplitCounts, ...]]:
    """Of each stratum, as `tosses_of` would have had them. Where a check was not yet there, nothing was marked."""
    return [
        tuple([_set_mark.tosses[kind] for _set_mark in s.marks if kind in _set_mark.tosses])
        for s in strata
        if kind in s.met
    ]


def event_totals(strata: Iterable[Stratum], kind: str) -> tuple[Side, Side]:
    """The sums of (challenger, champion)."""
    challenger, champion = Side(), Side()
    for met in (s.met[kind] for s in strata if kind in s.met):
        for out, side in ((challenger, met.challenger), (champion, met.champion)):
            out.add(side.first, side.all, side.n)
    return challenger, champion


def sum_cells(cells: Sequence[Cell]) -> Cell:
    """The sum of some cells, to be read only: of one cell it is that cell, as sums cost a tick's time."""
    if len(cells) == 1:
        return cells[0]
    out = Cell("", "", "", 0)
    for cell in cells:
        out.merge(cell)
    return out


def side_totals(strata: Sequence[Stratum]) -> tuple[Cell, Cell]:
    """The sums of (challenger, champion)."""
    return sum_cells([s.challenger for s in strata]), sum_cells([s.champion for s in strata])


def requests_not_abandoned(cell: Cell) -> int:
    """Requests that say something of the backend: all but those whose client left."""
    return cell.requests - cell.abandoned
