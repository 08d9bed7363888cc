"""The evidence about a challenger: counts by stratum. A stratum is one ledger version of the route.

A step has one stratum, or several if another rollout of the route changed weights meanwhile.

Rule: within a stratum the weights do not change, so each request went to the challenger with known probability;
comparisons never pool strata. A threshold for slow answers is fixed before the answers that it is applied to are counted
(statistics 1.2). From time to time the counts of a stratum are marked, so that a test can restart there (stats.restarts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from crossfade.rollout.copies import SecondAnswers, with_first_pairs
from crossfade.rollout.differences import Differences
from crossfade.rollout.first_events import FirstEvents
from crossfade.rollout.instances import BadEndpoint
from crossfade.rollout.kpi_evidence import KpiEvidence
from crossfade.rollout.latest_marks import is_latest_due, with_latest
from crossfade.rollout.leaving_out import less, other_endpoints
from crossfade.rollout.limits import Limit, limit_of
from crossfade.rollout.merging import NEWEST, merge_old, share_to_open
from crossfade.rollout.panel import Panel
from crossfade.rollout.pending import Pending
from crossfade.rollout.strata import EventCount, EventCounts, Mark, Stratum
from crossfade.rollout.stream_events import StreamLimit, fixed_limits, stream_kinds, with_stream_events
from crossfade.stats.alike import Group
from crossfade.stats.counts import ANY_SECOND, ERROR, REJECTED, SHADOW, UNREADABLE, Cell, Keys
from crossfade.stats.histogram import Histogram, bucket_of
from crossfade.stats.keyed import KeyedEvents, Sizes
from crossfade.stats.restarts import is_mark_due
from crossfade.stats.scores import Levels, Scores, levels_of
from crossfade.stats.sequential import SplitCounts
from crossfade.stats.streams import STREAM, Streams

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check

SHARES_KEPT = 256  # ledger versions whose feedback is still awaited
MIN_FOR_QUANTILE = 500  # values of the champion before its quantiles are used as thresholds or cuts
_IN_BUCKET = 0.999  # of a bucket's upper edge: a duration in the bucket
_SCORE = "score"  # kind of event: the first score of a key in a step


class Evidence(msgspec.Struct):
    """Everything counted for one attempt of a rollout.

    `baseline`: all durations of the champion. `limits`: by check, the seconds above which an answer is slow, fixed when
    the baseline had `limits_from` durations. `firsts`: by step and kind of event, the keys that had such an event.
    `predicted`: scores of the champion until they fixed `levels`, the cuts of the score bins. `before`: by kind, events of
    the champion while the challenger had no live traffic, for challengers that have all of it; by title of a latency check, its
    answers above its own limit when that was fixed.
    """

    champion: str
    challenger: str
    strata: list[Stratum] = msgspec.field(default_factory=list)
    baseline: Histogram = msgspec.field(default_factory=Histogram)
    limits: dict[str, Limit] = msgspec.field(default_factory=dict)  # by the check's title
    limits_from: int = 0
    firsts: dict[int, dict[str, FirstEvents]] = msgspec.field(default_factory=dict)
    warm_until: float | None = (
        None  # served time; None before the first request of traffic that is new to the challenger
    )
    predicted: Scores = msgspec.field(default_factory=Scores)
    levels: Levels | None = None
    before: dict[str, EventCount] = msgspec.field(default_factory=dict)
    kpis: dict[str, KpiEvidence] = msgspec.field(default_factory=dict)  # by the check's title
    since: dict[str, int] = {}  # by title of a check that came later: the ledger version from which it counts
    instances: dict[str, Group] = msgspec.field(
        default_factory=dict
    )  # by backend, its endpoints in blocks of time
    ejected: list[BadEndpoint] = msgspec.field(default_factory=list)  # what came from these does not count
    pending: list[Pending] = msgspec.field(default_factory=list)  # in the order in which they came
    panels: dict[int, Panel] = msgspec.field(default_factory=dict)  # by ledger version
    streamed: Streams = msgspec.field(default_factory=Streams)  # all of the champion
    stream_limits: dict[str, StreamLimit] = {}  # by kind of event
    stream_limits_from: int = 0  # streams of the champion when they were fixed
    again: SecondAnswers = msgspec.field(default_factory=SecondAnswers)  # of the champion
    coverage: dict[str, KpiEvidence] = msgspec.field(default_factory=dict)  # by the check's title
    ranked: dict[str, Differences] = msgspec.field(
        default_factory=dict
    )  # of live answers, by the check's title
    label_pairs: dict[str, Differences] = msgspec.field(
        default_factory=dict
    )  # mirrored, by the check's title
    shares: dict[int, float] = {}  # the challenger's, by ledger version, also of strata that were merged
    fed_to: int = 0  # the last place in the prediction log that has entered (rollout.feeding)

    @classmethod
    def begin(cls, champion: str, challenger: str, so_far: Cell) -> Evidence:
        """Of a new attempt; `so_far`: the champion's counts."""
        out = cls(champion, challenger, baseline=so_far.duration)
        out.add_before(so_far)
        return out

    def add_before(self, cell: Cell) -> None:
        for kind in (ERROR, REJECTED, UNREADABLE):
            every, n = _counted(cell, kind)
            if n:
                self.before.setdefault(kind, EventCount()).add(every, every, n)

    def open(self, route: str, version: int, step: int, share: float) -> None:
        """Add a stratum for this ledger version; old strata of the step are merged if there are many.

        Requests in flight from the step before still count there. First events of earlier steps are dropped.
        """
        champion, challenger = (Cell(route, name, "", version) for name in (self.champion, self.challenger))
        present = self.of_step(step)
        merged = merge_old(present, set(self.since.values()))
        if len(merged) < len(present):
            self.strata = [s for s in self.strata if s.step != step] + merged
        share = share_to_open(present, share)
        self.shares = dict([*self.shares.items(), (version, share)][-SHARES_KEPT:])
        self.strata.append(Stratum(version, step, share, champion, challenger))
        self.firsts = {s: kinds for s, kinds in self.firsts.items() if s >= step - 1}
        self.firsts.setdefault(step, {})
        self.panels = {s.version: self.panels.get(s.version, Panel()) for s in self.strata[-NEWEST:]}

    def is_warming(self, cells: Iterable[Cell], now: float, warm_up: float) -> bool:
        """Whether it is less than `warm_up` seconds since the challenger's first request, or since its first after it got more
        traffic; `now`: served time. Requests in flight from before that are not of its new traffic.
        """
        if self.warm_until is None and self.strata:
            version = self.strata[-1].version
            if any(c.backend == self.challenger and c.ledger_version == version for c in cells):
                self.warm_until = now + warm_up
        return self.warm_until is not None and now < self.warm_until

    def seen_by(self, check: Check) -> Evidence:
        """Without what was counted before the check was there."""
        first = self.since.get(check.title)
        return self if first is None else replace(self, strata=[s for s in self.strata if s.version >= first])

    def limits_of(self, backend: str) -> dict[str, float]:
        """Seconds by title of a latency check."""
        side = 0 if backend == self.challenger else 1
        return {title: limit[side] for title, limit in self.limits.items()}

    def of_step(self, step: int) -> list[Stratum]:
        return [s for s in self.strata if s.step == step]

    def comparable(self, step: int) -> list[Stratum]:
        """The strata in which both sides have traffic, of this step or of the latest step before it that has any.

        Never of two steps together, because a key may have a first event in each (rollout.first_events).
        """
        compared = [s for s in self.strata if s.compares and s.step <= step]
        return [s for s in compared if s.step == compared[-1].step]


