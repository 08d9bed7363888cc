"""Counts of ripe labels by backend: what the prediction log says, before anything is estimated."""

from __future__ import annotations

from typing import Literal

import msgspec

from crossfade.stats.auc import ByScore
from crossfade.stats.unit_means import UnitSums

LabelKind = Literal["events", "classes", "numbers"]
STEPS = 20  # of the delay curve, from 0 to the horizon


class LabelQuestion(msgspec.Struct, frozen=True):
    """`name`: of the feedback that is the label. `threshold`: of a decision by score. Times are seconds; `now` and `since`
    are wall time.
    """

    name: str
    threshold: float | None
    horizon: float
    now: float
    since: float = 0.0


class SideLabels(msgspec.Struct):
    """Of one backend. `ripe`: its predictions that are old enough; `labelled`: those of them with a label.

    `correct` has values 0 and 1; `error`, `absolute` and `squared` are of numbers. `confusion`: (said, label, n).
    """

    ripe: int = 0
    labelled: int = 0
    correct: UnitSums = UnitSums()
    brier: UnitSums = UnitSums()
    log_loss: UnitSums = UnitSums()
    error: UnitSums = UnitSums()
    absolute: UnitSums = UnitSums()
    squared: UnitSums = UnitSums()
    by_score: list[ByScore] = []
    confusion: list[tuple[str, str, int]] = []


class Delays(msgspec.Struct):
    """Predictions by age and delay of the label, in steps of horizon/STEPS: (age, delay, n); delay −1: no label yet."""

    counts: list[tuple[int, int, int]] = []

    def curve(self) -> list[tuple[int, int]]:
        """For each step k from 1: predictions at least k steps old, and those of them that had a label by then."""
        out = []
        for k in range(1, STEPS + 1):
            old = [(delay, n) for age, delay, n in self.counts if age >= k]
            out.append((sum(n for _, n in old), sum(n for delay, n in old if 0 <= delay < k)))
        return out


class LabelCounts(msgspec.Struct):
    """`kpis`: by name and backend, of feedback with other names; the values are numbers. `first` and `last`: wall time of
    the first and the last prediction that is ripe and counted. `left_out`: older rows beyond the limit.
    """

    kind: LabelKind = "events"
    sides: dict[str, SideLabels] = {}
    delays: dict[str, Delays] = {}
    kpis: dict[str, dict[str, UnitSums]] = {}
    first: float | None = None
    last: float | None = None
    left_out: int = 0
