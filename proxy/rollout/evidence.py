"""What is known about a challenger: counts by stratum, a stratum being one ledger version of the rollout.

Rule: within a stratum the weights do not move, so each request between champion and challenger was
the toss of a coin with known bias; strata are never pooled in a comparison. A threshold for slow
answers is fixed before the counts that it is applied to are looked at (statistics 1.2). Now and then
the counts of a stratum are marked, so that what begins late can be seen from there (stats.restarts).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from math import ceil, log
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from proxy.rollout.firsts import Firsts
from proxy.stats.counts import ERROR, Cell
from proxy.stats.histogram import LOG_GAMMA, Histogram, bucket_of
from proxy.stats.restarts import is_due
from proxy.stats.sequential import Tosses

if TYPE_CHECKING:
    from proxy.config.model import CheckConfig

WARM_UP = 500  # durations of the champion before its quantile may serve as a threshold
SHADOW = "shadow"


class Met(msgspec.Struct):
    """Events of one kind on each side, of so many requests; of one key, only the first in the step counts."""

    challenger: int = 0
    challenger_n: int = 0
    champion: int = 0
    champion_n: int = 0


class Mark(msgspec.Struct):
    """What a stratum had counted when it was marked: requests and errors of each side, and slow answers."""

    n: int
    champion_n: int
    errors: Met
    slow: dict[str, Met]


class Stratum(msgspec.Struct):
    """`share`: the challenger's part of what champion and challenger get together, 0 to 1."""

    version: int
    step: int
    share: float
    champion: Cell
    challenger: Cell
    errors: Met = msgspec.field(default_factory=Met)
    slow: dict[str, Met] = msgspec.field(default_factory=dict)  # by the check's title
    marks: list[Mark] = msgspec.field(default_factory=list)

    @property
    def compares(self) -> bool:
        """Whether both sides get live traffic."""
        return 0 < self.share < 1


class Evidence(msgspec.Struct):
    """Everything counted for one attempt of a rollout.

    `baseline`: all durations known of the champion. `firsts`: by step and kind of event, the keys that met one.
    """

    champion: str
    challenger: str
    strata: list[Stratum] = msgspec.field(default_factory=list)
    baseline: Histogram = msgspec.field(default_factory=Histogram)
    firsts: dict[int, dict[str, Firsts]] = msgspec.field(default_factory=dict)

    def open(self, route: str, version: int, step: int, share: float) -> None:
        """A new stratum: counts of this ledger version belong to it from now on.

        Requests still under way from the step before count there; who met an event earlier is forgotten.
        """
        champion, challenger = (Cell(route, name, "", version) for name in (self.champion, self.challenger))
        self.strata.append(Stratum(version, step, share, champion, challenger))
        self.firsts = {s: kinds for s, kinds in self.firsts.items() if s >= step - 1}
        self.firsts.setdefault(step, {})

    def of_step(self, step: int) -> list[Stratum]:
        return [s for s in self.strata if s.step == step]

    def comparable(self, step: int) -> list[Stratum]:
        """The strata in which both sides have traffic, of this step or of the last before it that has any.

        Never of two steps together, as a key may have had its first event in each (rollout.firsts).
        """
        compared = [s for s in self.strata if s.compares and s.step <= step]
        return [s for s in compared if s.step == compared[-1].step]


def gather(evidence: Evidence, cells: Iterable[Cell], checks: Iterable[CheckConfig]) -> None:
    """Add the counts of one tick, which are those of one route.

    A challenger without live traffic (a shadow) is known by the answers to its mirrored copies.
    """
    checks = tuple(checks)
    thresholds = {c.title: edges(evidence.baseline, c) for c in checks if c.max_ratio is not None}
    strata = {s.version: s for s in evidence.strata}
    for cell in cells:
        stratum = strata.get(cell.ledger_version)
        if stratum is not None and cell.backend == evidence.challenger:
            if (cell.role == SHADOW) == (stratum.share == 0):
                stratum.errors.challenger += first_events(evidence, stratum.step, cell, ERROR, cell.errors)
                add_challenger(stratum, replace(cell, events={}), thresholds)
        elif cell.backend == evidence.champion and cell.role != SHADOW:
            evidence.baseline.merge(cell.duration)
            if stratum is not None:
                stratum.errors.champion += first_events(evidence, stratum.step, cell, ERROR, cell.errors)
                add_champion(stratum, replace(cell, events={}), thresholds)
    for stratum in evidence.strata:
        mark(stratum, checks)