def gather(evidence: Evidence, cells: Iterable[Cell], checks: Iterable[Check]) -> None:
    """Add the counts of one tick of one route, then fix the limits for later ticks.

    For a challenger without live traffic (a shadow), the answers to its mirrored copies are counted.
    """
    checks = tuple(checks)
    strata = {s.version: s for s in evidence.strata}
    cells = tuple(cells)
    kinds = (ERROR, *_kinds_of(checks, cells), *evidence.limits, *stream_kinds(checks))
    for cell in cells:
        stratum = strata.get(cell.ledger_version)
        cell = _with_first_scores(evidence, stratum.step if stratum else None, cell)
        cell = with_stream_events(cell, checks, evidence.stream_limits, cell.backend == evidence.challenger)
        if stratum is not None and cell.backend == evidence.challenger:
            kinds_of_step = evidence.firsts.get(stratum.step)
            cell = with_first_pairs(cell, kinds_of_step)
            cell = stratum.copies.with_durations(cell, evidence.again)
            if (cell.role == SHADOW) == (stratum.share == 0):
                _add_side(evidence, stratum, cell, kinds)
            else:
                stratum.challenger.pairs.merge(cell.pairs)
                stratum.copies.count_beside_live(cell, kinds_of_step)
        elif cell.backend == evidence.champion and cell.role != SHADOW:
            evidence.baseline.merge(cell.duration)
            if cell.streams is not None:
                evidence.streamed.merge(cell.streams)
            if stratum is None or not stratum.compares:
                evidence.add_before(cell)
            if stratum is not None:
                _add_side(evidence, stratum, cell, kinds)
            if evidence.levels is None:
                evidence.predicted.merge(cell.scores)
    marks = Counter[int]()  # by step, because the strata of a step share the slots
    for stratum in evidence.strata:
        marks[stratum.step] += len(stratum.marks) + stratum.spent
    for stratum in evidence.strata:
        marks[stratum.step] += _set_mark(stratum, marks[stratum.step])
        _set_latest(stratum)
    fix_limits(evidence, checks)
    if evidence.levels is None and evidence.predicted.count >= MIN_FOR_QUANTILE:
        evidence.levels = levels_of(evidence.predicted)


def _add_side(evidence: Evidence, stratum: Stratum, cell: Cell, kinds: Iterable[str]) -> None:
    """Add the cell of the challenger or of the champion to its side of the stratum."""
    here = cell.backend == evidence.challenger
    ejected = [bad.endpoint for bad in evidence.ejected if bad.backend == cell.backend]
    if cell.by_endpoint:
        known = {name: counts for name, counts in cell.by_endpoint.items() if name not in ejected}
        evidence.instances.setdefault(cell.backend, Group()).add(cell.second, known)
    kinds = tuple(kinds)
    for kind in kinds:
        events = stratum.events.setdefault(kind, EventCounts())
        side = events.challenger if here else events.champion
        first, every, n = less(
            EventCount(*_count_events(evidence, stratum.step, cell, kind)), cell, kind, ejected
        )
        side.add(first, every, n)
        stratum.add_block(kind, cell.second, (every, n), here)
    _add_keys(evidence, stratum, cell, kinds, here)
    kept = other_endpoints(_kept_fields(cell), ejected, evidence.limits_of(cell.backend))
    (stratum.challenger if here else stratum.champion).merge(kept)
    stratum.bin_scores(evidence.levels, cell.scores, here)


def _add_keys(evidence: Evidence, stratum: Stratum, cell: Cell, kinds: Iterable[str], here: bool) -> None:
    panel = evidence.panels.get(stratum.version)
    if panel is not None and cell.keys.hashes:
        panel.add(cell, here, kinds, stratum.keys)
    side = stratum.unkeyed.challenger if here else stratum.unkeyed.champion
    n = min(cell.unkeyed, requests_not_abandoned(cell))
    side.sizes.merge(Sizes(n, n, n))
    for kind in kinds:
        events = cell.events.get(kind)
        x = _counted(cell, kind)[0] - (events.keyed if events else 0)
        if x:
            side.events.setdefault(kind, KeyedEvents()).merge(KeyedEvents(x, x, x))


def _kinds_of(checks: Iterable[Check], cells: Iterable[Cell]) -> list[str]:
    """The kinds of events to count, apart from errors and slow answers. The guard asks about them where no check does."""
    reads = any(check.metric == UNREADABLE for check in checks) or any(cell.read for cell in cells)
    return [REJECTED, UNREADABLE] if reads else [REJECTED]


def _kept_fields(cell: Cell) -> Cell:
    """Without the fields that the evidence does not keep."""
    return replace(
        cell,
        events={},
        first_byte=Histogram(),
        scores=Scores(),
        keyed_scores=[],
        keyed_pairs=[],
        responses={},
        fallbacks={},
        retries={},
        second=ANY_SECOND,
        keys=Keys(),
        stream_values=[],
    )