def first_events(evidence: Evidence, step: int, cell: Cell, kind: str, n: int) -> int:
    """Of the n events of this kind, those that count: all without a key, and each key's first."""
    events = cell.events.get(kind)
    if events is None:
        return n
    kinds = evidence.firsts.get(step)
    return (
        n - events.keyed + (kinds.setdefault(kind, Firsts()).count(events.keys) if kinds is not None else 0)
    )


def edges(baseline: Histogram, check: CheckConfig) -> tuple[int, int] | None:
    """Histogram buckets above which an answer is slow: (challenger's, champion's); None before the warm-up.

    The champion's is the bucket that holds its quantile; the challenger's lies max_ratio higher,
    rounded up to a bucket edge.
    """
    if baseline.count < WARM_UP or check.quantile is None or check.max_ratio is None:
        return None
    value = baseline.quantile(check.quantile)
    assert value is not None  # it has WARM_UP values
    bucket = bucket_of(value)
    return bucket + ceil(log(check.max_ratio) / LOG_GAMMA - 1e-9), bucket


def add_challenger(stratum: Stratum, cell: Cell, thresholds: dict[str, tuple[int, int] | None]) -> None:
    stratum.challenger.merge(cell)
    for title, edge in thresholds.items():
        if edge is not None:
            slow = stratum.slow.setdefault(title, Met())
            slow.challenger += cell.duration.above(edge[0])
            slow.challenger_n += cell.duration.count


def add_champion(stratum: Stratum, cell: Cell, thresholds: dict[str, tuple[int, int] | None]) -> None:
    stratum.champion.merge(cell)
    for title, edge in thresholds.items():
        if edge is not None:
            slow = stratum.slow.setdefault(title, Met())
            slow.champion += cell.duration.above(edge[1])
            slow.champion_n += cell.duration.count


def mark(stratum: Stratum, checks: Iterable[CheckConfig]) -> None:
    """When it is time. Of checks with an absolute limit, that of the challenger is marked only."""
    n = judged(stratum.challenger)
    if not is_due(n, stratum.marks[-1].n if stratum.marks else 0, len(stratum.marks)):
        return
    slow = {title: copy(held) for title, held in stratum.slow.items()}
    times = stratum.challenger.duration
    for check in checks:
        if check.metric == "latency" and check.max is not None:
            slow[check.title] = Met(times.above(bucket_of(check.max)), times.count)
    stratum.marks.append(Mark(n, judged(stratum.champion), copy(stratum.errors), slow))


def error_tosses(strata: Iterable[Stratum]) -> list[Tosses]:
    return [
        Tosses(s.share, s.errors.challenger, s.errors.champion, judged(s.challenger), judged(s.champion))
        for s in strata
    ]


def slow_tosses(strata: Iterable[Stratum], title: str) -> list[Tosses]:
    return [tossed(s.share, s.slow[title]) for s in strata if title in s.slow]


def over_tosses(strata: Iterable[Stratum], edge: int) -> list[Tosses]:
    """Answers of the challenger above a bucket of the histogram."""
    found = ((s.share, s.challenger.duration) for s in strata)
    return [Tosses(share, held.above(edge), 0, held.count) for share, held in found]


def error_marks(strata: Sequence[Stratum]) -> tuple[Tosses, ...]:
    """Of the last stratum, as `error_tosses` would have had them; likewise the next."""
    last = strata[-1]
    return tuple(
        Tosses(last.share, m.errors.challenger, m.errors.champion, m.n, m.champion_n) for m in last.marks
    )


def slow_marks(strata: Sequence[Stratum], title: str) -> tuple[Tosses, ...]:
    """For checks of a ratio and of an absolute limit. Where a check was not yet there, nothing was marked."""
    last = strata[-1]
    return tuple(tossed(last.share, m.slow[title]) for m in last.marks if title in m.slow)


def tossed(share: float, slow: Met) -> Tosses:
    return Tosses(share, slow.challenger, slow.champion, slow.challenger_n)


def total(cells: Sequence[Cell]) -> Cell:
    """The sum of some cells, to be read only: of one cell it is that cell, as sums cost a tick's time."""
    if len(cells) == 1:
        return cells[0]
    out = Cell("", "", "", 0)
    for cell in cells:
        out.merge(cell)
    return out


def both(strata: Sequence[Stratum]) -> tuple[Cell, Cell]:
    """The sums of (challenger, champion)."""
    return total([s.challenger for s in strata]), total([s.champion for s in strata])


def judged(cell: Cell) -> int:
    """Requests that say something of the backend: all but those whose client left."""
    return cell.requests - cell.abandoned