def _with_first_scores(evidence: Evidence, step: int | None, cell: Cell) -> Cell:
    """A copy of the cell that also has the first score of each key in the step; until the levels are fixed, all scores.

    It is a copy because all rollouts of the route share the champion's cell.
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


def _count_events(evidence: Evidence, step: int, cell: Cell, kind: str) -> tuple[int, int, int]:
    """(Events that tests count, all events, requests): tests count events without a key and the first of each key."""
    events = cell.events.get(kind)
    every, n = _counted(cell, kind)
    if events is None:
        return every, every, n
    kinds = evidence.firsts.get(step)
    first = kinds.setdefault(kind, FirstEvents()).count(events.keys) if kinds is not None else 0
    return every - events.keyed + first, every, n


def _counted(cell: Cell, kind: str) -> tuple[int, int]:
    """(Events, requests that could have one)."""
    if kind == ERROR:
        return cell.errors, requests_not_abandoned(cell)
    if kind == REJECTED:
        return cell.rejected, requests_not_abandoned(cell)
    if kind == UNREADABLE:
        return cell.unreadable, cell.read
    events = cell.events.get(kind)
    if kind.startswith(STREAM):
        return (events.n, events.asked) if events else (0, 0)
    every, n = (events.n, events.early) if events else (0, 0)
    return every, n + cell.duration.count


def fix_limits(evidence: Evidence, checks: Iterable[Check]) -> None:
    """Fix the limits of latency checks for later answers: `max` itself, or the champion's quantile so far.

    A quantile is fixed again when the champion has twice as many durations as the last time, so workers seldom get
    another limit. An inaccurate limit costs power, not validity: it is fixed before the answers that it is applied to.
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
            if kept is None:
                slow = evidence.baseline.above(bucket_of(limits[check.title].champion * _IN_BUCKET))
                evidence.before[check.title] = EventCount(slow, slow, known)
    if due:
        evidence.limits_from = known
    evidence.limits = limits
    evidence.again.fix(checks)
    streams = evidence.streamed.n
    due = streams >= 2 * evidence.stream_limits_from
    evidence.stream_limits = fixed_limits(evidence.stream_limits, evidence.streamed, checks, due)
    if due:
        evidence.stream_limits_from = streams


def _set_mark(stratum: Stratum, used: int) -> bool:
    """Set a mark if it is due; `used`: the marks of the step so far. Returns whether it was set."""
    n = requests_not_abandoned(stratum.challenger)
    due = is_mark_due(n, stratum.marks[-1].n if stratum.marks else 0, used)
    if due:
        blocks = {kind: replace(found.closed) for kind, found in stratum.blocks.items()}
        stratum.marks.append(Mark(n, stratum.present_counts, blocks))
    return due


def _set_latest(stratum: Stratum) -> None:
    n = requests_not_abandoned(stratum.challenger)
    if is_latest_due(n, stratum.latest):
        stratum.latest = with_latest(stratum.latest, Mark(n, stratum.present_counts))


def split_counts(strata: Iterable[Stratum], kind: str) -> list[SplitCounts]:
    """For each stratum the events of this kind that tests count."""
    return [s.events[kind].split_counts(s.share) for s in strata if kind in s.events]


def marked_counts(strata: Iterable[Stratum], kind: str) -> list[tuple[SplitCounts, ...]]:
    """For each stratum the counts of this kind at each mark; marks from before the check existed have none."""
    return [_counts_at(s.marks, kind) for s in strata if kind in s.events]


def latest_counts(strata: Iterable[Stratum], kind: str) -> list[tuple[SplitCounts, ...]]:
    """As `marked_counts`, at the marks near the present. A part with most of a stratum is not late."""
    counted = ((s, requests_not_abandoned(s.challenger) / 2) for s in strata if kind in s.events)
    return [_counts_at([mark for mark in s.latest if mark.n >= half], kind) for s, half in counted]


def _counts_at(marks: Iterable[Mark], kind: str) -> tuple[SplitCounts, ...]:
    return tuple([mark.counts[kind] for mark in marks if kind in mark.counts])


def spent_marks(strata: Iterable[Stratum]) -> int:
    return sum(s.spent for s in strata)


def event_totals(strata: Iterable[Stratum], kind: str) -> tuple[EventCount, EventCount]:
    """Events of (challenger, champion), summed over strata."""
    challenger, champion = EventCount(), EventCount()
    for events in (s.events[kind] for s in strata if kind in s.events):
        for out, side in ((challenger, events.challenger), (champion, events.champion)):
            out.add(side.first, side.all, side.n)
    return challenger, champion


def sum_cells(cells: Sequence[Cell]) -> Cell:
    """The sum of cells, for reading only: the sum of one cell is that cell itself, which saves time in each tick."""
    if len(cells) == 1:
        return cells[0]
    out = Cell("", "", "", 0)
    for cell in cells:
        out.merge(cell)
    return out


def side_totals(strata: Sequence[Stratum]) -> tuple[Cell, Cell]:
    """Cells of (challenger, champion), summed over strata."""
    return sum_cells([s.challenger for s in strata]), sum_cells([s.champion for s in strata])


def requests_not_abandoned(cell: Cell) -> int:
    """Requests that tests count: all but those whose client disconnected, which say nothing about the backend."""
    return cell.requests - cell.abandoned
